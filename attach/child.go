package attach

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/rtnl"
	"golang.org/x/sys/unix"
)

// childPlug joins by a link that has no end on the host: it is made on a parent
// there, or on nothing, and is in the guest alone. The mark is on it.
type childPlug struct{}

var _ plug = childPlug{}

// childKinds are the kinds of such links.
var childKinds = []Kind{KindMacvlan, KindIPvlan, KindVLAN, KindDummy, KindIPoIB}

func (k Kind) child() bool { return slices.Contains(childKinds, k) }

func (childPlug) settle(b *builder) error {
	if b.kind != KindDummy {
		return b.checkParent()
	}
	switch {
	case b.VLAN != "":
		return b.refuse(fault.Usage, "a dummy has no VLAN")
	case b.Mode != "":
		return b.refuse(fault.Usage, "a dummy has no mode")
	}
	return b.checkHeard()
}

// checkHeard refuses addresses from the network for a link that hears none of
// what they come by: an ipvlan that routes has no broadcast or multicast
// (Documentation/networking/ipvlan.rst), and a dummy has no network.
func (b *builder) checkHeard() error {
	if b.From.Kind == FromLine {
		return nil
	}
	from := cmp.Or(b.From.Ask.Client, string(b.From.Kind))
	switch {
	case b.kind == KindDummy:
		return b.refuse(fault.Usage, "there is no network behind a dummy, from which %s could get an address", from).
			WithHint("an address on the line: 192.168.1.2/32")
	case b.kind == KindIPvlan && b.Mode != "l2":
		return b.refuse(fault.Usage, "an ipvlan in mode %s hears no broadcast or multicast, and %s can get no address", b.Mode, from).
			WithHint("--mode l2, or an address on the line")
	}
	return nil
}

func (childPlug) free(b *builder) error {
	if err := b.vlanFree(); err != nil {
		return err
	}
	return b.accessFree()
}

func (childPlug) keep(b *builder) {
	b.parentUp()
	if t := b.f.Tagged; t != nil && b.onTagged() && !t.Up {
		b.add(raiseLink{t.Name})
	}
	b.hostAccess()
	b.parentCarrier()
	b.warnCarrier(b.f.Base)
}

// parentUp plans for a parent that is up.
func (b *builder) parentUp() {
	if parent := b.f.Base; parent != nil && b.kind != KindDummy && !parent.Up {
		b.add(raiseLink{parent.Name})
	}
}

// parentCarrier plans to look whether a parent that was set up has a carrier.
func (b *builder) parentCarrier() {
	if parent := b.f.Base; parent != nil && b.kind != KindDummy && !parent.Up {
		b.add(awaitCarrier{link: parent.Name, card: parent.Name})
	}
}

// kindModes are the modes of the kinds that have any, the default first.
var kindModes = map[Kind][]string{
	KindMacvlan: {"bridge", "private", "vepa", "passthru"},
	KindIPvlan:  {"l2", "l3", "l3s"},
}

// checkParent settles the mode and the tag, and that the parent can have the
// kind of child.
func (b *builder) checkParent() error {
	parent := b.f.Base
	if parent == nil {
		return b.noSuchInterface()
	}
	if err := b.settleTag(); err != nil {
		return err
	}
	modes := kindModes[b.kind]
	switch {
	case b.Mode == "" && len(modes) > 0:
		b.Mode = modes[0]
	case b.Mode != "" && !slices.Contains(modes, b.Mode):
		return b.refuse(fault.Usage, "%s has no mode %s", b.kind, b.Mode).WithHint("its modes: %s", strings.Join(modes, ", "))
	}
	switch {
	case parent.Loopback:
		return b.refuse(fault.Conflict, "%s is the loopback interface, and cannot be the parent of a %s", parent.Name, b.kind)
	case b.onEthernet() && (parent.Type != unix.ARPHRD_ETHER || parent.Kind == "vrf"):
		return b.refuse(fault.Conflict, "%s is %s, and no Ethernet device: it cannot be the parent of a %s", parent.Name, describeKind(parent), b.kind)
	case parent.Slave != "" && b.kind != KindVLAN:
		return b.refuse(fault.Conflict, "%s is a port of a %s, and cannot be the parent of a %s", parent.Name, parent.Slave, b.kind).
			WithHint("attach to what it is a port of")
	case b.MAC != nil && b.kind == KindIPoIB:
		return b.refuse(fault.Usage, "the address of an IPoIB interface is made by its hardware")
	case b.MAC != nil && b.inherits() && b.kind != KindVLAN:
		return b.refuse(fault.Usage, "%s has the MAC address of its parent", strings.TrimSpace(string(b.kind)+" "+b.Mode))
	}
	if err := b.checkMode(); err != nil {
		return err
	}
	if err := b.checkHeard(); err != nil {
		return err
	}
	return b.checkMTU(b.MTU, b.on())
}

