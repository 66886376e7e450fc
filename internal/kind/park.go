package kind

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/shell"
	"github.com/gopipework/gopipework/internal/spec"
	"golang.org/x/sys/unix"
)

// A veth ends with its other end, and that with its namespace. So the guest's end of a
// pair is moved out of a guest that has ended, to wait for the guest to run again: the
// port, with all that watches or shapes it, never notices more than a cable that was
// pulled for a while. To move between namespaces takes from a link its addresses, routes,
// queues and sysctls, so the guest's end comes as new.

// ParkingKey is what the machine remembers the parking place under.
type ParkingKey struct{}

// ParkingPlace is the namespace that parked ends wait in.
type ParkingPlace struct {
	plan.Kernel
	NS *os.File
}

func parkingPlace(m *plan.Machine) ParkingPlace {
	p, _ := m.Remembered(ParkingKey{}).(ParkingPlace)
	return p
}

// Fits reports whether the port of the parked pair that was found is what s asks for.
func Fits(s spec.Spec, f build.Facts) bool {
	k := KindOf(SettleKind(s.HostIF, f))
	if k == nil || !k.features().Pair || len(s.Mirrors) > 0 || IsMirror(f.Parked.Port) || s.HostName != "" && s.HostName != f.Parked.Port.Name {
		return false
	}
	return k.fits(s, f)
}

func isParked(j *build.Job, l *rtnl.Link) bool {
	return j.There.Parked != nil && j.There.Parked.Port.Index == l.Index
}

// ParkedName is the name of a guest's end while it is parked. No two have one port.
func ParkedName(port *rtnl.Link) string { return fmt.Sprintf("gp%d", port.Index) }

// planTake plans the guest's end from the parked pair.
func planTake(j *build.Job, d *build.Draft) {
	p := j.There.Parked
	d.Add(TakeEnd{
		Port: p.Port.Name, index: p.Port.Index, alias: p.Port.Alias, name: p.Name, enter: p.Enter,
		inner: j.Names.Inner, netns: guests.NetNSWord(j.There.Guest), mac: j.LinkMAC(), MTU: j.LinkMTU,
	})
	if p.Port.MTU != j.LinkMTU {
		d.Add(plan.ChangeMTU{Link: p.Port.Name, MTU: j.LinkMTU, Was: p.Port.MTU})
	}
	if !p.Port.Up {
		d.Add(plan.SetLink{Name: p.Port.Name, Set: rtnl.Change{Up: true}})
	}
	UnmarkCable(d, plan.Place{Side: plan.OnHost}, p.Port)
	if alt := j.Names.Alt; alt != "" && !j.There.AltTaken && !slices.Contains(p.Port.AltNames, alt) {
		d.Add(ours.AddMark{Link: p.Port.Name, Mark: alt})
	}
}

// PlanUnpark deletes a parked pair that is not what is asked for, or that the guest has no
// use for. Rules and records that stood for its port go as after any port: gc finds them.
func PlanUnpark(j *build.Job, d *build.Draft) {
	if p := j.There.Parked; p != nil && (!p.Fits || j.Complete()) {
		d.Add(ours.DelLink{Name: p.Port.Name, Index: p.Port.Index})
	}
}

// TakeEnd moves a parked end into the guest.
type TakeEnd struct {
	Port, alias string
	index       int    // of the port
	name, enter string // of the end where it is parked, and how a person gets there
	inner       string // its name in the guest
	netns       string
	mac         net.HardwareAddr
	MTU         int
}

func (s TakeEnd) Do(ctx context.Context, m *plan.Machine) error {
	from := parkingPlace(m)
	port, err := m.Host().LinkByIndex(s.index)
	if err != nil {
		return fault.Explain("find", s.Port, err)
	}
	m.Know(plan.OnHost, s.Port, s.index)
	if err := from.SetLink(port.Peer, rtnl.Change{MAC: s.mac, MTU: s.MTU}); err != nil {
		return fault.Explain("set", s.name, err)
	}
	group := uint32(plan.Group)
	err = from.MoveLink(port.Peer, rtnl.Move{NS: m.Guests[plan.InGuest].Namespace, Name: s.inner, Group: &group})
	if err == nil {
		port, err = m.Host().LinkByIndex(s.index)
	}
	if err != nil { // it may have moved, under another name
		return plan.Half(fault.Explain("move", s.inner+" into "+m.Guests[plan.InGuest].Name, err), s.Undo(context.WithoutCancel(ctx), m), s)
	}
	m.Know(plan.InGuest, s.inner, port.Peer)
	return nil
}

