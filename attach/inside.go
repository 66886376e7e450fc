package attach

import (
	"fmt"
	"net/netip"

	"github.com/gopipework/gopipework/internal/rtnl"
)

// What is planned inside a guest, whatever kind of link leads there.

// up sets the guest's end up.
func (b *builder) up() {
	b.add(setLink{place: b.place, name: b.names.inner, set: rtnl.Change{Up: true}})
}

// carrier plans to look whether a card that was set up has one. A Wi-Fi card
// has none before somebody in the guest logs it in.
func (b *builder) carrier() {
	loan := b.f.Card.Loan
	if b.kind == KindPhys && b.f.Card.Radio == nil && (loan == nil || loan.Hardware.Radio == nil) {
		b.add(awaitCarrier{place: b.place, link: b.names.inner, card: b.HostIF.Name})
	}
}

// sysctls sets those of our interface alone: it speaks up for its addresses;
// IPv6 is on if an address of it is asked for, and duplicate address detection
// begins at once instead of after a random part of a second.
func (b *builder) sysctls() {
	set := func(path, value string) {
		b.add(setSysctl{place: b.place, path: fmt.Sprintf(path, b.names.inner), value: value})
	}
	b.routerSysctls()
	if b.Has(false) {
		set(notify4, "1")
	}
	if !b.Has(true) {
		return
	}
	if b.f.IPv6Off {
		set("ipv6/conf/%s/disable_ipv6", "0")
	}
	set(notify6, "1")
	if b.From.hearsRouters() {
		set(acceptRA, "2")
	}
	if b.From.Kind == FromDHCP6 {
		set(noAutoconf, "0")
	}
	if !b.NoDAD {
		set("ipv6/conf/%s/router_solicitation_delay", "0")
	}
}

// inet plans addresses and routes, and tells the neighbours. IPv4 is complete
// before the wait for IPv6 begins.
func (b *builder) inet() error {
	b.probe()
	b.addresses(false)
	if b.upLate() && !b.probes() {
		b.up()
		b.carrier()
	}
	if err := b.settled(false); err != nil {
		return err
	}
	if err := b.dhcp(); err != nil {
		return err
	}
	if err := b.client(); err != nil {
		return err
	}
	b.addresses(true)
	if err := b.settled(true); err != nil {
		return err
	}
	b.dhcp6()
	b.slaac()
	return nil
}

// addresses plans those of a family.
func (b *builder) addresses(ipv6 bool) {
	for _, p := range b.of(ipv6) {
		b.add(addAddr{place: b.place, inner: b.names.inner, prefix: p, nodad: ipv6 && b.NoDAD})
	}
}

// settled plans what follows when the addresses of a family are there.
func (b *builder) settled(ipv6 bool) error {
	if len(b.of(ipv6)) == 0 {
		return nil
	}
	addrs := b.given(ipv6)
	if ipv6 && !b.NoDAD {
		b.add(awaitDAD{place: b.place, inner: b.names.inner, addrs: addrs})
	}
	b.keepReplies(ipv6) // before our default route: no answer is to miss its way
	if gw := b.Gateway(ipv6); gw.IsValid() {
		if err := b.gateway(gw); err != nil {
			return err
		}
	}
	b.routes(ipv6)
	b.ownReplies(ipv6)
	switch {
	case !b.upLate():
		b.add(announce{place: b.place, inner: b.names.inner, mac: b.mac(), addrs: addrs})
	case !ipv6 && b.probes():
		b.add(announceARP{place: b.place, inner: b.names.inner, addrs: addrs})
	}
	return nil
}

// gateway plans the default route, and the route to a gateway that no subnet of
// ours holds.
func (b *builder) gateway(gw netip.Addr) error {
	if !b.onLink(gw) {
		b.add(addRoute{place: b.place, inner: b.names.inner, dst: netip.PrefixFrom(gw, gw.BitLen())})
	}
	r := addRoute{place: b.place, inner: b.names.inner, dst: defaultRoute(gw.Is6()), gateway: gw}
	if err := b.rank(&r); err != nil {
		return err
	}
	b.add(r)
	return nil
}

func defaultRoute(ipv6 bool) netip.Prefix {
	if ipv6 {
		return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
}

// bestDefault returns the guest's default route that wins now.
func (b *builder) bestDefault(ipv6 bool) (best rtnl.Route, ok bool) {
	for _, r := range b.others() {
		if r.Table == 0 && r.Default() && r.Dst.Addr().Is6() == ipv6 && (!ok || r.Metric < best.Metric) {
			best, ok = r, true
		}
	}
	return best, ok
}
