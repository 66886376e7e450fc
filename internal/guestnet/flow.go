package guestnet

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/gopipework/gopipework/bridge/firewall"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/spec"
	"golang.org/x/sys/unix"
)

// An obstacle keeps packets from flowing between a guest and its neighbours, though
// all that an attach makes is there: a rule of the guest's own that sends them
// elsewhere, a sysctl, a flag of the port. Nothing of this is ours to change. An
// attach warns of it, each time that it is run, and a list tells it.
//
// The kernel is asked rather than its rules read: of the routes, by the lookup that
// a packet causes.
type obstacle struct {
	text string
	sure bool // no packets of an ordinary kind pass; otherwise some do, or it cannot be told
}

// Passage is the way between a guest's link and its neighbours.
type Passage struct {
	guest plan.Kernel
	inner *rtnl.Link
	of    guests.GuestInfo // whose link it is

	Host plan.Kernel
	Port *rtnl.Link // the host's end; nil: none
	On   *rtnl.Link // the Linux bridge that port is in; nil: none

	Unplugged bool // port is in no switch

	patience time.Duration  // how long an IPv6 address that is new may take
	told     []netip.Prefix // subnets whose routes were warned of when it was planned
}

// obstacles looks for what is in the way. What was deleted meanwhile has none.
func (p Passage) obstacles(ctx context.Context) []obstacle {
	if p.inner.Kind == string(spec.KindDummy) {
		return nil // nobody is there
	}
	var out []obstacle
	for _, look := range []func() ([]obstacle, error){p.atPort, p.atLink, p.atSysctls, p.onRoutes, func() ([]obstacle, error) { return p.atFirewall(ctx) }} {
		found, err := look()
		if err != nil && !errors.Is(err, rtnl.ErrNotFound) && ctx.Err() == nil {
			found = append(found, obstacle{text: fmt.Sprintf("cannot tell whether packets pass %s of %s: %v", p.inner.Name, p.of.Name, err)})
		}
		out = append(out, found...)
	}
	return out
}

// WarnObstacles warns of what is in the way of an attachment that a plan has made, or
// that was there.
func WarnObstacles(ctx context.Context, m *plan.Machine, at plan.Side, a ours.Attachment, told []netip.Prefix) {
	p := Passage{guest: ours.Freeze(m.In(at)), of: m.Guests[at].GuestInfo, Host: m.Host(), told: told, patience: time.Second}
	var err error
	if p.inner, err = p.guest.LinkByName(a.Interface.Name); err != nil {
		return // somebody deleted it: there is nothing to look at
	}
	if a.Host.Kind == string(spec.KindBridge) {
		if p.Port, err = p.Host.LinkByName(a.Host.Port); err == nil && p.Port.Master != 0 {
			p.On = &rtnl.Link{Index: p.Port.Master, Name: a.Host.Name} // more of it does not matter
		}
	}
	for _, o := range p.obstacles(ctx) {
		m.Warn(o.text)
	}
}

// theHost is of a Passage to the host itself.
const theHost = "the host"

// HostObstacles says what is in the way of packets between an interface of the host's own
// and its neighbours.
func HostObstacles(ctx context.Context, k plan.Kernel, link string) (out []string) {
	host := ours.Freeze(k)
	l, err := host.LinkByName(link)
	if err != nil {
		return nil // somebody deleted it: there is nothing to look at
	}
	p := Passage{guest: host, of: guests.GuestInfo{Name: theHost}, inner: l, Host: k, patience: time.Second}
	for _, o := range p.obstacles(ctx) {
		out = append(out, o.text)
	}
	return out
}

// command is the line that runs a command where the link is.
func (p Passage) command(words string) string {
	if p.of.Name == theHost && p.of.Runtime == "" {
		return words
	}
	return guests.Command(p.of, words)
}

// cut returns what surely keeps packets from passing now, a sentence each, for a
// list. It also tells what an attach would mend, or has told in another way.
func (p Passage) cut(ctx context.Context) (out []string) {
	for _, l := range []*rtnl.Link{p.inner, p.Port, p.On} {
		if l != nil && !l.Up {
			out = append(out, l.Name+" is down")
		}
	}
	if p.Port != nil && p.Unplugged {
		out = append(out, p.Port.Name+" is in no bridge")
	}
	down := out != nil
	if !down && !p.inner.Carrier && p.inner.Type == unix.ARPHRD_ETHER && p.inner.Kind != string(spec.KindDummy) {
		out = append(out, plan.NoCarrier(p.inner.Name))
	}
	for _, o := range p.obstacles(ctx) {
		if o.sure && !down {
			out = append(out, o.text)
		}
	}
	return out
}

// Cut says what is in the way of a complete attachment's packets.
func Cut(ns *ours.Namespace, ctx context.Context, a *ours.Attachment, index int, p Passage) error {
	if a.State != ours.Complete || ns == nil || ns.Links == nil {
		return nil
	}
	var err error
	if p.inner, err = ns.Links.LinkByIndex(index); err == nil {
		p.guest, p.of = ns.Links, a.Guest
		a.Cut = append(a.Cut, p.cut(ctx)...)
	}
	return ours.UnlessNotFound(err)
}