// Undo parks the end again, or else deletes the pair: what nobody can take is not to stay.
func (s TakeEnd) Undo(_ context.Context, m *plan.Machine) error {
	port, err := m.Host().LinkByIndex(s.index)
	if err == nil {
		err = m.Host().SetLink(s.index, rtnl.Change{Alias: s.alias})
	}
	if err != nil {
		return fault.IgnoreAbsent("find", s.Port, err)
	}
	id, err := m.Host().NamespaceID(m.Guests[plan.InGuest].Namespace)
	if err == nil && id >= 0 && port.PeerNS == id {
		err = m.In(plan.InGuest).MoveLink(port.Peer, rtnl.Move{NS: parkingPlace(m).NS, Name: s.name})
	}
	if err == nil {
		return nil
	}
	return fault.IgnoreAbsent("delete", s.Port, ours.DeleteLink(m.Host(), s.index))
}

func (TakeEnd) Nature() plan.Nature { return plan.Undoable }

func (s TakeEnd) String() string {
	return fmt.Sprintf("%sip link set dev %s address %s mtu %d netns %s name %s group %d", s.enter, s.name, s.mac, s.MTU, s.netns, s.inner, plan.Group)
}

// PlanPark plans to park what can be parked of a guest that has ended. A guest that has
// changed how its end works gets a new one.
func PlanPark(f build.ParkFacts) (p build.Plan) {
	for _, pair := range f.Pairs {
		if pair.Inner == nil || !asMade(pair.Inner) {
			continue
		}
		p.Steps = append(p.Steps, ParkEnd{
			Place: plan.Place{Side: plan.InGuest, Enter: guests.Enter(f.Guest)}, Parking: pair, to: f.To,
		})
	}
	return p
}

// asMade reports whether an end receives and sends as one that was just made: no program
// sees its packets first, and its flags are those of any Ethernet.
func asMade(l *rtnl.Link) bool {
	const own = unix.IFF_BROADCAST | unix.IFF_MULTICAST
	const any = unix.IFF_UP | unix.IFF_RUNNING | unix.IFF_LOWER_UP | unix.IFF_DORMANT
	return l.Kind == "veth" && len(l.XDP) == 0 && l.Flags&^any&0xffff == own
}

// ParkEnd moves the guest's end of a pair out of a guest that has ended. The port's mark
// goes first: killed in between, the pair is half made, and goes with the guest.
type ParkEnd struct {
	plan.Place
	build.Parking
	to string // the path of the namespace where it is parked
}

func (s ParkEnd) Do(_ context.Context, m *plan.Machine) error {
	if err := m.Host().SetLink(s.Port.Index, rtnl.Change{Alias: s.Parked()}); err != nil {
		return fault.IgnoreAbsent("mark", s.Port.Name, err)
	}
	err := s.Kernel(m).SetLink(s.Inner.Index, rtnl.Change{Down: true, NoAlias: true})
	for _, alt := range s.Inner.AltNames { // two guests may have given one name
		err = errors.Join(err, s.Kernel(m).DelAltName(s.Inner.Index, alt))
	}
	if err == nil {
		err = s.Kernel(m).MoveLink(s.Inner.Index, rtnl.Move{NS: parkingPlace(m).NS, Name: ParkedName(s.Port)})
	}
	return fault.IgnoreAbsent("park", s.Inner.Name, err)
}

func (s ParkEnd) Undo(context.Context, *plan.Machine) error { return nil }

func (ParkEnd) Nature() plan.Nature { return plan.Final }

func (s ParkEnd) String() string {
	return fmt.Sprintf("ip link set dev %s alias %s\n%sip link set dev %s netns %s name %s",
		s.Port.Name, shell.Quote(s.Parked()), s.Enter, shell.Quote(s.Inner.Name), shell.Quote(s.to), ParkedName(s.Port))
}
