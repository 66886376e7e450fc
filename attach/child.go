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

func (childPlug) settle(j *job, d *draft) error {
	if j.kind != KindDummy {
		return j.checkParent()
	}
	switch {
	case j.VLAN != "":
		return j.refuse(fault.Usage, "a dummy has no VLAN")
	case j.Mode != "":
		return j.refuse(fault.Usage, "a dummy has no mode")
	}
	return j.checkHeard()
}

// checkHeard refuses addresses from the network for a link that hears none of
// what they come by: an ipvlan that routes has no broadcast or multicast
// (Documentation/networking/ipvlan.rst), and a dummy has no network.
func (j *job) checkHeard() error {
	if j.From.Kind == FromLine {
		return nil
	}
	from := cmp.Or(j.From.Ask.Client, string(j.From.Kind))
	switch {
	case j.kind == KindDummy:
		return j.refuse(fault.Usage, "there is no network behind a dummy, from which %s could get an address", from).
			WithHint("an address on the line: 192.168.1.2/32")
	case j.kind == KindIPvlan && j.Mode != "l2":
		return j.refuse(fault.Usage, "an ipvlan in mode %s hears no broadcast or multicast, and %s can get no address", j.Mode, from).
			WithHint("--mode l2, or an address on the line")
	}
	return nil
}

func (childPlug) refuseConflicts(j *job) error {
	if err := j.vlanFree(); err != nil {
		return err
	}
	return j.accessFree()
}

func (childPlug) repair(j *job, d *draft) {
	j.parentUp(d)
	if t := j.f.Tagged; t != nil && j.onTagged() && !t.Up {
		d.add(raiseLink{t.Name})
	}
	j.hostAccess(d)
	j.parentCarrier(d)
	j.warnCarrier(d, j.f.Base)
}

// parentUp plans for a parent that is up.
func (j *job) parentUp(d *draft) {
	if parent := j.f.Base; parent != nil && j.kind != KindDummy && !parent.Up {
		d.add(raiseLink{parent.Name})
	}
}

// parentCarrier plans to look whether a parent that was set up has a carrier.
func (j *job) parentCarrier(d *draft) {
	if parent := j.f.Base; parent != nil && j.kind != KindDummy && !parent.Up {
		d.add(awaitCarrier{link: parent.Name, card: parent.Name})
	}
}

// kindModes are the modes of the kinds that have any, the default first.
var kindModes = map[Kind][]string{
	KindMacvlan: {"bridge", "private", "vepa", "passthru"},
	KindIPvlan:  {"l2", "l3", "l3s"},
}

// checkParent settles the mode and the tag, and that the parent can have the
// kind of child.
func (j *job) checkParent() error {
	parent := j.f.Base
	if parent == nil {
		return j.noSuchInterface()
	}
	if err := j.settleTag(); err != nil {
		return err
	}
	modes := kindModes[j.kind]
	switch {
	case j.Mode == "" && len(modes) > 0:
		j.Mode = modes[0]
	case j.Mode != "" && !slices.Contains(modes, j.Mode):
		return j.refuse(fault.Usage, "%s has no mode %s", j.kind, j.Mode).WithHint("its modes: %s", strings.Join(modes, ", "))
	}
	switch {
	case parent.Loopback:
		return j.refuse(fault.Conflict, "%s is the loopback interface, and cannot be the parent of a %s", parent.Name, j.kind)
	case j.onEthernet() && (parent.Type != unix.ARPHRD_ETHER || parent.Kind == "vrf"):
		return j.refuse(fault.Conflict, "%s is %s, and no Ethernet device: it cannot be the parent of a %s", parent.Name, describeKind(parent), j.kind)
	case parent.Slave != "" && j.kind != KindVLAN:
		return j.refuse(fault.Conflict, "%s is a port of a %s, and cannot be the parent of a %s", parent.Name, parent.Slave, j.kind).
			WithHint("attach to what it is a port of")
	case j.MAC != nil && j.kind == KindIPoIB:
		return j.refuse(fault.Usage, "the address of an IPoIB interface is made by its hardware")
	case j.MAC != nil && j.inherits() && j.kind != KindVLAN:
		return j.refuse(fault.Usage, "%s has the MAC address of its parent", strings.TrimSpace(string(j.kind)+" "+j.Mode))
	}
	if err := j.checkMode(); err != nil {
		return err
	}
	if err := j.checkHeard(); err != nil {
		return err
	}
	return j.checkMTU(j.MTU, j.on())
}

// onEthernet reports whether the kind's parent has to be an Ethernet device. A
// VRF, which says that it is one, hands frames to nobody (IFF_NO_RX_HANDLER).
func (j *job) onEthernet() bool { return j.kind == KindMacvlan || j.kind == KindIPvlan }

// inherits reports whether the link has its parent's MAC address: to give a
// macvlan in passthru mode another changes the parent's.
func (j *job) inherits() bool {
	return j.kind == KindIPvlan || j.kind == KindVLAN || j.kind == KindIPoIB || j.Mode == "passthru"
}

// upLate reports whether the link comes up with its addresses, and so announces
// them. An ipvlan and an IPoIB link have no MAC address that could be set once
// more to that end, and most drivers of cards set none while the card is up
// (eth_prepare_mac_addr_change).
func (j *job) upLate() bool {
	return j.kind == KindIPvlan || j.kind == KindIPoIB || j.kind == KindPhys
}

func (childPlug) join(j *job, d *draft) {
	j.clear(d)
	c := addChild{inner: j.names.inner, netns: j.f.Guest.netns(), kind: string(j.kind), mode: j.Mode, mac: j.MAC, mtu: j.MTU}
	switch j.kind {
	case KindVLAN:
		c.vlan = j.tag
	case KindIPoIB:
		c.pkey = j.tag
	}
	if !j.inherits() {
		c.mac = j.mac()
	}
	if j.f.Namesake != nil {
		c.index = j.f.NewIndex
	}
	if parent := j.f.Base; parent != nil && j.kind != KindDummy {
		c.parent = parent.Name
		j.parentUp(d)
		if j.onTagged() {
			c.parent = j.tagged(d)
		}
	}
	j.hostAccess(d) // while the host's lock is held
	d.add(c)
	j.sysctls(d)
	if !j.upLate() {
		j.up(d)
	}
	j.parentCarrier(d)
}

func (childPlug) differ(j *job, differ differ) {
	inner, parent := j.f.Inner, j.f.Base
	if Kind(inner.Kind) != j.kind {
		differ("kind", inner.Kind, j.kind)
		return
	}
	if j.onTagged() {
		parent = j.f.Tagged
	}
	if j.kind != KindDummy && (parent == nil || inner.Peer != j.kind.lower(parent) || inner.PeerNS != j.f.HostNS) {
		differ("parent", "another", j.HostIF.Name)
	}
	j.accessDiffers(differ)
	if j.Mode != "" && inner.Mode != j.Mode {
		differ("mode", inner.Mode, j.Mode)
	}
	if j.kind == KindVLAN && inner.VLAN != j.tag {
		differ("VLAN", inner.VLAN, j.tag)
	}
	if j.kind == KindIPoIB && j.tag != 0 && int(inner.PKey) != j.tag {
		differ("partition key", pkeyWord(int(inner.PKey)), pkeyWord(j.tag))
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

func (addChild) nature() nature { return undoable }

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
