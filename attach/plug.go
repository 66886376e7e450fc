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
	settle(*builder) error
	// free refuses what would collide with something on the host.
	free(*builder) error
	// join plans the guest's link, from nothing or from what a killed run has
	// left, up to the moment when it can have addresses.
	join(*builder)
	// keep plans what may have to be mended on the host for an attachment that
	// is complete.
	keep(*builder)
	// differ tells how what is there differs from what is asked for.
	differ(*builder, differ)
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
func (b *builder) settle() error {
	if b.f.Base == nil && b.f.Card.Loan == nil && len(b.HostIF.Name) > maxLinkName && !strings.HasPrefix(b.HostIF.Name, macWord) {
		return b.refuse(fault.NotFound, "there is no interface with the alternative name %s on this host", b.HostIF.Name).
			WithHint("an interface's own name has no more than the kernel's %d bytes", maxLinkName)
	}
	b.kind = settleKind(b.HostIF, b.f)
	if b.kind == KindAny {
		return b.noSuchInterface()
	}
	p, ok := plugs[b.kind]
	if !ok {
		return fault.New(fault.Unsupported, "attach to", b.HostIF.String(), "this version does not have the kind %s", b.kind)
	}
	b.plug = p
	b.idle()
	if err := p.settle(b); err != nil {
		return err
	}
	if err := b.checkAccess(); err != nil {
		return err
	}
	if err := b.checkVerify(); err != nil {
		return err
	}
	return b.checkACD()
}

// idle warns of words that have no meaning for the kind.
func (b *builder) idle() {
	for _, w := range []struct {
		flag  string
		given bool
	}{
		{"-l", b.HostName != "" && !b.kind.pair()},
		{"--force-phys", b.ForcePhys && b.kind != KindPhys},
		{"--vlan-filtering", b.VLANFiltering && b.kind != KindBridge},
	} {
		if w.given {
			b.warn("%s means nothing for the kind %s", w.flag, b.kind)
		}
	}
}

func (b *builder) noSuchInterface() error {
	if mac, ok := strings.CutPrefix(b.HostIF.Name, macWord); ok {
		return b.refuse(fault.NotFound, "there is no network card with the address %s on this host", mac).WithHint("ip link")
	}
	if loan := b.f.Card.Loan; loan != nil && !b.f.Card.Gone {
		return b.isLent(loan)
	}
	e := b.refuse(fault.NotFound, "there is no interface %s on this host", b.HostIF.Name)
	if b.HostIF.Kind == KindAny {
		e.WithHint("bridge:%s makes a bridge of that name", b.HostIF.Name)
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
