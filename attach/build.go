package attach

import (
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/gopipework/gopipework/bridge"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/rtnl"
	"golang.org/x/sys/unix"
)

// defaultMTU is that of Ethernet, for a bridge that we make.
const defaultMTU = 1500

// builder is one Build on its way: what is asked, what is there, and the plan
// so far.
type builder struct {
	Spec
	f     Facts
	place // the guest
	names names
	kind  Kind // what HOSTIF turned out to be
	plug  plug
	tag   int         // VLAN on a network card, or partition key; 0: none
	vlan  bridge.VLAN // on a switch
	mtu   int
	plan  *Plan
	op    string // what it is about, for errors; "": an attach or a link

	replies *replies // nil: not looked at
	drops   []string // what of the host's firewall was warned of
}

func newBuilder(s Spec, f Facts, at side, p *Plan) *builder {
	b := &builder{Spec: s, f: f, place: place{at, f.Guest.enter()}, names: namesFor(s, f.Guest, f.Base), plan: p}
	if f.Base != nil {
		b.HostIF.Name = f.Base.Name // it may have been asked for by an alternative name
	}
	return b
}

// Build decides: every name, every value and every refusal is made here, from
// plain data. An empty plan means that all of it is there already.
func Build(s Spec, f Facts) (Plan, error) {
	b := newBuilder(s, f, guest, &Plan{})
	if in := f.Inner; in != nil && (b.marked() == nil || b.complete()) {
		b.names.inner = in.Name // it may have been asked for by an alternative name
	}
	if err := b.settle(); err != nil {
		return Plan{}, err
	}
	b.mtu = b.linkMTU()
	if b.Has(true) && b.mtu < minMTU6 {
		return Plan{}, b.refuse(fault.Conflict, "its MTU is %d, and IPv6 needs %d", b.mtu, minMTU6).WithHint("--mtu %d", minMTU6)
	}
	if err := b.checkShape(b.shape()); err != nil {
		return Plan{}, err
	}
	if b.complete() {
		if err := b.checkSame(); err != nil {
			return Plan{}, err
		}
		b.plug.keep(b)
		b.repair()
		if err := b.clientAgain(); err != nil {
			return Plan{}, err
		}
		b.ownReplies(false)
		b.ownReplies(true)
		b.repairLeaseReplies()
		b.verify()
		b.warnings()
		return b.done(), nil
	}
	if err := b.checkFree(); err != nil {
		return Plan{}, err
	}
	b.clearDNS()
	b.plug.join(b)
	b.shapeInner()
	if err := b.inet(); err != nil {
		return Plan{}, err
	}
	b.dns()
	b.verify()
	b.mark()
	b.warnings()
	return b.done(), nil
}

// mark plans the last step.
func (b *builder) mark() {
	m := mark{place: b.place, inner: b.names.inner, Mark: b.f.Guest.mark(b.names.inner)}
	if b.kind.pair() {
		m.port = b.names.port
	}
	if b.kind == KindPhys {
		m.card = b.HostIF.Name
	}
	b.add(m)
}

// complete reports whether an attach has come to its end under this name.
func (b *builder) complete() bool {
	marked := b.marked()
	switch {
	case marked == nil:
		return false
	case b.f.Card.Here:
		return b.f.Card.Loan.Complete
	}
	_, ok := ParseMark(marked.Alias)
	return ok
}

// marked returns the link of ours, under this name, that has the mark or is to
// have it: the host's end of a pair, or the guest's link where there is none.
// nil if what is there is not ours.
func (b *builder) marked() *rtnl.Link {
	if b.f.Own != nil {
		return b.f.Own
	}
	if b.f.Card.Here {
		return b.f.Inner
	}
	if inner := b.f.Inner; inner != nil && isOurs(inner) && (Kind(inner.Kind).child() || b.f.Joined || b.f.betweenGuests() || strayed(inner, b.f.Other)) {
		return inner
	}
	return nil
}

