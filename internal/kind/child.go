package kind

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guestnet"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/spec"
	"golang.org/x/sys/unix"
)

// childKind is a kind of link that has no end on the host: it is made on a parent there, or
// on nothing, and is in the guest alone. The mark is on it.
type childKind struct {
	plain
	modes    []string // the default first; nil: it has none
	ethernet bool     // its parent has to be an Ethernet device
	ports    bool     // its parent can be a port of something
}

// checkParent settles the tag and the mode, and refuses what cannot be the parent of
// the kind. A VRF, which says that it is an Ethernet device, hands frames to nobody
// (IFF_NO_RX_HANDLER).
func (c childKind) checkParent(j *build.Job, tag func(*build.Job) error) error {
	parent := j.There.Base
	if parent == nil {
		return noSuchInterface(j)
	}
	if err := tag(j); err != nil {
		return err
	}
	switch {
	case j.Mode == "" && len(c.modes) > 0:
		j.Mode = c.modes[0]
	case j.Mode != "" && !slices.Contains(c.modes, j.Mode):
		return j.Refuse(fault.Usage, "%s has no mode %s", c.Word, j.Mode).WithHint("its modes: %s", strings.Join(c.modes, ", "))
	}
	switch {
	case parent.Loopback:
		return j.Refuse(fault.Conflict, "%s is the loopback interface, and cannot be the parent of a %s", parent.Name, c.Word)
	case c.ethernet && (parent.Type != unix.ARPHRD_ETHER || parent.Kind == "vrf"):
		return j.Refuse(fault.Conflict, "%s is %s, not an Ethernet device: it cannot be the parent of a %s", parent.Name, ours.DescribeKind(parent), c.Word)
	case parent.Slave != "" && !c.ports:
		return j.Refuse(fault.Conflict, "%s is a port of a %s, and cannot be the parent of a %s", parent.Name, parent.Slave, c.Word).
			WithHint("attach to the bridge or bond that it is a port of")
	}
	return nil
}

// refuseMAC refuses a MAC address for a link that has its parent's.
func (c childKind) refuseMAC(j *build.Job) error {
	if j.MAC == nil {
		return nil
	}
	return j.Refuse(fault.Usage, "%s has the MAC address of its parent", strings.TrimSpace(string(c.Word)+" "+j.Mode))
}

// refuseLongFrames refuses an MTU above that of the parent, as the kernel does.
func (childKind) refuseLongFrames(j *build.Job) error { return CheckMTU(j, j.MTU, j.On()) }

// parentMAC is the address of what the link is on.
func parentMAC(j *build.Job) net.HardwareAddr {
	if j.There.Tagged != nil {
		return j.There.Tagged.MAC
	}
	return j.There.Base.MAC
}

func (c childKind) Repair(j *build.Job, d *build.Draft) { c.repairParent(j, d, func() {}) }

// repairParent plans for what the link is on to be up. between is planned before the
// wait for a carrier, while the host's lock is held.
func (c childKind) repairParent(j *build.Job, d *build.Draft, between func()) {
	c.raiseParent(j, d)
	if t := j.There.Tagged; t != nil && j.SubInterface && !t.Up {
		d.Add(ours.RaiseLink{Name: t.Name})
	}
	between()
	c.awaitParent(j, d)
	j.WarnCarrier(d, j.There.Base)
}

// raiseParent plans for a parent that is up.
func (childKind) raiseParent(j *build.Job, d *build.Draft) {
	if parent := j.There.Base; parent != nil && !parent.Up {
		d.Add(ours.RaiseLink{Name: parent.Name})
	}
}

// awaitParent plans to look whether a parent that was set up has a carrier.
func (childKind) awaitParent(j *build.Job, d *build.Draft) {
	if parent := j.There.Base; parent != nil && !parent.Up {
		d.Add(guestnet.AwaitCarrier{Link: parent.Name, Card: parent.Name})
	}
}

