package guestnet

import (
	"fmt"
	"net/netip"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/spec"
)

// What is planned inside a guest, whatever kind of link leads there.

// PlanUp sets the guest's end up.
func PlanUp(j *build.Job, d *build.Draft) {
	d.Add(plan.SetLink{Place: j.Place, Name: j.Names.Inner, Set: rtnl.Change{Up: true}, Taken: j.Traits.Taken})
}

// PlanCarrier plans to look whether a card that was set up has a carrier.
func PlanCarrier(j *build.Job, d *build.Draft) {
	if j.Card != "" {
		d.Add(AwaitCarrier{Place: j.Place, Link: j.Names.Inner, Card: j.Card})
	}
}

// PlanBeforeUp plans what our interface gets while it is down: its VRF, and sysctls of it
// alone, those that the kind of addresses needs and those that the line asks for.
func PlanBeforeUp(j *build.Job, d *build.Draft) {
	planVRF(j, d)
	neededSysctls(j, d)
	askedSysctls(j, d)
}

// neededSysctls has the interface announce its addresses; IPv6 is on if an address of it is
// asked for, and duplicate address detection begins at once instead of after a random part
// of a second.
func neededSysctls(j *build.Job, d *build.Draft) {
	set := func(path, value string) {
		d.Add(plan.SetSysctl{Place: j.Place, Path: fmt.Sprintf(path, j.Names.Inner), Value: value})
	}
	routerSysctls(j, d)
	if j.Has(false) {
		set(notify4, "1")
	}
	if !j.Has(true) {
		return
	}
	if j.There.IPv6Off {
		set("ipv6/conf/%s/disable_ipv6", "0")
	}
	set(notify6, "1")
	for _, n := range j.Needs {
		set(n.Path, n.Value)
	}
	if !j.NoDAD {
		set("ipv6/conf/%s/router_solicitation_delay", "0")
	}
}

// PlanAddresses plans the addresses of a family.
func PlanAddresses(j *build.Job, d *build.Draft, ipv6 bool) {
	for _, p := range j.AddrsOf(ipv6) {
		d.Add(plan.AddAddr{Place: j.Place, Inner: j.Names.Inner, Prefix: p, NoDAD: ipv6 && j.NoDAD})
	}
}

// PlanFollowing plans what follows when the addresses of a family are there.
func PlanFollowing(j *build.Job, d *build.Draft, ipv6 bool) error {
	if len(j.AddrsOf(ipv6)) == 0 {
		return nil
	}
	addrs := GivenAddrs(j, ipv6)
	if ipv6 && !j.NoDAD {
		d.Add(plan.AwaitDAD{Place: j.Place, Inner: j.Names.Inner, Addrs: addrs})
	}
	KeepReplies(j, d, ipv6) // before our default route: no answer is to miss its way
	if gw := j.Gateway(ipv6); gw.IsValid() {
		if err := planGateway(j, d, gw); err != nil {
			return err
		}
	}
	for _, r := range j.Routes { // a default route without a gateway
		if r.Default() && r.Dst.Addr().Is6() == ipv6 {
			if err := planDefault(j, d, plan.AddRoute{Place: j.Place, Inner: j.Names.Inner, Dst: r.Dst}); err != nil {
				return err
			}
		}
	}
	PlanRoutes(j, d, ipv6)
	OwnReplies(j, d, ipv6)
	switch {
	case !j.Traits.UpLate:
		d.Add(Announce{Place: j.Place, Inner: j.Names.Inner, Mac: j.LinkMAC(), Addrs: addrs})
	case !ipv6 && AsksFirst(j):
		d.Add(AnnounceARP{Place: j.Place, inner: j.Names.Inner, addrs: addrs})
	}
	return nil
}

// planGateway plans the default route, and the route to a gateway that is in no
// subnet of ours.
func planGateway(j *build.Job, d *build.Draft, gw netip.Addr) error {
	if !j.OnLink(gw) {
		d.Add(plan.AddRoute{Place: j.Place, Inner: j.Names.Inner, Dst: netip.PrefixFrom(gw, gw.BitLen()), Table: j.Table})
	}
	return planDefault(j, d, plan.AddRoute{Place: j.Place, Inner: j.Names.Inner, Dst: spec.DefaultRoute(gw.Is6()), Gateway: gw})
}

// planDefault plans a default route in its place among the others.
func planDefault(j *build.Job, d *build.Draft, r plan.AddRoute) error {
	r.Table = j.Table
	if err := RankRoute(j, d, &r); err != nil {
		return err
	}
	d.Add(r)
	return nil
}

// bestDefault returns the guest's default route that wins now.
func bestDefault(j *build.Job, ipv6 bool) (best rtnl.Route, ok bool) {
	for _, r := range otherRoutes(j) {
		if r.Table == 0 && r.Default() && r.Dst.Addr().Is6() == ipv6 && (!ok || r.Metric < best.Metric) {
			best, ok = r, true
		}
	}
	return best, ok
}
