package passage

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/gopipework/gopipework/internal/finding"
	"github.com/gopipework/gopipework/internal/rtnl"
	"golang.org/x/sys/unix"
)

// maxNeighbours bounds how many addresses are asked about.
const maxNeighbours = 8

// OnRoutes asks the kernel for the way to neighbours, and from them.
func (p Passage) OnRoutes() (out []finding.Finding, err error) {
	all, err := p.Guest.Addrs()
	if err != nil {
		return nil, err
	}
	asked := 0
	for _, a := range all {
		ip := a.Prefix.Addr()
		switch {
		case a.Index != p.Inner.Index || ip.IsLinkLocalUnicast() || a.Tentative() && !a.Duplicate():
			continue
		case a.Duplicate():
			out = append(out, finding.AddressDuplicate.Surely("%s is not in use, because somebody on the network has it too", ip))
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
func (p Passage) way(own netip.Prefix, neighbour netip.Addr, all []rtnl.Addr) (*finding.Finding, error) {
	if SharesSubnet(all, p.Inner.Index, own) {
		return nil, nil
	}
	vrf := 0
	if p.Inner.Slave == "vrf" {
		vrf = p.Inner.Master
	}
	out, err := p.Guest.Way(rtnl.Lookup{From: own.Addr(), To: neighbour, Out: vrf})
	ask := p.Command(fmt.Sprintf("ip route get %s from %s", neighbour, own.Addr()))
	switch {
	case noWay(err):
		f := finding.NoRoute.Surely("%s has no route to %s: a rule or route of its own takes precedence over that of %s", p.Of.Name, neighbour, p.Inner.Name).SeenBy(ask)
		return &f, nil
	case err != nil:
		return nil, err
	case out.Index != p.Inner.Index:
		if slices.Contains(p.told, own.Masked()) {
			return nil, nil
		}
		by := "another interface"
		if l, err := p.Guest.LinkByIndex(out.Index); err == nil {
			by = l.Name
		}
		f := finding.OtherRoute.Surely("%s sends packets for %s out by %s: a rule or route of its own takes precedence over that of %s", p.Of.Name, neighbour, by, p.Inner.Name).SeenBy(ask)
		return &f, nil
	}
	in, err := p.in(own.Addr(), neighbour)
	switch {
	case err != nil && !noWay(err):
		return nil, err
	case err != nil || !in.Local:
		f := finding.ReversePath.Surely("%s drops what comes in by %s from %s, because of a rule of its own or its rp_filter", p.Of.Name, p.Inner.Name, neighbour).
			SeenBy(p.Command(fmt.Sprintf("ip route get %s from %s iif %s", own.Addr(), neighbour, p.Inner.Name)))
		return &f, nil
	}
	return nil, nil
}

// in asks what becomes of a packet that comes in. The kernel makes an IPv6 address
// that nobody looks for a duplicate of usable a moment after it was added
// (addrconf_dad_work).
func (p Passage) in(own, neighbour netip.Addr) (w rtnl.Way, err error) {
	for end := time.Now().Add(p.patience); ; time.Sleep(time.Millisecond) {
		w, err = p.Guest.Way(rtnl.Lookup{From: neighbour, To: own, In: p.Inner.Index})
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