// joinParent plans the link on its parent. between is planned before the link, while
// the host's lock is held.
func (c childKind) joinParent(j *build.Job, d *build.Draft, link AddChild, between func()) {
	PlanClearing(j, d)
	c.raiseParent(j, d)
	link.parent = j.There.Base.Name
	if j.SubInterface {
		link.parent = planTagged(j, d)
	}
	between()
	c.make(j, d, link)
	c.awaitParent(j, d)
}

// make plans the link itself.
func (c childKind) make(j *build.Job, d *build.Draft, link AddChild) {
	link.inner, link.netns, link.kind = j.Names.Inner, guests.NetNSWord(j.There.Guest), string(c.Word)
	link.mode, link.mac, link.mtu = j.Mode, j.MAC, j.MTU
	if !j.Inherits {
		link.mac = j.LinkMAC()
	}
	if j.There.Namesake != nil {
		link.index = j.There.NewIndex
	}
	d.Add(link)
	guestnet.PlanBeforeUp(j, d)
	if !c.UpLate {
		guestnet.PlanUp(j, d)
	}
}

// Differ compares the kind, the parent and the mode.
func (c childKind) Differ(j *build.Job, differ build.Differ) {
	inner, parent := j.There.Inner, j.There.Base
	if spec.Kind(inner.Kind) != c.Word {
		differ("kind", inner.Kind, c.Word)
		return
	}
	if j.SubInterface {
		parent = j.There.Tagged
	}
	if parent == nil || inner.Peer != c.lower(parent) || inner.PeerNS != j.There.HostNS {
		differ("parent", "another", j.HostIF.Name)
	}
	if j.Mode != "" && inner.Mode != j.Mode {
		differ("mode", inner.Mode, j.Mode)
	}
}

// lower is the index of the link that a child on parent really gets: of a macvlan
// on another macvlan or a macvtap, and of an ipvlan on another ipvlan, the kernel
// makes a sibling.
func (c childKind) lower(parent *rtnl.Link) int {
	if c.modes != nil && (parent.Kind == string(c.Word) || isMacvlan(string(c.Word)) && isMacvlan(parent.Kind)) {
		return parent.Peer
	}
	return parent.Index
}

// isMacvlan reports whether a link is a macvlan to its parent, whatever else it is.
func isMacvlan(kind string) bool { return kind == "macvlan" || kind == "macvtap" }

// AddChild makes a macvlan, macvtap, ipvlan, vlan or IPoIB link on a link of the host, or
// a dummy on none, in the guest and under its final name.
type AddChild struct {
	parent       string // "" for a dummy
	inner, netns string
	kind, mode   string
	vlan         int
	pkey         int              // of an IPoIB link; 0: the parent's
	mac          net.HardwareAddr // nil: the parent's
	mtu          int              // 0: the parent's
	index        int              // 0: the kernel's choice; see [rtnl.Conn.AddChild]
}

func (s AddChild) Do(_ context.Context, m *plan.Machine) error {
	c := rtnl.Child{
		Name: s.inner, Kind: s.kind, NS: m.Guests[plan.InGuest].Namespace, Index: s.index, MAC: s.mac, MTU: s.mtu, Group: plan.Group, Mode: s.mode, VLAN: s.vlan, PKey: uint16(s.pkey),
	}
	if s.parent != "" {
		i, err := m.Find(plan.OnHost, s.parent)
		if err != nil {
			return fault.Explain("find parent", s.parent, err)
		}
		c.Parent = i
	}
	if err := ours.GiveID(m, plan.InGuest); err != nil {
		return err
	}
	err := m.Host().AddChild(c)
	switch {
	case errors.Is(err, unix.EOPNOTSUPP):
		return lacksKind(m, s.kind, s.inner, s.parent, err)
	case errors.Is(err, unix.EINVAL) && s.kind == string(spec.KindIPoIB):
		return fault.New(fault.Conflict, "make ipoib on", s.parent, "it is not an IPoIB device, or has no such partition").
			WithHint("ip -d link show %s", s.parent)
	case errors.Is(err, unix.EINVAL) && isMacvlan(s.kind):
		return s.why(m, c.Parent, err)
	case errors.Is(err, unix.EEXIST) && s.kind == string(spec.KindVLAN):
		return vlanTaken(m, c.Parent, s.parent, s.vlan, err)
	case errors.Is(err, unix.EBUSY):
		return fault.New(fault.Conflict, "make "+s.kind+" on", s.parent, "%w", err).
			WithHint("it is a port of a bridge, or reserved by a child of another kind: ip -d link show %s", s.parent)
	case err != nil:
		return fault.Explain("make "+s.kind, s.inner, err)
	}
	l, err := m.In(plan.InGuest).LinkByName(s.inner)
	if err == nil && (!plan.IsOurs(l) || l.Kind != s.kind) {
		err = unix.ENODEV
	}
	if err != nil {
		return plan.Half(fault.Explain("find", s.inner, err), ours.DropHalf(m, plan.InGuest, s.kind, c.Parent), s)
	}
	m.Know(plan.InGuest, s.inner, l.Index)
	return nil
}