// clear plans for what a killed run has left under the name to go.
func (b *builder) clear() {
	defer b.clearReplies() // when the links have gone
	if c := b.f.Client; c != nil {
		b.add(endClient{b.place, b.names.inner, c.Ask.Client, c.Index})
	}
	if l := b.f.Lease; l != nil {
		b.add(releaseLease{b.place, b.names.inner, l.Ask.Index})
	}
	port := b.names.port
	if b.f.Own != nil {
		port = b.f.Own.Name
	}
	if p, ok := b.f.OVS.Port(port); ok && p.Mark != "" {
		b.add(delOVSPort{p}) // its link may have gone long ago
	}
	switch {
	case b.f.Card.Here:
		b.add(bringHome{place: b.place, loan: *b.f.Card.Loan, now: b.f.Inner})
		return
	case b.f.Card.Home != nil:
		b.add(bringHome{place: b.place, loan: *b.f.Card.Loan, home: b.f.Card.Home})
	}
	b.clearInbound()
	switch {
	case b.f.Own != nil:
		b.add(delLink{b.f.Own.Name, b.f.Own.Index})
	case b.f.Inner != nil:
		b.add(delInner{b.place, b.f.Inner.Name, b.f.Inner.Index})
	case b.halfPort():
		b.add(delLink{b.f.Port.Name, b.f.Port.Index})
	}
}

// repair sets both ends up, if somebody has set one down.
func (b *builder) repair() {
	if own := b.f.Own; own != nil && !own.Up {
		b.add(setLink{name: own.Name, set: rtnl.Change{Up: true}})
	}
	if !b.f.Inner.Up {
		b.up()
		b.carrier()
	}
}

func (b *builder) add(s Step) { b.plan.Steps = append(b.plan.Steps, s) }

func (b *builder) warn(format string, args ...any) {
	b.plan.Warnings = append(b.plan.Warnings, fmt.Sprintf(format, args...))
}

