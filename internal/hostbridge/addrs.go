package hostbridge

import (
	"net/netip"
	"slices"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/spec"
	"golang.org/x/sys/unix"
)

// The host's own addresses on a bridge.

// checkAddrs refuses addresses that the host has elsewhere.
func (j *job) checkAddrs(d *build.Draft) error {
	for _, p := range j.Addrs {
		for _, a := range j.there.Addrs {
			switch on := j.there.name(a.Index); {
			case j.link != nil && a.Index == j.link.Index:
			case a.Prefix.Addr() == p.Addr():
				return j.refuse(fault.Conflict, "the host has the address %s already, on %s", p.Addr(), on).
					WithHint("ip address del %s dev %s", a.Prefix, on)
			case a.Prefix.Overlaps(p) && a.Scope == unix.RT_SCOPE_UNIVERSE:
				d.Warn("the host has %s on %s as well: what it sends to %s may leave there, and not by %s", a.Prefix, on, a.Prefix.Masked(), j.Name)
			}
		}
	}
	if spec.HasFamily(j.Addrs, true) && j.there.NoIPv6 && !j.made() {
		return j.refuse(fault.Conflict, "IPv6 is off on %s, which is not ours to change", j.Name).WithHint("sysctl -w net/%s=0", ipv6Off(j.Name))
	}
	return nil
}

// planAddrs plans the addresses. A new one comes before an old one goes, as a route by the
// subnet of both would go with the last address of it.
func (j *job) planAddrs(d *build.Draft) {
	have := j.there.addrsOf(j.link)
	if spec.HasFamily(j.Addrs, true) && j.there.NoIPv6 {
		d.Add(plan.SetSysctl{Path: ipv6Off(j.Name), Value: "0"})
	}
	var added []plan.Step
	var await []netip.Addr
	for _, p := range j.Addrs {
		if slices.ContainsFunc(have, func(a rtnl.Addr) bool { return a.Prefix == p }) {
			continue
		}
		added = append(added, AddAddr{bridge: j.Name, prefix: p})
		if p.Addr().Is6() {
			await = append(await, p.Addr())
		}
	}
	wanted := func(a rtnl.Addr) bool { return slices.Contains(j.Addrs, a.Prefix) }
	before, after := dropAddrs(j.Name, have, func(a rtnl.Addr) bool { return !wanted(a) }, j.Addrs)
	d.Steps = append(d.Steps, j.there.promoting(j.Name, slices.Concat(before, added, after))...)
	if await != nil {
		d.Add(AwaitAddrs{plan.AwaitDAD{Inner: j.Name, Addrs: await}})
	}
}

// dropAddrs plans for the addresses of ours to go that goes reports. What is in the way of
// new ones goes before them.
func dropAddrs(of string, have []rtnl.Addr, goes func(rtnl.Addr) bool, to []netip.Prefix) (before, after []plan.Step) {
	for _, a := range have {
		if a.Proto != ours.Protocol || !goes(a) {
			continue
		}
		s := DelAddr{AddAddr{bridge: of, prefix: a.Prefix}}
		if a.Prefix.Addr().Is6() && slices.ContainsFunc(to, func(p netip.Prefix) bool { return p.Addr() == a.Prefix.Addr() }) {
			before = append(before, s)
		} else {
			after = append(after, s)
		}
	}
	return before, after
}

// promoting has the kernel keep, while steps delete an address, the others of its subnet
// that came after it. That holds for undoing the steps too.
func (f Facts) promoting(of string, steps []plan.Step) []plan.Step {
	deletes := slices.ContainsFunc(steps, func(s plan.Step) bool { d, is := s.(DelAddr); return is && d.prefix.Addr().Is4() })
	if f.Promote || !deletes {
		return steps
	}
	on, off := plan.SetSysctl{Path: promoteOf(of), Value: "1", Was: "0"}, plan.SetSysctl{Path: promoteOf(of), Value: "0", Was: "1"}
	return slices.Concat([]plan.Step{on}, steps, []plan.Step{off})
}
