package doctor

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/gopipework/gopipework/internal/finding"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/passage"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/shell"
	"github.com/gopipework/gopipework/internal/source"
	"golang.org/x/sys/unix"
)

// asked returns the addresses of the far end that is asked for; without one, none.
func (w *walker) asked() (all []netip.Addr) {
	if to := w.ask.To.Addr; to.IsValid() {
		return []netip.Addr{to}
	}
	if !w.ask.To.given() {
		return nil
	}
	for _, f := range w.far {
		all = append(all, f.addrs...)
	}
	return all
}

// onlyIPv6 reports whether all that is asked for is of IPv6.
func (w *walker) onlyIPv6() bool {
	all := w.asked()
	return len(all) > 0 && !slices.ContainsFunc(all, netip.Addr.Is4)
}

// addressMissing finds a link without an address, or without one of the family that is
// asked for. An interface may be without one on purpose: the word 0/0 asks for it.
func (w *walker) addressMissing(e *end) ([]finding.Finding, error) {
	own, err := e.addrs()
	if err != nil || e.link.Master != 0 && e.link.Slave != "vrf" {
		return nil, err
	}
	to := w.asked()
	if len(own) > 0 {
		return w.familyMissing(e, to)
	}
	if w.ask.IfName == "" && !w.ask.To.given() && w.ask.Guest != nil && !plan.Attached(e.link) {
		return nil, nil // nobody said that it should have one
	}
	f := finding.AddressMissing.Perhaps("%s of %s has no address", e.link.Name, e.of.Name)
	f.Sure = w.ask.To.given() && !w.elsewhere(e, to) || w.ask.Guest == nil // a far end that is asked for
	if kept := source.LeaseState(ours.Now(e.k), e.link.Index); kept != nil {
		return nil, nil // leaseOver tells
	}
	return []finding.Finding{f}, nil
}

// familyMissing finds a link that has addresses, but none of a family that alone is asked for.
func (w *walker) familyMissing(e *end, to []netip.Addr) ([]finding.Finding, error) {
	if len(to) == 0 || w.elsewhere(e, to) || slices.ContainsFunc(to, func(a netip.Addr) bool { return a.IsLinkLocalUnicast() || w.source(a).IsValid() }) {
		return nil, nil
	}
	if off, err := w.ipv6Off(e); off || err != nil {
		return nil, err // ipv6Disabled tells
	}
	family := "IPv4"
	if to[0].Is6() {
		family = "IPv6"
	}
	return []finding.Finding{finding.AddressMissing.Surely("%s of %s has no %s address, and %s is one", e.link.Name, e.of.Name, family, to[0])}, nil
}

// elsewhere reports whether the guest has an address of the family of one of to on another
// interface, which it may send from: a link needs none of its own then.
func (w *walker) elsewhere(e *end, to []netip.Addr) bool {
	all, _ := e.k.Addrs()
	return slices.ContainsFunc(all, func(a rtnl.Addr) bool {
		ip := a.Prefix.Addr()
		return a.Index != e.link.Index && !ip.IsLoopback() && !ip.IsLinkLocalUnicast() &&
			slices.ContainsFunc(to, func(t netip.Addr) bool {
				way, err := e.k.Way(rtnl.Lookup{From: ip, To: t})
				return t.Is6() == ip.Is6() && err == nil && way.Index == e.link.Index
			})
	})
}

// ipv6Off reports whether IPv6 is turned off on the link of an end.
func (w *walker) ipv6Off(e *end) (bool, error) {
	values, err := e.k.Sysctls(ipv6Path(e.link.Name))
	return values[ipv6Path(e.link.Name)] == "1", err
}

func ipv6Path(link string) string { return "ipv6/conf/" + link + "/disable_ipv6" }

// ipv6Disabled finds a link that was asked to carry IPv6, which is turned off on it. Docker
// turns it off in all containers of networks without it, where that is nothing wrong.
func (w *walker) ipv6Disabled(e *end) ([]finding.Finding, error) {
	off, err := w.ipv6Off(e)
	if !off || err != nil {
		return nil, err
	}
	own, err := e.addrs()
	if err != nil {
		return nil, err
	}
	if !w.onlyIPv6() {
		values, err := e.k.Sysctls(ipv6Path("default"))
		if len(own) > 0 || values[ipv6Path("default")] != "0" || err != nil {
			return nil, err
		}
	}
	f := finding.IPv6Disabled.Surely("%s of %s has no IPv6, as net/%s is 1", e.link.Name, e.of.Name, ipv6Path(e.link.Name))
	return []finding.Finding{f.SeenBy(e.command("sysctl -w " + shell.Quote("net/"+ipv6Path(e.link.Name)+"=0")))}, nil
}

// dadPatience is how long duplicate address detection may take: the kernel waits up to a
// second before it asks, and a second for an answer.
const dadPatience = 2500 * time.Millisecond

