package cni

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/gopipework/gopipework/internal/spec"
	"github.com/gopipework/gopipework/internal/typo"
)

// NameIn returns the name that the interface has in the guest.
func (c Config) NameIn(call Call) string { return cmp.Or(c.IfName, call.IfName) }

// Words returns what the configuration and the caller ask for, in the words of the command
// line. What the caller asks for by capabilities goes before the keys, and those before
// CNI_ARGS. given is what the plugin that gives out the addresses has given; nil: nothing
// yet.
func (c Config) Words(call Call, given *Result) (spec.Words, error) {
	w := spec.Words{
		HostIF: c.HostIF, Guest: call.NetNS, IfName: c.NameIn(call),
		MAC: cmp.Or(c.Runtime.MAC, c.MAC, call.Arg("MAC")), MTU: string(c.MTU), Mode: c.Mode, Routes: c.Routes,
	}
	if c.VLAN != "" {
		w.MAC += "@" + string(c.VLAN)
	}
	if c.HostIF == "" {
		return w, refuse(types.ErrInvalidNetworkConfig, "read hostif", "", "it says what the guest is plugged into, and is missing").
			withHint("%s", c.meant("hostif")+`"hostif": "brtest"; only with "mode": "extra", for what pods ask for, there is none`)
	}
	var err error
	switch {
	case c.IPAM.Type == "":
		w.Address, err = c.address(call)
	case c.Address != "":
		err = refuse(types.ErrInvalidNetworkConfig, "read address", c.Address, "%s gives out the addresses", c.IPAM.Type).
			withHint("leave out address, or ipam")
	case w.IfName != call.IfName:
		err = refuse(types.ErrInvalidNetworkConfig, "read ifname", c.IfName, "%s knows the interface by the name that the caller asks for", c.IPAM.Type).
			withHint("leave out ifname, or ipam")
	case given == nil:
		w.Address, w.Routes = "0/0", nil
	default:
		var routes []string
		w.Address, routes = words(given)
		w.Routes = slices.Concat(w.Routes, routes)
	}
	return w, err
}

// meant begins the hint for a key that is missing with the one that looks as if it were meant. Keys
// that are not known are ignored otherwise.
func (c Config) meant(key string) string {
	wrong := typo.Nearest(key, c.keys)
	if wrong == "" || wrong == key {
		return ""
	}
	return "did you mean " + strconv.Quote(key) + ", and not " + strconv.Quote(wrong) + "? "
}

// address returns the word for the addresses.
func (c Config) address(call Call) (string, error) {
	key, gateways, hasGateways := strings.Cut(c.Address, "@")
	switch {
	case len(c.Runtime.IPs) > 0:
		asked, err := withPrefixes(c.Runtime.IPs, key)
		if err != nil {
			return "", err
		}
		key = strings.Join(asked, ",")
	case c.Address == "" && call.Arg("IP") != "":
		key, gateways = call.Arg("IP"), call.Arg("GATEWAY")
		hasGateways = gateways != ""
	case c.Address == "" && c.IPAM.hasKeys:
		return "", refuse(types.ErrInvalidNetworkConfig, "read ipam", "", "it has no type, which names the plugin that gives out the addresses").
			withHint(`"ipam": {"type": "host-local", ...}`)
	case c.Address == "":
		return "", refuse(types.ErrInvalidNetworkConfig, "read address", "", "the configuration has none, and the caller asks for none").
			withHint("%s", c.meant("address")+`"address": "192.168.1.2/24@192.168.1.1", "dhcp", or "0/0" for none; or ipam`)
	}
	if hasGateways {
		key += "@" + gateways
	}
	return key, nil
}

// withPrefixes returns addresses with their prefix lengths. One that comes without has that
// of the network of the key that it is in.
func withPrefixes(ips []string, key string) (all []string, err error) {
	for _, ip := range ips {
		a, err := netip.ParseAddr(ip)
		if err != nil { // it has one, or it is for the parser of addresses to refuse
			all = append(all, ip)
			continue
		}
		bits := -1
		for word := range strings.SplitSeq(key, ",") {
			if p, err := netip.ParsePrefix(word); err == nil && p.Contains(a) {
				bits = p.Bits()
			}
		}
		if bits < 0 {
			return nil, refuse(types.ErrInvalidNetworkConfig, "read runtimeConfig", ip, "it has no prefix length, and the key address has no network that it is in")
		}
		all = append(all, netip.PrefixFrom(a, bits).String())
	}
	return all, nil
}