// onEthernet reports whether the kind's parent has to be an Ethernet device. A
// VRF, which says that it is one, hands frames to nobody (IFF_NO_RX_HANDLER).
func (b *builder) onEthernet() bool { return b.kind == KindMacvlan || b.kind == KindIPvlan }

// inherits reports whether the link has its parent's MAC address: to give a
// macvlan in passthru mode another changes the parent's.
func (b *builder) inherits() bool {
	return b.kind == KindIPvlan || b.kind == KindVLAN || b.kind == KindIPoIB || b.Mode == "passthru"
}

// upLate reports whether the link comes up with its addresses, and so announces
// them. An ipvlan and an IPoIB link have no MAC address that could be set once
// more to that end, and most drivers of cards set none while the card is up
// (eth_prepare_mac_addr_change).
func (b *builder) upLate() bool {
	return b.kind == KindIPvlan || b.kind == KindIPoIB || b.kind == KindPhys
}

func (childPlug) join(b *builder) {
	b.clear()
	c := addChild{inner: b.names.inner, netns: b.f.Guest.netns(), kind: string(b.kind), mode: b.Mode, mac: b.MAC, mtu: b.MTU}
	switch b.kind {
	case KindVLAN:
		c.vlan = b.tag
	case KindIPoIB:
		c.pkey = b.tag
	}
	if !b.inherits() {
		c.mac = b.mac()
	}
	if b.f.Namesake != nil {
		c.index = b.f.NewIndex
	}
	if parent := b.f.Base; parent != nil && b.kind != KindDummy {
		c.parent = parent.Name
		b.parentUp()
		if b.onTagged() {
			c.parent = b.tagged()
		}
	}
	b.hostAccess() // while the host's lock is held
	b.add(c)
	b.sysctls()
	if !b.upLate() {
		b.up()
	}
	b.parentCarrier()
}

func (childPlug) differ(b *builder, differ differ) {
	inner, parent := b.f.Inner, b.f.Base
	if Kind(inner.Kind) != b.kind {
		differ("kind", inner.Kind, b.kind)
		return
	}
	if b.onTagged() {
		parent = b.f.Tagged
	}
	if b.kind != KindDummy && (parent == nil || inner.Peer != b.kind.lower(parent) || inner.PeerNS != b.f.HostNS) {
		differ("parent", "another", b.HostIF.Name)
	}
	b.accessDiffers(differ)
	if b.Mode != "" && inner.Mode != b.Mode {
		differ("mode", inner.Mode, b.Mode)
	}
	if b.kind == KindVLAN && inner.VLAN != b.tag {
		differ("VLAN", inner.VLAN, b.tag)
	}
	if b.kind == KindIPoIB && b.tag != 0 && int(inner.PKey) != b.tag {
		differ("partition key", pkeyWord(int(inner.PKey)), pkeyWord(b.tag))
	}
}

// lower is the index of the link that a child on parent really gets: of a macvlan
// on another macvlan or a macvtap, and of an ipvlan on another ipvlan, the kernel
// makes a sibling.
func (k Kind) lower(parent *rtnl.Link) int {
	sibling := parent.Kind == string(k) || k == KindMacvlan && parent.Kind == "macvtap"
	if sibling && (k == KindMacvlan || k == KindIPvlan) {
		return parent.Peer
	}
	return parent.Index
}

// addChild makes a macvlan, ipvlan, vlan or IPoIB link on a link of the host, or
// a dummy on none, in the guest and under its final name.
type addChild struct {
	parent       string // "" for a dummy
	inner, netns string
	kind, mode   string
	vlan         int
	pkey         int              // of an IPoIB link; 0: the parent's
	mac          net.HardwareAddr // nil: the parent's
	mtu          int              // 0: the parent's
	index        int              // 0: the kernel's choice; see [rtnl.Conn.AddChild]
}

