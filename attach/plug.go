package attach

import (
	"fmt"
	"strings"

	"github.com/gopipework/gopipework/internal/fault"
	"golang.org/x/sys/unix"
)

// A plug is how one kind of host interface joins a guest to it. What is inside
// the guest, addresses and routes, is the same for all kinds, and Build's.
type plug interface {
	// settle refuses what the kind cannot do, and decides what the words have
	// left open: the mode, the VLAN.
	settle(*job, *draft) error
	// refuseConflicts refuses what would collide with something on the host.
	refuseConflicts(*job) error
	// join plans the guest's link, from nothing or from what a killed run has
	// left, up to the moment when it can have addresses.
	join(*job, *draft)
	// repair plans what may have to be mended on the host for an attachment that
	// is complete.
	repair(*job, *draft)
	// differ tells how what is there differs from what is asked for.
	differ(*job, differ)
}

// differ is told of one difference.
type differ func(what string, there, asked any)

var plugs = map[Kind]plug{
	KindBridge:  linuxBridge{},
	KindOVS:     ovsBridge{},
	KindMacvlan: childPlug{},
	KindIPvlan:  childPlug{},
	KindVLAN:    childPlug{},
	KindDummy:   childPlug{},
	KindIPoIB:   childPlug{},
	KindPhys:    physPlug{},
}

// settleKind says what HOSTIF is, or can become.
func settleKind(h HostIF, f Facts) Kind {
	found := f.Base
	begins := func(prefix string) bool { return found == nil && strings.HasPrefix(h.Name, prefix) }
	_, isOVS := f.OVS.Bridge(h.Name)
	switch {
	case h.Kind != KindAny:
		return h.Kind
	case isOVS:
		return KindOVS
	case found != nil && found.Kind == "bridge", strings.HasPrefix(h.Name, "br"):
		return KindBridge
	case begins("dummy"):
		return KindDummy
	case begins("ovs"):
		return KindOVS
	case f.Card.Radio != nil, f.Card.Loan != nil && f.Card.Loan.Hardware.Radio != nil:
		return KindPhys // a Wi-Fi card cannot have macvlans: one address, one station
	case found != nil && found.Type == unix.ARPHRD_INFINIBAND:
		return KindIPoIB
	case found != nil:
		return KindMacvlan
	}
	return KindAny
}

// settle finds the plug and lets it settle the rest.
func (j *job) settle(d *draft) error {
	if j.f.Base == nil && j.f.Card.Loan == nil && len(j.HostIF.Name) > maxLinkName && !strings.HasPrefix(j.HostIF.Name, macWord) {
		return j.refuse(fault.NotFound, "there is no interface with the alternative name %s on this host", j.HostIF.Name).
			WithHint("an interface's own name has no more than the kernel's %d bytes", maxLinkName)
	}
	j.kind = settleKind(j.HostIF, j.f)
	if j.kind == KindAny {
		return j.noSuchInterface()
	}
	p, ok := plugs[j.kind]
	if !ok {
		return fault.New(fault.Unsupported, "attach to", j.HostIF.String(), "this version does not have the kind %s", j.kind)
	}
	j.plug = p
	j.idle(d)
	if err := p.settle(j, d); err != nil {
		return err
	}
	if err := j.checkAccess(); err != nil {
		return err
	}
	if err := j.checkVerify(); err != nil {
		return err
	}
	return j.checkACD()
}

// idle warns of words that have no meaning for the kind.
func (j *job) idle(d *draft) {
	for _, w := range []struct {
		flag  string
		given bool
	}{
		{"-l", j.HostName != "" && !j.kind.pair()},
		{"--force-phys", j.ForcePhys && j.kind != KindPhys},
		{"--vlan-filtering", j.VLANFiltering && j.kind != KindBridge},
	} {
		if w.given {
			d.warn("%s means nothing for the kind %s", w.flag, j.kind)
		}
	}
}

func (j *job) noSuchInterface() error {
	if mac, ok := strings.CutPrefix(j.HostIF.Name, macWord); ok {
		return j.refuse(fault.NotFound, "there is no network card with the address %s on this host", mac).WithHint("ip link")
	}
	if loan := j.f.Card.Loan; loan != nil && !j.f.Card.Gone {
		return j.isLent(loan)
	}
	e := j.refuse(fault.NotFound, "there is no interface %s on this host", j.HostIF.Name)
	if j.HostIF.Kind == KindAny {
		e.WithHint("bridge:%s makes a bridge of that name", j.HostIF.Name)
	}
	return e
}

// missing tells what a kernel lacks that does not know a kind of link.
func missing(kind string) string {
	needs := map[string]string{
		"macvlan": "module macvlan (CONFIG_MACVLAN)",
		"ipvlan":  "module ipvlan (CONFIG_IPVLAN)",
		"vlan":    "module 8021q (CONFIG_VLAN_8021Q)",
		"dummy":   "module dummy (CONFIG_DUMMY)",
		"ipoib":   "module ib_ipoib (CONFIG_INFINIBAND_IPOIB)",
		"veth":    "module veth (CONFIG_VETH)",
	}
	return fmt.Sprintf("the kernel needs the %s; on Debian and Ubuntu it is in the package linux-image", needs[kind])
}
