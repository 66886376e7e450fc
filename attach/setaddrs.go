package attach

import (
	"net/netip"
	"slices"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guestnet"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/source"
	"github.com/gopipework/gopipework/internal/spec"
)

// addAddrs plans for the new addresses of another list: they are there, and known to be
// nobody else's, before the old ones go.
func addAddrs(c build.Change, d *build.Draft) error {
	if !c.HasAddrs {
		return nil
	}
	if err := checkSource(c); err != nil {
		return err
	}
	added, gone := changedAddrs(c)
	if err := checkAddrs(c, added); err != nil {
		return err
	}
	j := *c.Job
	j.Addrs, j.Gateways = added, c.Gateways
	planAddrSysctls(c, d, added, gone)
	for _, ipv6 := range []bool{false, true} {
		guestnet.PlanAddresses(&j, d, ipv6)
		if err := guestnet.PlanFollowing(&j, d, ipv6); err != nil {
			return err
		}
	}
	return nil
}

// delAddrs plans for the old addresses to go.
func delAddrs(c build.Change, d *build.Draft) error {
	if !c.HasAddrs {
		return nil
	}
	have := ours.AddressesOf(c.There.Inner, c.There.Addrs)
	_, gone := changedAddrs(c)
	for _, p := range gone {
		d.Add(plan.DelAddr{Place: c.Job.Place, Inner: c.There.Inner.Name, Prefix: p, Behind: behind(have, p), Routes: routesBy(c, p.Addr().Is6())})
	}
	return nil
}

// changedAddrs returns the addresses that are new, and those that go.
func changedAddrs(c build.Change) (added, gone []netip.Prefix) {
	have := ours.AddressesOf(c.There.Inner, c.There.Addrs)
	without := func(all, these []netip.Prefix) []netip.Prefix {
		return slices.DeleteFunc(slices.Clone(all), func(p netip.Prefix) bool { return slices.Contains(these, p) })
	}
	return without(c.Addrs, have), without(have, c.Addrs)
}

// checkSource refuses to change addresses that something else keeps.
func checkSource(c build.Change) error {
	why := source.Kept(c.There.Inside)
	if why == "" {
		return nil
	}
	return c.Refuse(fault.Conflict, "%s", why).WithHint("gopipework detach %s %s, and attach it with the new addresses", c.Guest, c.There.Inner.Name)
}

// checkAddrs refuses addresses that collide with others, or that leave a
// gateway out of reach.
func checkAddrs(c build.Change, added []netip.Prefix) error {
	ipv6 := slices.ContainsFunc(c.Addrs, func(p netip.Prefix) bool { return p.Addr().Is6() })
	switch {
	case ipv6 && c.There.NoIPv6:
		return c.Refuse(fault.Unsupported, "the kernel has no IPv6")
	case ipv6 && c.Job.LinkMTU < spec.MinMTU6:
		return c.Refuse(fault.Conflict, "its MTU is %d, but IPv6 needs at least %d", c.Job.LinkMTU, spec.MinMTU6).WithHint("--mtu %d", spec.MinMTU6)
	}
	for _, p := range added {
		for _, a := range guestnet.AddrsBeside(c.Job) {
			if a.Prefix.Addr() == p.Addr() && (a.Index != c.There.Inner.Index || p.Addr().Is6()) {
				return c.Refuse(fault.Conflict, "%s is on %s already", a.Prefix, c.Job.LinkName(a.Index))
			}
		}
	}
	for _, gw := range ours.GatewaysOf(c.There.Inner.Index, c.There.Routes) {
		reach := func(p netip.Prefix) bool { return p.Contains(gw) }
		if slices.ContainsFunc(ours.AddressesOf(c.There.Inner, c.There.Addrs), reach) && !slices.ContainsFunc(c.Addrs, reach) {
			return c.Refuse(fault.Conflict, "its gateway %s is in no subnet of these addresses", gw).
				WithHint("detach it, and attach it with its new gateway")
		}
	}
	return nil
}

// planAddrSysctls plans the sysctls of the interface that new addresses need. By
// default the kernel deletes, with an address, all others of its subnet that came
// after it.
func planAddrSysctls(c build.Change, d *build.Draft, added, gone []netip.Prefix) {
	set := func(path, value string) {
		if was, ok := c.There.Sysctls[path]; ok && was != value {
			d.Add(plan.SetSysctl{Place: c.Job.Place, Path: path, Value: value, Was: was})
		}
	}
	paths := addrSysctls(c.There.Inner.Name)
	if len(gone) > 0 {
		set(paths[0], "1")
	}
	if spec.HasFamily(added, false) {
		set(paths[1], "1")
	}
	if spec.HasFamily(added, true) {
		set(paths[2], "0")
		set(paths[3], "1")
		set(paths[5], "0")
		if !c.NoDAD {
			set(paths[4], "0")
		}
	}
}

// addrSysctls are the paths of the sysctls that matter to new addresses.
func addrSysctls(inner string) []string {
	return []string{
		"ipv4/conf/" + inner + "/promote_secondaries",
		"ipv4/conf/" + inner + "/arp_notify",
		"ipv6/conf/" + inner + "/disable_ipv6",
		"ipv6/conf/" + inner + "/ndisc_notify",
		"ipv6/conf/" + inner + "/router_solicitation_delay",
		"ipv6/conf/" + inner + "/autoconf", // a router's prefix would give another, and that be the source
	}
}

// routesBy are the interface's routes of a family that somebody set: they go
// with its last address.
func routesBy(c build.Change, ipv6 bool) (routes []rtnl.Route) {
	for _, r := range c.There.Routes {
		if r.Index == c.There.Inner.Index && r.Set && r.Dst.Addr().Is6() == ipv6 {
			r.Table = c.Job.Table
			routes = append(routes, r)
		}
	}
	return routes
}

// behind returns the IPv4 addresses of p's subnet that come after it. The first
// of a subnet is the source of its routes.
func behind(have []netip.Prefix, p netip.Prefix) (after []netip.Prefix) {
	if p.Addr().Is6() {
		return nil
	}
	for _, q := range have[slices.Index(have, p)+1:] {
		if q.Masked() == p.Masked() {
			after = append(after, q)
		}
	}
	return after
}