func (s addChild) do(_ context.Context, m *machine) error {
	c := rtnl.Child{
		Name: s.inner, Kind: s.kind, NS: m.guests[guest].Namespace, Index: s.index, MAC: s.mac, MTU: s.mtu, Group: Group, Mode: s.mode, VLAN: s.vlan, PKey: uint16(s.pkey),
	}
	if s.parent != "" {
		i, err := m.find(end{host, s.parent})
		if err != nil {
			return explain("find parent", s.parent, err)
		}
		c.Parent = i
	}
	if err := m.own(guest); err != nil {
		return err
	}
	err := m.sides[host].AddChild(c)
	switch {
	case errors.Is(err, unix.EOPNOTSUPP):
		return m.lacksKind(s.kind, s.inner, s.parent, err)
	case errors.Is(err, unix.EINVAL) && s.kind == string(KindIPoIB):
		return fault.New(fault.Conflict, "make ipoib on", s.parent, "it is not an IPoIB device, or has no such partition").
			WithHint("ip -d link show %s", s.parent)
	case errors.Is(err, unix.EINVAL) && s.kind == string(KindMacvlan):
		return s.why(m, c.Parent, err)
	case errors.Is(err, unix.EEXIST) && s.kind == string(KindVLAN):
		return m.vlanTaken(c.Parent, s.parent, s.vlan, err)
	case errors.Is(err, unix.EBUSY):
		return fault.New(fault.Conflict, "make "+s.kind+" on", s.parent, "%w", err).
			WithHint("it is a port of a bridge, or another kind of child has it to itself: ip -d link show %s", s.parent)
	case err != nil:
		return explain("make "+s.kind, s.inner, err)
	}
	l, err := m.sides[guest].LinkByName(s.inner)
	if err == nil && (!isOurs(l) || l.Kind != s.kind) {
		err = unix.ENODEV
	}
	if err != nil {
		return half(explain("find", s.inner, err), m.dropHalf(guest, s.kind, c.Parent), s)
	}
	m.index[end{guest, s.inner}] = l.Index
	return nil
}

// why tells why the kernel does not take a macvlan: one of mode passthru has its
// card to itself.
func (s addChild) why(m *machine, parent int, err error) error {
	e := fault.New(fault.Conflict, "make macvlan on", s.parent, "%w", err).WithHint("ip -d link show %s", s.parent)
	users, lookErr := childrenOf(m.sides[host], parent, m.hostNS, nil)
	if lookErr != nil {
		return e
	}
	for _, u := range users {
		switch {
		case u.Kind != "macvlan" && u.Kind != "macvtap":
		case u.Mode == "passthru":
			e.Err = fmt.Errorf("%s (%s) is on it in mode passthru, and has it to itself", u.Name, u.where())
		case s.mode == "passthru":
			e.Err = fmt.Errorf("mode passthru needs the card to itself, and %s (%s) is on it", u.Name, u.where())
		}
	}
	return e
}

// lacksKind explains EOPNOTSUPP: the kernel has no links of the kind, or the
// parent can have none. A request that names no parent is refused by a kernel
// that knows the kind, and makes nothing.
func (m *machine) lacksKind(kind, name, parent string, err error) error {
	e := fault.New(fault.Unsupported, "make "+kind, name, "%w", err)
	if parent != "" && errors.Is(m.sides[host].AddChild(rtnl.Child{Name: name, Kind: kind, Group: Group}), unix.EINVAL) {
		e.Op, e.Object = "make "+kind+" on", parent
		return e.WithHint("%s can have none: ip -d link show %s", parent, parent)
	}
	return e.WithHint("%s", missing(kind))
}

func (s addChild) undo(_ context.Context, m *machine) error {
	return ignoreAbsent("delete", s.inner, deleteLink(m.sides[guest], m.index[end{guest, s.inner}]))
}

func (s addChild) String() string {
	w := "ip link add"
	if s.parent != "" {
		w += " link " + s.parent
	}
	w += " name " + s.inner
	if s.index != 0 {
		w += " index " + itoa(s.index)
	}
	if s.mac != nil {
		w += " address " + s.mac.String()
	}
	if s.mtu != 0 {
		w += " mtu " + itoa(s.mtu)
	}
	w += fmt.Sprintf(" group %d netns %s type %s", Group, s.netns, s.kind)
	if s.mode != "" {
		w += " mode " + s.mode
	}
	if s.vlan != 0 {
		w += " id " + itoa(s.vlan)
	}
	if s.pkey != 0 {
		w += " pkey 0x" + pkeyWord(s.pkey)
	}
	return w
}
