package attach

import (
	"fmt"
	"net/netip"

	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/spec"
)

// What is planned inside a guest, whatever kind of link leads there.

// up sets the guest's end up.
func (j *job) up(d *draft) {
	d.add(plan.SetLink{Place: j.Place, Name: j.names.inner, Set: rtnl.Change{Up: true}})
}

// carrier plans to look whether a card that was set up has one.
func (j *job) carrier(d *draft) {
	if j.card != "" {
		d.add(awaitCarrier{Place: j.Place, link: j.names.inner, card: j.card})
	}
}

// sysctls sets those of our interface alone: it speaks up for its addresses;
// IPv6 is on if an address of it is asked for, and duplicate address detection
// begins at once instead of after a random part of a second.
func (j *job) sysctls(d *draft) {
	set := func(path, value string) {
		d.add(plan.SetSysctl{Place: j.Place, Path: fmt.Sprintf(path, j.names.inner), Value: value})
	}
	j.routerSysctls(d)
	if j.Has(false) {
		set(notify4, "1")
	}
	if !j.Has(true) {
		return
	}
	if j.f.IPv6Off {
		set("ipv6/conf/%s/disable_ipv6", "0")
	}
	set(notify6, "1")
	if s := j.source(); s != nil {
		for _, n := range s.sysctls() {
			set(n.path, n.value)
		}
	}
	if !j.NoDAD {
		set("ipv6/conf/%s/router_solicitation_delay", "0")
	}
}

// inet plans addresses and routes, and tells the neighbours. IPv4 is complete
// before the wait for IPv6 begins.
func (j *job) inet(d *draft) error {
	j.probe(d)
	j.addresses(d, false)
	if j.traits().upLate && !j.probes() {
		j.up(d)
		j.carrier(d)
	}
	if err := j.settled(d, false); err != nil {
		return err
	}
	j.addresses(d, true)
	if err := j.settled(d, true); err != nil {
		return err
	}
	if s := j.source(); s != nil {
		return s.get(j, d)
	}
	return nil
}

// addresses plans those of a family.
func (j *job) addresses(d *draft, ipv6 bool) {
	for _, p := range j.AddrsOf(ipv6) {
		d.add(plan.AddAddr{Place: j.Place, Inner: j.names.inner, Prefix: p, NoDAD: ipv6 && j.NoDAD})
	}
}

// settled plans what follows when the addresses of a family are there.
func (j *job) settled(d *draft, ipv6 bool) error {
	if len(j.AddrsOf(ipv6)) == 0 {
		return nil
	}
	addrs := j.given(ipv6)
	if ipv6 && !j.NoDAD {
		d.add(plan.AwaitDAD{Place: j.Place, Inner: j.names.inner, Addrs: addrs})
	}
	j.keepReplies(d, ipv6) // before our default route: no answer is to miss its way
	if gw := j.Gateway(ipv6); gw.IsValid() {
		if err := j.gateway(d, gw); err != nil {
			return err
		}
	}
	j.routes(d, ipv6)
	j.ownReplies(d, ipv6)
	switch {
	case !j.traits().upLate:
		d.add(announce{Place: j.Place, inner: j.names.inner, mac: j.mac(), addrs: addrs})
	case !ipv6 && j.probes():
		d.add(announceARP{Place: j.Place, inner: j.names.inner, addrs: addrs})
	}
	return nil
}

// gateway plans the default route, and the route to a gateway that no subnet of
// ours holds.
func (j *job) gateway(d *draft, gw netip.Addr) error {
	if !j.OnLink(gw) {
		d.add(plan.AddRoute{Place: j.Place, Inner: j.names.inner, Dst: netip.PrefixFrom(gw, gw.BitLen())})
	}
	r := plan.AddRoute{Place: j.Place, Inner: j.names.inner, Dst: spec.DefaultRoute(gw.Is6()), Gateway: gw}
	if err := j.rank(d, &r); err != nil {
		return err
	}
	d.add(r)
	return nil
}

// bestDefault returns the guest's default route that wins now.
func (j *job) bestDefault(ipv6 bool) (best rtnl.Route, ok bool) {
	for _, r := range j.others() {
		if r.Table == 0 && r.Default() && r.Dst.Addr().Is6() == ipv6 && (!ok || r.Metric < best.Metric) {
			best, ok = r, true
		}
	}
	return best, ok
}
