package main

import (
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/internal/evpn"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/spec"
	"github.com/urfave/cli/v2"
)

const evpnName = "evpn-config"

func (o *output) evpnEntry() *cli.Command {
	return &cli.Command{
		Name:  evpnName,
		Usage: "print the lines for FRR by which the hosts of a VXLAN tell each other who is where; nothing is written",
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "reflector", Usage: "the `ADDRESS` of a BGP route reflector; may be repeated"},
			&cli.StringFlag{Name: "as", Usage: "the `NUMBER` of the autonomous system, the same on all hosts", DefaultText: strconv.Itoa(evpn.DefaultAS)},
			&cli.StringFlag{Name: "router-id", Usage: "an IPv4 `ADDRESS` that no other host has", DefaultText: "the one that the host's VXLANs have"},
			jsonFlag,
		},
		Action: o.evpnCommand,
	}
}

func (o *output) evpnCommand(c *cli.Context) error {
	if _, err := words(c, 0, 0); err != nil {
		return err
	}
	config, err := evpnConfig(c)
	if err != nil {
		return err
	}
	if !config.RouterID.IsValid() {
		r, err := attach.List(c.Context, nil, attach.Options{})
		if err != nil {
			return err
		}
		for _, v := range uplinks(r) {
			if slices.Contains(config.Reflectors, v.Local) {
				return fault.BadWord("read flag", "--reflector", "%s is the address of this host, which its VXLAN has", v.Local)
			}
		}
		if config.RouterID, err = routerID(uplinks(r)); err != nil {
			return err
		}
		o.warn(floods(uplinks(r)))
		if onLoopback(config.RouterID) { // a session from the address of a card would end with that card
			config.Source = config.RouterID
		}
	}
	if o.json {
		return o.document(struct {
			Config string `json:"config"`
		}{config.Text()})
	}
	_, err = o.stdout.Write([]byte(config.Text()))
	return err
}

// evpnConfig reads the flags.
func evpnConfig(c *cli.Context) (e evpn.Config, err error) {
	if err := noneEmpty(c, "as", "router-id", "reflector"); err != nil {
		return e, err
	}
	e.AS = evpn.DefaultAS
	if word := c.String("as"); word != "" {
		n, err := strconv.ParseUint(word, 10, 32)
		if err != nil || n == 0 {
			return e, fault.BadWord("read flag", "--as", "%q is not a number from 1 to 4294967295", word)
		}
		e.AS = uint32(n)
	}
	if word := c.String("router-id"); word != "" {
		if e.RouterID, err = netip.ParseAddr(word); err != nil || !e.RouterID.Is4() || e.RouterID.IsUnspecified() || e.RouterID.IsLoopback() || e.RouterID.IsMulticast() {
			return e, fault.BadWord("read flag", "--router-id", "%q is not the IPv4 address of a host", word)
		}
	}
	for _, word := range c.StringSlice("reflector") {
		r, err := netip.ParseAddr(word)
		if err != nil || r.Zone() != "" || r.IsUnspecified() || r.IsLoopback() || r.IsMulticast() || r.IsLinkLocalUnicast() {
			return e, fault.BadWord("read flag", "--reflector", "%q is not the IP address of a host", word)
		}
		if r == e.RouterID {
			return e, fault.BadWord("read flag", "--reflector", "%s is the address of the host itself, which --router-id names", r)
		}
		if !slices.Contains(e.Reflectors, r) {
			e.Reflectors = append(e.Reflectors, r)
		}
	}
	if e.Reflectors == nil {
		return e, fault.New(fault.Usage, "read flags of", evpnName, "it needs --reflector, the address of a BGP route reflector").
			WithHint("gopipework %s --reflector 10.9.0.250 --reflector 10.9.0.251", evpnName)
	}
	return e, nil
}

// onLoopback reports whether an address is one of the loopback interface.
func onLoopback(a netip.Addr) bool {
	all, _ := net.Interfaces()
	for _, l := range all {
		addrs, _ := l.Addrs()
		if l.Flags&net.FlagLoopback != 0 && slices.ContainsFunc(addrs, func(p net.Addr) bool {
			prefix, err := netip.ParsePrefix(p.String())
			return err == nil && prefix.Addr() == a
		}) {
			return true
		}
	}
	return false
}

// uplinks are the VXLANs by which bridges of this host reach others.
func uplinks(r attach.Result) (all []spec.VXLAN) {
	var found []string
	for _, a := range r.Attachments {
		found = append(found, a.Host.Uplink)
	}
	for _, b := range r.Bridges {
		found = append(found, b.Uplink)
	}
	slices.Sort(found)
	for _, word := range slices.Compact(found) {
		if v, err := spec.ParseVXLAN(word); err == nil {
			all = append(all, v)
		}
	}
	return all
}

// floods warns of VXLANs with peers, which learn by themselves who is where.
func floods(all []spec.VXLAN) (warnings []string) {
	for _, v := range all {
		if len(v.Peers) > 0 {
			warnings = append(warnings, v.String()+": with peer= it sends to the hosts that are named there, whatever FRR enters; leave out peer= on all hosts")
		}
	}
	return warnings
}

// routerID is the IPv4 address that all VXLANs of the host have.
func routerID(all []spec.VXLAN) (id netip.Addr, err error) {
	refuse := func(format string, args ...any) error {
		return fault.New(fault.NotFound, "find", "a router ID", format, args...).WithHint("name one that no other host has: --router-id 10.9.0.1")
	}
	var found []string
	for _, v := range all {
		if v.Local.Is4() && !slices.Contains(found, v.Local.String()) {
			id, found = v.Local, append(found, v.Local.String())
		}
	}
	switch {
	case len(found) > 1:
		return id, refuse("the VXLANs of this host have several addresses: %s", strings.Join(found, ", "))
	case len(found) == 0 && len(all) > 0:
		return id, refuse("the VXLANs of this host have no IPv4 address")
	case len(found) == 0:
		return id, refuse("no bridge of this host has a VXLAN yet, whose address would be that")
	}
	return id, nil
}