func surely(format string, args ...any) obstacle {
	return obstacle{fmt.Sprintf(format, args...), true}
}

// portStates are the words of bridge(8).
var portStates = [...]string{"disabled", "listening", "learning", "forwarding", "blocking"}

// atPort looks at what the bridge does with the port.
func (p Passage) atPort() (out []obstacle, err error) {
	if p.Port == nil || p.On == nil || p.Port.Slave != "bridge" {
		return nil, nil
	}
	name, f := p.Port.Name, p.Port.Port
	mend := func(flag string) string { return "bridge link set dev " + name + " " + flag }
	if !p.Port.Forwarding && int(f.State) < len(portStates) {
		out = append(out, surely("%s is in state %s on %s: no frame passes it (%s)", name, portStates[f.State], p.On.Name, mend("state 3")))
	}
	if f.Locked {
		out = append(out, obstacle{text: fmt.Sprintf("%s is locked on %s: it accepts frames only from stations that somebody has entered (%s)", name, p.On.Name, mend("locked off"))})
	}
	if !f.FloodBroadcast {
		out = append(out, surely("%s gets no broadcasts from %s: nobody finds the guest by ARP (%s)", name, p.On.Name, mend("bcast_flood on")))
	}
	if !f.FloodMulticast {
		out = append(out, obstacle{text: fmt.Sprintf("%s gets only those multicasts from %s that it asked for: the guest may not be found by IPv6 (%s)", name, p.On.Name, mend("mcast_flood on"))})
	}
	if !f.FloodUnicast && !f.Learning {
		out = append(out, obstacle{text: fmt.Sprintf("%s does not learn who is behind %s, and passes no frames for unknown stations to it (%s)", p.On.Name, name, mend("learning on flood on"))})
	}
	if !f.Isolated {
		return out, nil
	}
	ports, err := p.Host.Ports(p.On.Index)
	others := slices.DeleteFunc(ports, func(l *rtnl.Link) bool { return l.Index == p.Port.Index || !l.Port.Isolated })
	if len(others) > 0 {
		out = append(out, surely("%s is isolated on %s: nothing passes to the other isolated ports, such as %s (%s)", name, p.On.Name, others[0].Name, mend("isolated off")))
	}
	return out, err
}

// atLink looks at what the guest has made of its link.
func (p Passage) atLink() (out []obstacle, err error) {
	l := p.inner
	if l.Flags&unix.IFF_NOARP != 0 && l.Type == unix.ARPHRD_ETHER && l.Kind != string(spec.KindIPvlan) {
		out = append(out, surely("%s of %s does no ARP (%s)", l.Name, p.of.Name, p.command("ip link set "+l.Name+" arp on")))
	}
	if l.Master == 0 || l.Slave == "vrf" {
		return out, nil
	}
	master, err := p.guest.LinkByIndex(l.Master)
	if err != nil {
		return out, err
	}
	return append(out, surely("%s is a port of %s in %s: what comes in goes there, and not to the addresses of %s", l.Name, master.Name, p.of.Name, l.Name)), nil
}

// atSysctls looks at those that silence a link.
func (p Passage) atSysctls() (out []obstacle, err error) {
	if p.inner.Type != unix.ARPHRD_ETHER || p.inner.Flags&unix.IFF_NOARP != 0 {
		return nil, nil
	}
	all, err := p.guest.Sysctl("ipv4/conf/all/arp_ignore")
	if err != nil {
		return nil, err
	}
	const never = 8
	for _, is := range []struct{ of, value string }{{"all", all}, {p.inner.Name, strconv.Itoa(p.inner.ARPIgnore)}} {
		if is.value == strconv.Itoa(never) { // the greater of the two counts (ip-sysctl.rst, arp_ignore)
			return []obstacle{surely("%s answers no ARP request, as net/ipv4/conf/%s/arp_ignore is %d", p.of.Name, is.of, never)}, nil
		}
	}
	return nil, nil
}

// atFirewall looks at the guest's own.
func (p Passage) atFirewall(ctx context.Context) (out []obstacle, err error) {
	q := firewall.GuestQuery{Link: p.inner.Name, Index: p.inner.Index}
	all, err := p.guest.Addrs()
	for _, a := range all {
		if a.Index == p.inner.Index && !a.Prefix.Addr().IsLinkLocalUnicast() {
			q.Addresses = append(q.Addresses, a.Prefix)
		}
	}
	if err != nil || q.Addresses == nil {
		return nil, err
	}
	err = p.guest.Run(func() error {
		blocks, err := firewall.ObserveGuest(ctx, q)
		for _, b := range blocks {
			out = append(out, obstacle{"in " + p.of.Name + " " + b.Text, b.Sure})
		}
		return err
	})
	return out, err
}