func (b *builder) refuse(code fault.Code, format string, args ...any) *fault.Error {
	switch {
	case b.op != "":
		return fault.New(code, b.op, b.names.inner+" of "+b.f.Guest.Name, format, args...)
	case b.kind == KindVeth:
		return fault.New(code, "link", b.f.Guest.Name, format, args...)
	}
	return fault.New(code, "attach", b.HostIF.Name+" to "+b.f.Guest.Name, format, args...)
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
func (b *builder) linkMTU() int {
	switch {
	case b.MTU != 0:
		return b.MTU
	case b.f.Base != nil && !b.halfBridge():
		return b.f.Base.MTU
	case b.kind == KindPhys:
		return b.f.Card.Loan.Card.MTU
	}
	return defaultMTU
}

// mac is that of the guest's end.
func (b *builder) mac() net.HardwareAddr {
	switch {
	case b.MAC != nil:
		return b.MAC
	case b.kind == KindPhys:
		return b.cardMAC()
	case b.inherits() && b.f.Tagged != nil:
		return b.f.Tagged.MAC
	case b.inherits():
		return b.f.Base.MAC
	}
	return b.f.New.Inner
}

// done fills in what will be there.
func (b *builder) done() Plan {
	a := Attachment{
		Guest: b.f.Guest,
		Interface: Interface{
			Name: b.names.inner, Kind: "veth", MAC: b.mac().String(), MTU: b.mtu,
			Addresses: append([]netip.Prefix{}, b.Addrs...),
			Gateway:   append([]netip.Addr{}, b.Gateways...),
		},
		Host:    Host{Kind: string(b.kind), Name: b.HostIF.Name, VLAN: tagWord(b.kind, b.tag) + b.vlan.String()},
		State:   Complete,
		Shaping: shapingOrNil(b.shape()),
	}
	if b.complete() {
		a.Shaping = shapingOrNil(b.f.Shaped.shaping())
	}
	if b.kind.pair() {
		a.Host.Port = b.names.port
	} else {
		a.Interface.Kind = string(b.kind)
	}
	if b.complete() {
		if b.f.Own != nil {
			a.Host.Port = b.f.Own.Name
		}
		a.Interface.MAC, a.Interface.MTU = b.f.Inner.MAC.String(), b.f.Inner.MTU
	}
	b.plan.Attachments = []Attachment{a}
	return *b.plan
}

// warnings are about what was done as asked, but may not be what was meant.
func (b *builder) warnings() {
	if !b.halfBridge() {
		b.warnMTU(b.MTU, b.on())
	}
	b.warnCarrier(b.f.Base)
	for _, p := range b.Addrs {
		for _, a := range b.f.Addrs {
			if a.Prefix.Addr().Is6() && a.Scope == unix.RT_SCOPE_LINK || !a.Prefix.Overlaps(p) || b.own(a.Index) {
				continue
			}
			b.warn("%s is on %s of the guest too (%s): replies may leave by the wrong interface",
				p.Masked(), b.linkName(a.Index), a.Prefix)
		}
		b.warnRoutes(p)
	}
	b.warnStations()
	if b.f.Guest.Shares != "" {
		b.warn("%s shares the network of container %s: the interface is that one's too", b.f.Guest.Name, b.f.Guest.Shares)
	}
	b.warnReplies()
	if b.f.Reaches && b.kind != KindPhys && b.kind != KindDummy {
		b.warn("%s has CAP_NET_ADMIN and no network of its own: through any veth it can change links of the host", b.f.Guest.Name)
	}
}

// warnCarrier warns of a card that is up and has none. Of one that is set up, a
// step tells (awaitCarrier).
func (b *builder) warnCarrier(card *rtnl.Link) {
	if card != nil && !b.kind.pair() && b.kind != KindPhys && card.Up && !card.Carrier {
		b.warn("%s: nothing can be heard on it", noCarrier(b.HostIF.Name))
	}
}

func (b *builder) own(index int) bool { return b.marked() != nil && b.f.Inner.Index == index }

func (b *builder) linkName(index int) string {
	for _, l := range b.f.Links {
		if l.Index == index {
			return l.Name
		}
	}
	return "another interface"
}

// checkFree refuses what would collide, before anything is changed.
func (b *builder) checkFree() error {
	if b.Has(true) && b.f.NoIPv6 {
		return b.refuse(fault.Unsupported, "the kernel has no IPv6").WithHint("it was booted with ipv6.disable=1, or built without CONFIG_IPV6")
	}
	if b.f.Inner != nil && b.marked() == nil {
		return b.innerTaken()
	}
	if err := b.plug.free(b); err != nil {
		return err
	}
	if err := b.checkInbound(); err != nil {
		return err
	}
	for _, p := range b.Addrs {
		for _, a := range b.f.Addrs {
			if a.Prefix.Addr() == p.Addr() && !b.own(a.Index) {
				return b.refuse(fault.Conflict, "it has the address %s already, on %s", p.Addr(), b.linkName(a.Index))
			}
		}
	}
	if err := b.checkRoutes(); err != nil {
		return err
	}
	if err := b.checkDNS(); err != nil {
		return err
	}
	return b.checkMAC()
}

// innerTaken refuses a name that an interface of the guest has.
func (b *builder) innerTaken() error {
	e := b.refuse(fault.Conflict, "it has an interface %s already: %s", b.names.inner, b.describe(b.f.Inner))
	if isOurs(b.f.Inner) && b.f.Inner.Kind == "veth" && b.f.Own == nil { // its other end is elsewhere: no detach finds it
		return e.WithHint("gopipework exec %s -- ip link del %s, or %s", b.Spec.Guest, b.f.Inner.Name, b.otherName())
	}
	if isOurs(b.f.Inner) {
		return e.WithHint("%s", b.orDetach())
	}
	return e.WithHint("choose %s", b.otherName())
}

// orDetach is how to get around an interface of ours.
func (b *builder) orDetach() string {
	return "gopipework detach " + b.Spec.Guest + " " + b.names.inner + ", or " + b.otherName()
}

func (b *builder) otherName() string {
	if b.kind == KindVeth {
		return "another name: " + b.Spec.Guest + ":NAME"
	}
	return "another name with -i"
}

// describe says what an interface of the guest is, for an error.
func (b *builder) describe(l *rtnl.Link) string {
	words := []string{describeKind(l)}
	for _, a := range b.f.Addrs {
		if a.Index == l.Index && a.Scope != unix.RT_SCOPE_LINK {
			words = append(words, a.Prefix.String())
		}
	}
	return strings.Join(words, " ")
}
