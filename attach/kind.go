package attach

import (
	"cmp"
	"fmt"
	"net"
	"strings"

	"github.com/gopipework/gopipework/bridge"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/spec"
)

// A kind is all that is known of one kind of host interface. Each has a file of its
// own and a place in the registry. What is inside the guest, addresses and routes, is
// the same for all kinds.
type kind interface {
	// features are what holds for every link of the kind.
	features() traits
	// claims reports whether a HOSTIF that does not say its kind is of this one.
	claims(name string, f Facts) bool

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

	// mac is the address that the guest's link has unless another is asked for; not ok:
	// a random one.
	mac(*job) (mac net.HardwareAddr, ok bool)
	// prober plans how --verify joins what the guest has joined, or says why nothing
	// can be proven there.
	prober(*job) (prober, string)
	// detached plans for what stood on the host for attachments that go.
	detached(departure, *removal)
	// gc plans for what of the kind nobody uses.
	gc(GCFacts, *removal)
	// setVLAN plans another VLAN for an attachment that is there; the zero VLAN: none.
	setVLAN(change, *draft, bridge.VLAN) error
}

// registry has every kind. HOSTIF is of the first kind that claims it.
var registry = []kind{openVSwitch, linux, dummy, phys, ipoib, macvlan, ipvlan, vlan}

// traits are what holds for every link of a kind, and what a kind does that has
// nothing of its own to do.
type traits struct {
	word   Kind
	ifName string // that the guest's link has by default

	pair  bool // a veth pair joins the guest; its end on the host has the mark
	child bool // the link is in the guest alone, and has the mark
	lent  bool // the link is one of the host's own

	// upLate: the link comes up with its addresses, and so announces them. Others are
	// up before, and announce them when their MAC address is set once more. An ipvlan
	// and an IPoIB link have none that could be set, and most drivers of cards set none
	// while the card is up (eth_prepare_mac_addr_change).
	upLate bool

	filters    bool   // it can filter VLANs
	switches   bool   // frames cross a switch on the host
	firewalled bool   // and that is one whose frames the host's firewall sees
	shapesPort bool   // what the guest gets is shaped at the host's end
	onHost     bool   // what the link is on, or its other end, is on the host
	longFrames bool   // the kernel gives the link a greater MTU than what it is on
	sharedMAC  bool   // it has the MAC address of what it is on, as others there have
	hostAccess bool   // the host can be given a way to it, which it does not have by itself
	noProbe    string // why --acd cannot ask on HOSTIF; "": it can
}

func (t traits) features() traits                { return t }
func (traits) claims(string, Facts) bool         { return false }
func (traits) refuseConflicts(*job) error        { return nil }
func (traits) detached(departure, *removal)      {}
func (traits) gc(GCFacts, *removal)              {}
func (traits) repair(*job, *draft)               {}
func (traits) mac(*job) (net.HardwareAddr, bool) { return nil, false }

func (t traits) prober(*job) (prober, string) {
	return nil, fmt.Sprintf("of the kind %s nothing on this host is at the other end; what is beyond the card cannot be tried from here", t.word)
}

func (t traits) setVLAN(c change, _ *draft, _ bridge.VLAN) error {
	return c.refuse(fault.Usage, "the VLAN of a %s cannot be changed", t.word).WithHint("detach it, and attach it again")
}

// differ is told of one difference.
type differ func(what string, there, asked any)

// kindOf returns the kind of a word; nil for KindAny.
func kindOf(word Kind) kind {
	if word == KindVeth {
		return guestPair
	}
	for _, k := range registry {
		if k.features().word == word {
			return k
		}
	}
	return nil
}

// traitsOf returns the traits of the kind of that word, or of links that "ip -d link"
// calls so; none if there is no such kind.
func traitsOf(word Kind) traits {
	if k := kindOf(word); k != nil {
		return k.features()
	}
	return traits{}
}

// traits are those of the job's kind.
func (j *job) traits() traits { return j.plug.features() }

// settleKind says what HOSTIF is, or can become.
func settleKind(h HostIF, f Facts) Kind {
	if h.Kind != KindAny {
		return h.Kind
	}
	for _, k := range registry {
		if k.claims(h.Name, f) {
			return k.features().word
		}
	}
	return KindAny
}

// toMake reports whether HOSTIF is the name of something that is to be made, and
// begins like that.
func toMake(prefix, name string, f Facts) bool {
	return f.Base == nil && strings.HasPrefix(name, prefix)
}

// settle finds the kind, and lets it settle the rest.
func (j *job) settle(d *draft) error {
	if j.f.Base == nil && j.f.Card.Loan == nil && len(j.HostIF.Name) > spec.MaxLinkName && !strings.HasPrefix(j.HostIF.Name, spec.MACWord) {
		return j.refuse(fault.NotFound, "there is no interface with the alternative name %s on this host", j.HostIF.Name).
			WithHint("an interface's own name has no more than the kernel's %d bytes", spec.MaxLinkName)
	}
	j.kind = settleKind(j.HostIF, j.f)
	if j.kind == KindAny {
		return j.noSuchInterface()
	}
	j.plug = kindOf(j.kind)
	j.idle(d)
	if err := j.plug.settle(j, d); err != nil {
		return err
	}
	if j.HostAccess && !j.traits().hostAccess {
		return j.refuse(fault.Usage, "--host-access is for a macvlan, and this is of the kind %s", j.kind).WithHint("leave --host-access out")
	}
	if err := j.checkVerify(); err != nil {
		return err
	}
	return j.checkACD()
}

// sourceName is what gives the guest its addresses, for an error.
func sourceName(s Source) string { return cmp.Or(s.Ask.Client, string(s.Kind)) }

// idle warns of words that have no meaning for the kind.
func (j *job) idle(d *draft) {
	for _, w := range []struct {
		flag  string
		given bool
	}{
		{"-l", j.HostName != "" && !j.traits().pair},
		{"--force-phys", j.ForcePhys && !j.traits().lent},
		{"--vlan-filtering", j.VLANFiltering && !j.traits().filters},
	} {
		if w.given {
			d.warn("%s means nothing for the kind %s", w.flag, j.kind)
		}
	}
}

func (j *job) noSuchInterface() error {
	if mac, ok := strings.CutPrefix(j.HostIF.Name, spec.MACWord); ok {
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
