package passage

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/gopipework/gopipework/internal/finding"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/shell"
	"golang.org/x/sys/unix"
)

// maxNeighbours bounds how many addresses are asked about.
const maxNeighbours = 8

// OnRoutes looks for addresses that are not in use, and asks the kernel for the way to
// neighbours, and from them.
func (p Passage) OnRoutes() (out []finding.Finding, err error) {
	if out, err = p.Duplicates(); err != nil {
		return out, err
	}
	found, err := p.ToPeers()
	return append(out, found...), err
}

// Duplicates finds addresses that the guest does not use, because another has them.
func (p Passage) Duplicates() (out []finding.Finding, err error) {
	all, err := p.Guest.Addrs()
	for _, a := range all {
		if ip := a.Prefix.Addr(); a.Index == p.Inner.Index && a.Duplicate() && !ip.IsLinkLocalUnicast() {
			out = append(out, finding.AddressDuplicate.Surely("%s is not in use, because somebody on the network has it too", ip))
		}
	}
	return out, err
}

// ToPeers asks for the way to some addresses in the subnets of the link, and from them.
func (p Passage) ToPeers() (out []finding.Finding, err error) {
	all, err := p.Guest.Addrs()
	if err != nil || p.Inner.Loopback {
		return nil, err
	}
	asked := 0
	for _, a := range all {
		switch {
		case a.Index != p.Inner.Index || a.Prefix.Addr().IsLinkLocalUnicast() || a.Tentative() || a.Duplicate():
			continue
		case a.Flags&unix.IFA_F_NOPREFIXROUTE != 0 && !p.reaches(a.Prefix):
			continue // whoever set it wanted no route to its subnet
		}
		for _, neighbour := range PeersOf(a.Prefix) {
			if asked++; asked > maxNeighbours {
				return out, nil
			}
			found, err := p.ToNeighbour(a.Prefix, neighbour)
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

// reaches reports whether the guest has a route to a subnet by its link.
func (p Passage) reaches(subnet netip.Prefix) bool {
	routes, _ := p.Guest.AllRoutes()
	return slices.ContainsFunc(routes, func(r rtnl.Route) bool { return r.Index == p.Inner.Index && r.Dst == subnet.Masked() })
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

// ToNeighbour asks for the way to one neighbour in a subnet of the link, and from it.
func (p Passage) ToNeighbour(own netip.Prefix, neighbour netip.Addr) (*finding.Finding, error) {
	all, err := p.Guest.Addrs()
	if err != nil || SharesSubnet(all, p.Inner.Index, own) {
		return nil, err
	}
	vrf := 0
	if p.Inner.Slave == "vrf" {
		vrf = p.Inner.Master
	}
	out, err := p.Guest.Way(rtnl.Lookup{From: own.Addr(), To: neighbour, Out: vrf})
	ask := p.Command(fmt.Sprintf("ip route get %s from %s", neighbour, own.Addr()))
	switch {
	case NoWay(err):
		f := p.mendRoute(finding.NoRoute.Surely("%s has no route to %s: a rule or route of its own takes precedence over that of %s", p.Of.Name, neighbour, p.Inner.Name), own, neighbour, rtnl.Way{}).SeenBy(ask)
		return &f, nil
	case err != nil || out.Local:
		return nil, err
	case out.Index != p.Inner.Index:
		if slices.Contains(p.told, own.Masked()) {
			return nil, nil
		}
		by := "another interface"
		if l, err := p.Guest.LinkByIndex(out.Index); err == nil {
			if isMacvlanOn(l, p.Inner) {
				return nil, nil
			}
			by = l.Name
		}
		f := p.mendRoute(finding.OtherRoute.Surely("%s sends packets for %s out by %s: a rule or route of its own takes precedence over that of %s", p.Of.Name, neighbour, by, p.Inner.Name), own, neighbour, out).SeenBy(ask)
		return &f, nil
	}
	return p.DropsFrom(own.Addr(), neighbour)
}

// isMacvlanOn reports whether l is on link in the same namespace, and so on the same
// network. The host speaks to the macvlans on its card by one of its own.
func isMacvlanOn(l, link *rtnl.Link) bool {
	return l.Kind == "macvlan" && l.PeerNS < 0 && l.Peer == link.Index
}

// mendRoute returns f with what mends it: the route to the subnet, if it is missing, or
// the deletion of the route that takes precedence, which leaves by out.
func (p Passage) mendRoute(f finding.Finding, own netip.Prefix, neighbour netip.Addr, out rtnl.Way) finding.Finding {
	routes, err := p.Guest.AllRoutes()
	if err != nil || p.Inner.Slave == "vrf" {
		return f
	}
	ip := "ip "
	if own.Addr().Is6() {
		ip = "ip -6 "
	}
	mine := func(r rtnl.Route) bool { return r.Index == p.Inner.Index && r.Dst.Contains(neighbour) && !r.Default() }
	if !slices.ContainsFunc(routes, mine) {
		f.Reason = fmt.Sprintf("%s has no route to %s by %s: that to %s is missing", p.Of.Name, neighbour, p.Inner.Name, own.Masked())
		return f.MendedBy(p.Command(fmt.Sprintf("%sroute add %s dev %s src %s", ip, own.Masked(), shell.Quote(p.Inner.Name), own.Addr()))).
			FixedBy(plan.AddRoute{Place: p.place(), Inner: p.Inner.Name, Dst: own.Masked(), Source: own.Addr(), Known: p.Inner.Index})
	}
	by, err := p.Guest.LinkByIndex(out.Index)
	if err != nil || p.ruled() {
		return f
	}
	for _, r := range routes {
		if r.Index == out.Index && r.Table == 0 && r.Dst.Contains(neighbour) && r.Dst.Bits() >= own.Bits() {
			return f.MendedBy(p.Command(fmt.Sprintf("%sroute del %s dev %s", ip, r.Dst, shell.Quote(by.Name))))
		}
	}
	return f
}

// ruled reports whether the guest has rules that come before the main table's.
func (p Passage) ruled() bool {
	const mainTable = 32766
	rules, err := p.Guest.Rules()
	return err != nil || slices.ContainsFunc(rules, func(r rtnl.Rule) bool { return r.Priority > 0 && r.Priority < mainTable })
}

// DropsFrom finds out whether the guest drops what comes in by its link from a neighbour,
// for its own address.
func (p Passage) DropsFrom(own, neighbour netip.Addr) (*finding.Finding, error) {
	in, err := p.in(own, neighbour)
	switch {
	case err != nil && !NoWay(err):
		return nil, err
	case err == nil && in.Local:
		return nil, nil
	}
	f := finding.ReversePath.Surely("%s drops what comes in by %s from %s, because of a rule of its own or its rp_filter", p.Of.Name, p.Inner.Name, neighbour).
		SeenBy(p.Command(fmt.Sprintf("ip route get %s from %s iif %s", own, neighbour, shell.Quote(p.Inner.Name))))
	back, err := p.Guest.Way(rtnl.Lookup{From: own, To: neighbour})
	if err != nil || back.Index == p.Inner.Index || own.Is6() {
		return &f, nil
	}
	if by := p.strict(); by != "" {
		f.Reason = fmt.Sprintf("%s drops what comes in by %s from %s, because it answers by another interface and %s is 1", p.Of.Name, p.Inner.Name, neighbour, by)
		f = f.MendedBy(p.Command("sysctl -w " + shell.Quote(sysctlPath(p.Inner.Name, "rp_filter")+"=2"))).FixedBy(p.setSysctl("rp_filter", "2"))
	}
	return &f, nil
}

// in asks what becomes of a packet that comes in. The kernel makes an IPv6 address
// that nobody looks for a duplicate of usable a moment after it was added
// (addrconf_dad_work).
func (p Passage) in(own, neighbour netip.Addr) (w rtnl.Way, err error) {
	for end := time.Now().Add(p.Patience); ; time.Sleep(time.Millisecond) {
		w, err = p.Guest.Way(rtnl.Lookup{From: neighbour, To: own, In: p.Inner.Index})
		if err == nil && w.Local || own.Is4() || time.Now().After(end) {
			return w, err
		}
	}
}

// NoWay reports whether an answer to a lookup says that the packet is dropped.
func NoWay(err error) bool {
	for _, e := range []error{unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EACCES, unix.EINVAL, unix.EXDEV} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