// addressTentative finds an IPv6 address that duplicate address detection holds back for
// longer than it takes by default.
func (w *walker) addressTentative(e *end) (out []finding.Finding, err error) {
	held := func(a rtnl.Addr) bool {
		return a.Index == e.link.Index && a.Tentative() && !a.Duplicate() && a.Flags&unix.IFA_F_OPTIMISTIC == 0 && !a.Prefix.Addr().IsLinkLocalUnicast()
	}
	before, err := e.k.Addrs()
	if !slices.ContainsFunc(before, held) || !e.link.Carrier || err != nil {
		return nil, err
	}
	all, err := settled(w.ctx, ours.Now(e.k), held)
	if err != nil {
		return nil, err
	}
	wasHeld := func(now rtnl.Addr) bool {
		return slices.ContainsFunc(before, func(a rtnl.Addr) bool { return held(a) && a.Prefix == now.Prefix })
	}
	for _, a := range all {
		ip := a.Prefix.Addr()
		switch {
		case a.Index == e.link.Index && a.Duplicate() && wasHeld(a):
			out = append(out, finding.AddressDuplicate.Surely("%s is not in use, because somebody on the network has it too", ip))
		case held(a):
			f := finding.AddressTentative.Perhaps("%s of %s does not use %s yet: duplicate address detection has not ended", e.link.Name, e.of.Name, ip)
			f.Sure = w.onlyIPv6() || !slices.ContainsFunc(e.prefixes(), func(p netip.Prefix) bool { return p.Addr().Is4() })
			out = append(out, f.MendedBy(e.command("ip address del "+a.Prefix.String()+" dev "+shell.Quote(e.link.Name)), e.command("ip address add "+a.Prefix.String()+" dev "+shell.Quote(e.link.Name)+" nodad")))
		}
	}
	return out, nil
}

// settled reads the addresses until none is held back, or time is up.
func settled(ctx context.Context, k plan.Kernel, held func(rtnl.Addr) bool) (all []rtnl.Addr, err error) {
	for end := time.Now().Add(dadPatience); ; {
		all, err = k.Addrs()
		if err != nil || ctx.Err() != nil || time.Now().After(end) || !slices.ContainsFunc(all, held) {
			return all, err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// leaseOver finds an interface whose lease nobody keeps.
func (w *walker) leaseOver(e *end) ([]finding.Finding, error) {
	kept := source.LeaseState(ours.Now(e.k), e.link.Index)
	if kept == nil || kept.Trouble == "" {
		return nil, nil
	}
	own, err := e.addrs()
	f := finding.LeaseOver.Perhaps("the lease of %s of %s: %s", e.link.Name, e.of.Name, kept.Trouble)
	f.Sure = len(own) == 0
	if again := "gopipework gc"; strings.Contains(kept.Trouble, again) {
		f = f.MendedBy(again)
	}
	return []finding.Finding{f}, err
}

// subnetTwice finds a subnet of the link's that another interface of the guest is in too,
// which the guest sends by. On one switch it is no matter which.
func (w *walker) subnetTwice() ([]finding.Finding, error) {
	e := w.near
	all, err := e.k.Addrs()
	own, _ := e.addrs()
	for _, a := range own {
		i := slices.IndexFunc(all, func(o rtnl.Addr) bool { return passage.SharesSubnet([]rtnl.Addr{o}, e.link.Index, a.Prefix) })
		if i < 0 {
			continue
		}
		other, err := e.k.LinkByIndex(all[i].Index)
		if err != nil || other.Loopback || !other.Up || e.link.Slave == "vrf" {
			continue
		}
		for _, neighbour := range w.neighboursIn(a.Prefix, all) {
			way, err := e.k.Way(rtnl.Lookup{From: a.Prefix.Addr(), To: neighbour})
			if err != nil || way.Index == e.link.Index {
				continue
			}
			switch f, err := w.passage().DropsFrom(a.Prefix.Addr(), neighbour); {
			case err != nil:
				return nil, err
			case f != nil:
				return []finding.Finding{*f}, nil
			}
			if way.Index != other.Index || w.sameSwitch(other) {
				continue
			}
			return []finding.Finding{finding.SubnetTwice.Perhaps("%s of %s is in the subnet %s too, and what %s sends from %s leaves by it", other.Name, e.of.Name, all[i].Prefix.Masked(), e.of.Name, a.Prefix.Addr()).
				SeenBy(e.command("ip route get " + neighbour.String() + " from " + a.Prefix.Addr().String()))}, nil
		}
	}
	return nil, err
}

// neighboursIn returns addresses in a subnet that are not the guest's own: those of the far
// ends, or else some.
func (w *walker) neighboursIn(subnet netip.Prefix, all []rtnl.Addr) (out []netip.Addr) {
	for _, f := range w.far {
		for _, a := range f.addrs {
			if subnet.Contains(a) {
				out = append(out, a)
			}
		}
	}
	if out == nil && !w.ask.To.given() {
		out = passage.PeersOf(subnet)
	}
	return slices.DeleteFunc(out, func(a netip.Addr) bool {
		return slices.ContainsFunc(all, func(own rtnl.Addr) bool { return own.Prefix.Addr() == a })
	})
}

// sameSwitch reports whether another link of the guest leads to the same bridge.
func (w *walker) sameSwitch(other *rtnl.Link) bool {
	one := w.at(w.near.with(other))
	return one.findLeap() == nil && one.on != nil && w.on != nil && one.leap == w.leap && one.on.Index == w.on.Index
}