// maxNeighbours bounds how many addresses are asked about.
const maxNeighbours = 8

// onRoutes asks the kernel for the way to neighbours, and from them.
func (p Passage) onRoutes() (out []obstacle, err error) {
	all, err := p.guest.Addrs()
	if err != nil {
		return nil, err
	}
	asked := 0
	for _, a := range all {
		ip := a.Prefix.Addr()
		switch {
		case a.Index != p.inner.Index || ip.IsLinkLocalUnicast() || a.Tentative() && !a.Duplicate():
			continue
		case a.Duplicate():
			out = append(out, surely("%s is not in use, because somebody on the network has it too", ip))
			continue
		}
		for _, neighbour := range PeersOf(a.Prefix) {
			if asked++; asked > maxNeighbours {
				return out, nil
			}
			found, err := p.way(a.Prefix, neighbour, all)
			if err != nil {
				return out, err
			}
			if found != nil {
				out = append(out, *found)
				break
			}
		}
	}
	return out, nil
}

// PeersOf returns the first and the last address of a subnet, but for p's own.
func PeersOf(p netip.Prefix) []netip.Addr {
	if p.IsSingleIP() {
		return nil
	}
	lo, hi := p.Masked().Addr(), lastOf(p)
	if p.Addr().BitLen()-p.Bits() > 1 {
		lo, hi = lo.Next(), hi.Prev()
	}
	if lo == p.Addr() && lo != hi.Prev() && lo != hi {
		lo = lo.Next()
	}
	if hi == p.Addr() && hi != lo.Next() {
		hi = hi.Prev()
	}
	list := slices.Compact([]netip.Addr{lo, hi})
	return slices.DeleteFunc(list, func(a netip.Addr) bool { return a == p.Addr() })
}

// lastOf returns the last address of a subnet.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for bit := p.Bits(); bit < len(b)*8; bit++ {
		b[bit/8] |= 0x80 >> (bit % 8)
	}
	last, _ := netip.AddrFromSlice(b)
	return last
}

// SharesSubnet reports whether another interface of the guest has an address in the
// subnet. Which of them the guest then sends by is not for us to judge.
func SharesSubnet(all []rtnl.Addr, index int, own netip.Prefix) bool {
	return slices.ContainsFunc(all, func(a rtnl.Addr) bool {
		return a.Index != index && a.Prefix.Overlaps(own) && !a.Prefix.Addr().IsLinkLocalUnicast()
	})
}

// way asks about one neighbour.
func (p Passage) way(own netip.Prefix, neighbour netip.Addr, all []rtnl.Addr) (*obstacle, error) {
	if SharesSubnet(all, p.inner.Index, own) {
		return nil, nil
	}
	vrf := 0
	if p.inner.Slave == "vrf" {
		vrf = p.inner.Master
	}
	out, err := p.guest.Way(rtnl.Lookup{From: own.Addr(), To: neighbour, Out: vrf})
	ask := p.command(fmt.Sprintf("ip route get %s from %s", neighbour, own.Addr()))
	switch {
	case noWay(err):
		o := surely("%s has no route to %s: a rule or route of its own takes precedence over that of %s (%s)", p.of.Name, neighbour, p.inner.Name, ask)
		return &o, nil
	case err != nil:
		return nil, err
	case out.Index != p.inner.Index:
		if slices.Contains(p.told, own.Masked()) {
			return nil, nil
		}
		by := "another interface"
		if l, err := p.guest.LinkByIndex(out.Index); err == nil {
			by = l.Name
		}
		o := surely("%s sends packets for %s out by %s: a rule or route of its own takes precedence over that of %s (%s)", p.of.Name, neighbour, by, p.inner.Name, ask)
		return &o, nil
	}
	in, err := p.in(own.Addr(), neighbour)
	switch {
	case err != nil && !noWay(err):
		return nil, err
	case err != nil || !in.Local:
		o := surely("%s drops what comes in by %s from %s, because of a rule of its own or its rp_filter (%s)",
			p.of.Name, p.inner.Name, neighbour, p.command(fmt.Sprintf("ip route get %s from %s iif %s", own.Addr(), neighbour, p.inner.Name)))
		return &o, nil
	}
	return nil, nil
}

// in asks what becomes of a packet that comes in. The kernel makes an IPv6 address
// that nobody looks for a duplicate of usable a moment after it was added
// (addrconf_dad_work).
func (p Passage) in(own, neighbour netip.Addr) (w rtnl.Way, err error) {
	for end := time.Now().Add(p.patience); ; time.Sleep(time.Millisecond) {
		w, err = p.guest.Way(rtnl.Lookup{From: neighbour, To: own, In: p.inner.Index})
		if err == nil && w.Local || own.Is4() || time.Now().After(end) {
			return w, err
		}
	}
}

// noWay reports whether an answer to a lookup says that the packet is dropped.
func noWay(err error) bool {
	for _, e := range []error{unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EACCES, unix.EINVAL, unix.EXDEV} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
