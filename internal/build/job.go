package build

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/gopipework/gopipework/bridge"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/spec"
	"golang.org/x/sys/unix"
)

// Job is one interface to plan: what is asked, what is there, and what follows from
// the two. Settling fills it in; after that nothing changes it.
type Job struct {
	spec.Spec
	There      Facts
	plan.Place // the guest
	Names      Names
	Kind       spec.Kind // what HOSTIF turned out to be
	Traits     Traits
	Tag        int         // VLAN on a network card, or partition key; 0: none
	SwitchVLAN bridge.VLAN // on a switch
	VXLAN      spec.VXLAN  // that Uplink asks for
	LinkMTU    int
	Table      int    // of the interface's routes, that of its VRF; 0: main
	Card       string // a card whose carrier is waited for when the link is up; "": none

	SubInterface bool             // the link is on the card's sub-interface for its VLAN, not on the card itself
	Alone        bool             // what has the link's name in the guest has no end on the host
	Inherited    net.HardwareAddr // the MAC address that the link has unless another is asked for
	Inherits     bool             // there is such an address
	Needs        []Needed         // sysctls of the interface
	Op           string           // what it is about, for errors; "": an attach or a link
}

func NewJob(s spec.Spec, f Facts, at plan.Side, n Names) *Job {
	j := &Job{Spec: s, There: f, Place: plan.Place{Side: at, Enter: guests.Enter(f.Guest)}, Names: n}
	if f.Base != nil {
		j.HostIF.Name = f.Base.Name // it may have been asked for by an alternative name
	}
	switch {
	case j.Takes():
		j.Names.Port = f.Parked.Port.Name
	case f.PortName != "":
		j.Names.Port = f.PortName // the usual one may be another guest's
	}
	if s.NamedMAC {
		j.MAC = NamedMAC(f.Machine, f.Guest, n.Inner)
	}
	return j
}

// Draft is a plan that is being written. Steps and warnings are only appended.
type Draft struct {
	Plan
	Drops  []string                  // warnings about the host's firewall
	Tables map[plan.Side]map[int]int // routing tables taken for source routing, by guest and index of the link; 0: the link to come
}

func (d *Draft) Add(s plan.Step) { d.Steps = append(d.Steps, s) }

func (d *Draft) Warn(format string, args ...any) {
	d.Warnings = append(d.Warnings, fmt.Sprintf(format, args...))
}

func (j *Job) Refuse(code fault.Code, format string, args ...any) *fault.Error {
	switch {
	case j.Op != "":
		return fault.New(code, j.Op, j.Names.Inner+" of "+j.There.Guest.Name, format, args...)
	case j.Kind == spec.KindVeth:
		return fault.New(code, "link", j.There.Guest.Name, format, args...)
	}
	return fault.New(code, "attach", j.HostIF.Name+" to "+j.There.Guest.Name, format, args...)
}

// Complete reports whether an attach has come to its end under this name.
func (j *Job) Complete() bool {
	marked := j.Marked()
	switch {
	case marked == nil:
		return false
	case j.There.Card.Here:
		return j.There.Card.Loan.Complete
	}
	_, ok := plan.ParseMark(marked.Alias)
	return ok
}

// Origin returns who asks.
func (j *Job) Origin() spec.Origin { return cmp.Or(j.There.Origin, spec.OriginLine) }

// HasOrigin returns who asked for the attachment that is there and complete.
func (j *Job) HasOrigin() spec.Origin {
	if j.There.Card.Here {
		return cmp.Or(j.There.Card.Loan.Origin, spec.OriginLine)
	}
	m, _ := plan.ParseMark(j.Marked().Alias)
	return m.Origin
}

// Mark is the mark of what is asked for.
func (j *Job) Mark() plan.Mark {
	m := plan.MarkOf(j.There.Guest, j.Names.Inner)
	m.Origin = j.Origin()
	return m
}

// Marked returns the link of ours, under this name, that has the mark or is to
// have it: the host's end of a pair, or the guest's link where there is none.
// nil if what is there is not ours.
func (j *Job) Marked() *rtnl.Link {
	if j.There.Own != nil {
		return j.There.Own
	}
	if j.There.Card.Here {
		return j.There.Inner
	}
	if inner := j.There.Inner; inner != nil && plan.IsOurs(inner) && (j.Alone || j.There.Joined || j.There.betweenGuests() || ours.Strayed(inner, j.There.Other)) {
		return inner
	}
	return nil
}

func (j *Job) Own(index int) bool { return j.Marked() != nil && j.There.Inner.Index == index }

func (j *Job) LinkName(index int) string {
	for _, l := range j.There.Links {
		if l.Index == index {
			return l.Name
		}
	}
	return "another interface"
}

