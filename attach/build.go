package attach

import (
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/gopipework/gopipework/bridge"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/spec"
	"golang.org/x/sys/unix"
)

// defaultMTU is that of Ethernet, for a bridge that we make.
const defaultMTU = 1500

// job is one interface to plan: what is asked, what is there, and what follows from
// the two. Settling fills it in; after that nothing changes it.
type job struct {
	Spec
	f          Facts
	plan.Place // the guest
	names      names
	kind       Kind // what HOSTIF turned out to be
	plug       kind
	tag        int         // VLAN on a network card, or partition key; 0: none
	vlan       bridge.VLAN // on a switch
	mtu        int
	card       string // a card whose carrier is waited for when the link is up; "": none

	subInterface bool   // the link is on the card's sub-interface for its VLAN, not on the card itself
	op           string // what it is about, for errors; "": an attach or a link
}

func newJob(s Spec, f Facts, at plan.Side) *job {
	j := &job{Spec: s, f: f, Place: plan.Place{Side: at, Enter: guests.Enter(f.Guest)}, names: namesFor(s, f.Guest, f.Base)}
	if f.Base != nil {
		j.HostIF.Name = f.Base.Name // it may have been asked for by an alternative name
	}
	return j
}

// draft is a plan that is being written. Steps and warnings are only appended.
type draft struct {
	Plan
	drops  []string                  // warnings about the host's firewall
	tables map[plan.Side]map[int]int // routing tables taken for source routing, by guest and index of the link; 0: the link to come
}

func (d *draft) add(s plan.Step) { d.Steps = append(d.Steps, s) }

func (d *draft) warn(format string, args ...any) {
	d.Warnings = append(d.Warnings, fmt.Sprintf(format, args...))
}

// Build decides: every name, every value and every refusal is made here, from
// plain data. An empty plan means that all of it is there already.
func Build(s Spec, f Facts) (Plan, error) {
	j, d := newJob(s, f, plan.InGuest), &draft{}
	if in := f.Inner; in != nil && (j.marked() == nil || j.complete()) {
		j.names.inner = in.Name // it may have been asked for by an alternative name
	}
	if err := j.settle(d); err != nil {
		return Plan{}, err
	}
	j.mtu = j.linkMTU()
	if j.Has(true) && j.mtu < spec.MinMTU6 {
		return Plan{}, j.refuse(fault.Conflict, "its MTU is %d, and IPv6 needs %d", j.mtu, spec.MinMTU6).WithHint("--mtu %d", spec.MinMTU6)
	}
	if err := j.checkShape(j.shape()); err != nil {
		return Plan{}, err
	}
	if j.complete() {
		if err := j.checkSame(); err != nil {
			return Plan{}, err
		}
		j.plug.repair(j, d)
		j.repair(d)
		j.ownReplies(d, false)
		j.ownReplies(d, true)
		for _, s := range addressSources {
			if err := s.repair(j, d); err != nil {
				return Plan{}, err
			}
		}
		j.verify(d)
		j.warnings(d)
		d.Attachments = []Attachment{j.attachment()}
		return d.Plan, nil
	}
	if err := j.checkFree(); err != nil {
		return Plan{}, err
	}
	j.clearDNS(d)
	j.plug.join(j, d)
	j.shapeInner(d)
	if err := j.inet(d); err != nil {
		return Plan{}, err
	}
	j.dns(d)
	j.verify(d)
	j.mark(d)
	j.warnings(d)
	d.Attachments = []Attachment{j.attachment()}
	return d.Plan, nil
}

// mark plans the last step.
func (j *job) mark(d *draft) {
	m := plan.SetMark{Place: j.Place, Inner: j.names.inner, Mark: plan.MarkOf(j.f.Guest, j.names.inner)}
	switch t := j.traits(); {
	case t.pair:
		m.Port = j.names.port
	case t.lent:
		d.add(markLent{m, j.HostIF.Name})
		return
	}
	d.add(m)
}

// complete reports whether an attach has come to its end under this name.
func (j *job) complete() bool {
	marked := j.marked()
	switch {
	case marked == nil:
		return false
	case j.f.Card.Here:
		return j.f.Card.Loan.Complete
	}
	_, ok := plan.ParseMark(marked.Alias)
	return ok
}