// why tells why the kernel does not take a macvlan: one of mode passthru has its
// card to itself.
func (s AddChild) why(m *plan.Machine, parent int, err error) error {
	e := fault.New(fault.Conflict, "make "+s.kind+" on", s.parent, "%w", err).WithHint("ip -d link show %s", s.parent)
	users, lookErr := ours.ChildrenOf(m.Host(), parent, m.HostNS, nil)
	if lookErr != nil {
		return e
	}
	for _, u := range users {
		switch {
		case !isMacvlan(u.Kind):
		case u.Mode == "passthru":
			e.Err = fmt.Errorf("%s (%s) uses it in mode passthru, which allows no other macvlan", u.Name, where(u))
		case s.mode == "passthru":
			e.Err = fmt.Errorf("mode passthru needs the card to itself, but %s (%s) is on it", u.Name, where(u))
		}
	}
	return e
}

// lacksKind explains EOPNOTSUPP: the kernel has no links of the kind, or the
// parent can have none. A request that names no parent is refused by a kernel
// that knows the kind, and makes nothing.
func lacksKind(m *plan.Machine, kind, name, parent string, err error) error {
	if parent != "" && errors.Is(m.Host().AddChild(rtnl.Child{Name: name, Kind: kind, Group: plan.Group}), unix.EINVAL) {
		return fault.New(fault.Unsupported, "make "+kind+" on", parent, "%w", err).
			WithHint("%s cannot be the parent of one: ip -d link show %s", parent, parent)
	}
	word := kind
	if kind == string(spec.KindWireGuard) {
		word = "WireGuard"
	}
	return fault.New(fault.Unsupported, "make "+kind, name, "the kernel has no %s: %w", word, err).WithHint("%s", ours.Missing(kind))
}

func (s AddChild) Undo(_ context.Context, m *plan.Machine) error {
	return fault.IgnoreAbsent("delete", s.inner, ours.DeleteLink(m.In(plan.InGuest), m.Index(plan.InGuest, s.inner)))
}

func (AddChild) Nature() plan.Nature { return plan.Undoable }

func (s AddChild) String() string {
	w := "ip link add"
	if s.parent != "" {
		w += " link " + s.parent
	}
	w += " name " + s.inner
	if s.index != 0 {
		w += " index " + strconv.Itoa(s.index)
	}
	if s.mac != nil {
		w += " address " + s.mac.String()
	}
	if s.mtu != 0 {
		w += " mtu " + strconv.Itoa(s.mtu)
	}
	w += fmt.Sprintf(" group %d netns %s type %s", plan.Group, s.netns, s.kind)
	if s.mode != "" {
		w += " mode " + s.mode
	}
	if s.vlan != 0 {
		w += " id " + strconv.Itoa(s.vlan)
	}
	if s.pkey != 0 {
		w += " pkey 0x" + pkeyWord(s.pkey)
	}
	return w
}
