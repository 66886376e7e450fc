// Package evpn writes the configuration by which FRR tells other hosts who is on the bridges
// of this one (BGP EVPN, RFC 8365).
package evpn

import (
	"fmt"
	"net/netip"
	"strings"
)

// DefaultAS is a number for private use (RFC 6996).
const DefaultAS = 65000

// Config is what a host needs to know. It says nothing about bridges or guests: FRR finds all
// VXLANs of the host by itself, and what is pinned on their bridges.
type Config struct {
	AS         uint32       // of all hosts and reflectors
	RouterID   netip.Addr   // an IPv4 address that no other host has
	Reflectors []netip.Addr // that the host talks to
	Source     netip.Addr   // that it talks to those of its family from; the zero Addr: that of the card
}

// Text returns the lines for frr.conf.
func (c Config) Text() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("router bgp %d", c.AS)
	line(" bgp router-id %s", c.RouterID)
	line(" no bgp default ipv4-unicast")
	for _, r := range c.Reflectors {
		line(" neighbor %s remote-as %d", r, c.AS)
		if c.Source.IsValid() && r.Is4() == c.Source.Is4() {
			line(" neighbor %s update-source %s", r, c.Source)
		}
	}
	line(" address-family l2vpn evpn")
	for _, r := range c.Reflectors {
		line("  neighbor %s activate", r)
	}
	line("  advertise-all-vni")
	line(" exit-address-family")
	return b.String()
}