// marked returns the link of ours, under this name, that has the mark or is to
// have it: the host's end of a pair, or the guest's link where there is none.
// nil if what is there is not ours.
func (j *job) marked() *rtnl.Link {
	if j.f.Own != nil {
		return j.f.Own
	}
	if j.f.Card.Here {
		return j.f.Inner
	}
	if inner := j.f.Inner; inner != nil && plan.IsOurs(inner) && (traitsOf(Kind(inner.Kind)).child || j.f.Joined || j.f.betweenGuests() || strayed(inner, j.f.Other)) {
		return inner
	}
	return nil
}

// clear plans for what a killed run has left under the name to go.
func (j *job) clear(d *draft) {
	defer j.clearReplies(d) // when the links have gone
	for _, s := range addressSources {
		s.clear(j, d)
	}
	port := j.names.port
	if j.f.Own != nil {
		port = j.f.Own.Name
	}
	if p, ok := j.f.OVS.Port(port); ok && p.Mark != "" {
		d.add(delOVSPort{p}) // its link may have gone long ago
	}
	switch {
	case j.f.Card.Here:
		d.add(bringHome{Place: j.Place, loan: *j.f.Card.Loan, now: j.f.Inner})
		return
	case j.f.Card.Home != nil:
		d.add(bringHome{Place: j.Place, loan: *j.f.Card.Loan, home: j.f.Card.Home})
	}
	j.clearInbound(d)
	switch {
	case j.f.Own != nil:
		d.add(delLink{j.f.Own.Name, j.f.Own.Index})
	case j.f.Inner != nil:
		d.add(delInner{j.Place, j.f.Inner.Name, j.f.Inner.Index})
	case j.halfPort():
		d.add(delLink{j.f.Port.Name, j.f.Port.Index})
	}
}

// repair sets both ends up, if somebody has set one down.
func (j *job) repair(d *draft) {
	if own := j.f.Own; own != nil && !own.Up {
		d.add(plan.SetLink{Name: own.Name, Set: rtnl.Change{Up: true}})
	}
	if !j.f.Inner.Up {
		j.up(d)
		j.carrier(d)
	}
}

func (j *job) refuse(code fault.Code, format string, args ...any) *fault.Error {
	switch {
	case j.op != "":
		return fault.New(code, j.op, j.names.inner+" of "+j.f.Guest.Name, format, args...)
	case j.kind == KindVeth:
		return fault.New(code, "link", j.f.Guest.Name, format, args...)
	}
	return fault.New(code, "attach", j.HostIF.Name+" to "+j.f.Guest.Name, format, args...)
}

func describeKind(l *rtnl.Link) string {
	switch {
	case l.Loopback:
		return "the loopback interface"
	case l.Kind == "":
		return "a network card"
	}
	return "a " + l.Kind
}

// linkMTU is what both ends of the pair get.
func (j *job) linkMTU() int {
	switch {
	case j.MTU != 0:
		return j.MTU
	case j.f.Base != nil && !j.halfBridge():
		return j.f.Base.MTU
	case j.traits().lent:
		return j.f.Card.Loan.Card.MTU
	}
	return defaultMTU
}

// mac is that of the guest's end.
func (j *job) mac() net.HardwareAddr {
	if j.MAC != nil {
		return j.MAC
	}
	if mac, ok := j.plug.mac(j); ok {
		return mac
	}
	return j.f.New.Inner
}

// attachment is what will be there.
func (j *job) attachment() Attachment {
	a := Attachment{
		Guest: j.f.Guest,
		Interface: Interface{
			Name: j.names.inner, Kind: "veth", MAC: j.mac().String(), MTU: j.mtu,
			Addresses: append([]netip.Prefix{}, j.Addrs...),
			Gateway:   append([]netip.Addr{}, j.Gateways...),
		},
		Host:    Host{Kind: string(j.kind), Name: j.HostIF.Name, VLAN: tagWord(j.kind, j.tag) + j.vlan.String()},
		State:   Complete,
		Shaping: shapingOrNil(j.shape()),
	}
	if j.complete() {
		a.Shaping = shapingOrNil(j.f.Shaped.shaping())
	}
	if j.traits().pair {
		a.Host.Port = j.names.port
	} else {
		a.Interface.Kind = string(j.kind)
	}
	if j.complete() {
		if j.f.Own != nil {
			a.Host.Port = j.f.Own.Name
		}
		a.Interface.MAC, a.Interface.MTU = j.f.Inner.MAC.String(), j.f.Inner.MTU
	}
	return a
}