// LinkMAC is the MAC address of the guest's end. An attachment that stays has one that
// stays; one that is typed, and gone with its guest, a random one.
func (j *Job) LinkMAC() net.HardwareAddr {
	switch {
	case j.MAC != nil:
		return j.MAC
	case j.Inherits:
		return j.Inherited
	case j.Origin().Claims():
		return NamedMAC(j.There.Machine, j.There.Guest, j.Names.Inner)
	}
	return j.There.New.Inner
}

// Describe says what an interface of the guest is, for an error.
func (j *Job) Describe(l *rtnl.Link) string {
	words := []string{ours.DescribeKind(l)}
	for _, a := range j.There.Addrs {
		if a.Index == l.Index && a.Scope != unix.RT_SCOPE_LINK {
			words = append(words, a.Prefix.String())
		}
	}
	return strings.Join(words, " ")
}

// OrDetach is how to get around an interface of ours.
func (j *Job) OrDetach() string {
	if j.There.Fresh {
		return "the engine asks for DEL first, or for " + j.OtherName()
	}
	return "gopipework detach " + j.Spec.Guest + " " + j.Names.Inner + ", or " + j.OtherName()
}

// OtherName is how whoever asks gives the interface another name.
func (j *Job) OtherName() string {
	switch o := j.There.Origin; {
	case j.Kind == spec.KindVeth:
		return "another name: " + j.Spec.Guest + ":NAME"
	case o.IsNetwork(), o.OfContainer():
		return "another name for the interface"
	}
	return "another name with -i"
}

// WarnCarrier warns of a card that is up and has no carrier. A card that the plan
// sets up is looked at by a step (guestnet.AwaitCarrier).
func (j *Job) WarnCarrier(d *Draft, card *rtnl.Link) {
	if t := j.Traits; card != nil && t.Child && t.OnHost && card.Up && !card.Carrier {
		d.Warn("%s: nothing can be heard on it", plan.NoCarrier(j.HostIF.Name))
	}
}

// On is what the guest's link is to be on, if that is there.
func (j *Job) On() *rtnl.Link {
	if j.SubInterface && j.There.Tagged != nil {
		return j.There.Tagged
	}
	return j.There.Base
}

// Differ is told of one difference.
type Differ func(what string, there, asked any)

// Traits are what holds for every link of a kind.
type Traits struct {
	Word   spec.Kind
	IfName string // that the guest's link has by default

	Pair  bool // a veth pair joins the guest; its end on the host has the mark
	Child bool // the link is in the guest alone, and has the mark
	Lent  bool // the link is one of the host's own
	Makes bool // HOSTIF need not be there: it is the name of something that is made

	// UpLate: the link comes up with its addresses, and so announces them. Others are
	// up before, and announce them when their MAC address is set once more. An ipvlan
	// and an IPoIB link have none that could be set, and most drivers of cards set none
	// while the card is up (eth_prepare_mac_addr_change).
	UpLate bool

	MTU int // that the kernel gives a link which is on nothing; 0: DefaultMTU

	Taken plan.Taken // why the link cannot come up, if the kernel says EADDRINUSE; zero: its MAC address

	Filters    bool   // it can filter VLANs
	Switches   bool   // frames cross a switch on the host
	Firewalled bool   // and that is one whose frames the host's firewall sees
	ShapesPort bool   // what the guest gets is shaped at the host's end
	OnHost     bool   // what the link is on, or its other end, is on the host
	LongFrames bool   // the kernel gives the link a greater MTU than what it is on
	SharedMAC  bool   // it has the MAC address of what it is on, as others there have
	HostAddr   bool   // the host's end can have an address
	Uplinks    bool   // a VXLAN to other hosts can be a port of it
	Isolates   bool   // its ports can be isolated from each other
	Antispoofs bool   // what comes from a guest can be filtered by its source
	HostAccess bool   // the host can be given a way to it, which it does not have by itself
	NoProbe    string // why --acd cannot ask on HOSTIF; "": it can
}

// Change is one attachment to change: what is asked, and what is there.
type Change struct {
	spec.SetSpec
	There SetFacts
	Job   *Job // the interface, as an attach that asks for the new addresses sees it
	To    *Job // the same, as an attach to the bridge that its port is moved to sees it; nil: the port stays
}

func (c Change) Refuse(code fault.Code, format string, args ...any) *fault.Error {
	return c.Job.Refuse(code, format, args...)
}

// Plan is what a run will do, in order.
type Plan struct {
	plan.Plan
	Attachments []ours.Attachment // what will be there, or will be gone

	Routed []netip.Prefix // subnets that a route of the guest's goes before, as Warnings say
}

// DefaultMTU is that of Ethernet, for a bridge that we make.
const DefaultMTU = 1500

// HalfBridge reports whether whoever made it did not get to its end.
func (j *Job) HalfBridge() bool {
	return j.There.Base != nil && j.There.Base.Group == plan.Group && j.There.Base.Alias == ""
}

// OurBridge reports whether the bridge is, or will be, of our making.
func (j *Job) OurBridge() bool { return j.There.Base == nil || j.There.Base.Group == plan.Group }