// warnings are about what was done as asked, but may not be what was meant.
func (j *job) warnings(d *draft) {
	if !j.halfBridge() {
		j.warnMTU(d, j.MTU, j.on())
	}
	j.warnCarrier(d, j.f.Base)
	for _, p := range j.Addrs {
		for _, a := range j.f.Addrs {
			if a.Prefix.Addr().Is6() && a.Scope == unix.RT_SCOPE_LINK || !a.Prefix.Overlaps(p) || j.own(a.Index) {
				continue
			}
			d.warn("%s is on %s of the guest too (%s): replies may leave by the wrong interface",
				p.Masked(), j.linkName(a.Index), a.Prefix)
		}
		j.warnRoutes(d, p)
	}
	j.warnStations(d)
	if j.f.Guest.Shares != "" {
		d.warn("%s shares the network of container %s: the interface is that one's too", j.f.Guest.Name, j.f.Guest.Shares)
	}
	j.warnReplies(d)
	if j.f.Reaches && j.traits().onHost {
		d.warn("%s has CAP_NET_ADMIN and no network of its own: through any veth it can change links of the host", j.f.Guest.Name)
	}
}

// warnCarrier warns of a card that is up and has none. Of one that is set up, a
// step tells (awaitCarrier).
func (j *job) warnCarrier(d *draft, card *rtnl.Link) {
	if t := j.traits(); card != nil && t.child && t.onHost && card.Up && !card.Carrier {
		d.warn("%s: nothing can be heard on it", plan.NoCarrier(j.HostIF.Name))
	}
}

func (j *job) own(index int) bool { return j.marked() != nil && j.f.Inner.Index == index }

func (j *job) linkName(index int) string {
	for _, l := range j.f.Links {
		if l.Index == index {
			return l.Name
		}
	}
	return "another interface"
}

// checkFree refuses what would collide, before anything is changed.
func (j *job) checkFree() error {
	if j.Has(true) && j.f.NoIPv6 {
		return j.refuse(fault.Unsupported, "the kernel has no IPv6").WithHint("it was booted with ipv6.disable=1, or built without CONFIG_IPV6")
	}
	if j.f.Inner != nil && j.marked() == nil {
		return j.innerTaken()
	}
	if err := j.plug.refuseConflicts(j); err != nil {
		return err
	}
	if err := j.checkInbound(j.shape().RateIn); err != nil {
		return err
	}
	for _, p := range j.Addrs {
		for _, a := range j.f.Addrs {
			if a.Prefix.Addr() == p.Addr() && !j.own(a.Index) {
				return j.refuse(fault.Conflict, "it has the address %s already, on %s", p.Addr(), j.linkName(a.Index))
			}
		}
	}
	if err := j.checkRoutes(); err != nil {
		return err
	}
	if err := j.checkDNS(); err != nil {
		return err
	}
	return j.checkMAC()
}

// innerTaken refuses a name that an interface of the guest has.
func (j *job) innerTaken() error {
	e := j.refuse(fault.Conflict, "it has an interface %s already: %s", j.names.inner, j.describe(j.f.Inner))
	if plan.IsOurs(j.f.Inner) && j.f.Inner.Kind == "veth" && j.f.Own == nil { // its other end is elsewhere: no detach finds it
		return e.WithHint("gopipework exec %s -- ip link del %s, or %s", j.Spec.Guest, j.f.Inner.Name, j.otherName())
	}
	if plan.IsOurs(j.f.Inner) {
		return e.WithHint("%s", j.orDetach())
	}
	return e.WithHint("choose %s", j.otherName())
}

// orDetach is how to get around an interface of ours.
func (j *job) orDetach() string {
	return "gopipework detach " + j.Spec.Guest + " " + j.names.inner + ", or " + j.otherName()
}

func (j *job) otherName() string {
	if j.kind == KindVeth {
		return "another name: " + j.Spec.Guest + ":NAME"
	}
	return "another name with -i"
}

// describe says what an interface of the guest is, for an error.
func (j *job) describe(l *rtnl.Link) string {
	words := []string{describeKind(l)}
	for _, a := range j.f.Addrs {
		if a.Index == l.Index && a.Scope != unix.RT_SCOPE_LINK {
			words = append(words, a.Prefix.String())
		}
	}
	return strings.Join(words, " ")
}
