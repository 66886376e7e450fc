// Package spec turns the words of a command line into data that says what is asked for.
// Nothing here looks at the machine: the same words give the same Spec everywhere, and
// every error is the user's to mend.
package spec

import (
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Kind is what plugs a guest into the host's side.
type Kind string

// The kinds. KindAny leaves it to what is found under the name.
const (
	KindAny       Kind = ""
	KindBridge    Kind = "bridge"
	KindOVS       Kind = "ovs"
	KindMacvlan   Kind = "macvlan"
	KindMacvtap   Kind = "macvtap"
	KindIPvlan    Kind = "ipvlan"
	KindVLAN      Kind = "vlan"
	KindPhys      Kind = "phys"
	KindDummy     Kind = "dummy"
	KindIPoIB     Kind = "ipoib"
	KindHost      Kind = "host"
	KindWireGuard Kind = "wireguard"
	KindVeth      Kind = "veth" // between two guests; no word of the command line
)

// FromFile reports whether HOSTIF is a file, which has what lines of other kinds say:
// addresses, name servers, routes.
func (k Kind) FromFile() bool { return k == KindWireGuard }

// HostIF is the host's side of an attachment, as asked for.
type HostIF struct {
	Kind Kind
	Name string // of the interface, or MACWord and the MAC address that it has; of a kind FromFile: its path
}

// MACWord begins a name that is an address.
const MACWord = "mac:"

// String returns the word that parses to h.
func (h HostIF) String() string {
	if h.Kind == KindAny {
		return h.Name
	}
	return string(h.Kind) + ":" + h.Name
}

// Alone reports whether no two guests are on it, so that they may have the same address. A dummy
// is made for each, unless there is a card of that name, which only the attach sees.
func (h HostIF) Alone() bool {
	switch h.Kind {
	case KindDummy, KindPhys, KindWireGuard, KindHost:
		return true
	}
	return h.Kind == KindAny && strings.HasPrefix(h.Name, string(KindDummy))
}

// Spec is one attachment as the user asked for it. It is the same on every
// machine: nothing in it was looked up.
type Spec struct {
	HostIF   HostIF
	Guest    string           // the word that names the guest
	IfName   string           // name inside the guest; "" for the kind's default
	HostName string           // name of the host's end; "" for one made from the guest's
	Addrs    []netip.Prefix   // none: the interface is set up without an address
	Gateways []netip.Addr     // at most one of each family
	From     Source           // where addresses come from instead
	Family   string           // that the addresses of a tunnel's file are to have, as -a; "": any
	MAC      net.HardwareAddr // of the guest's end; nil: none is asked for
	NamedMAC bool             // instead of MAC: the one that this machine, the guest and the interface's name make
	VLAN     string           // the word after @, whose grammar the kind decides; "" for none
	MTU      int              // bytes; 0: that of the bridge or parent
	Mode     string           // of a macvlan or ipvlan; "" for its default
	Shape    Reshape
	Mirrors  []Mirror // what is copied to the interface
	Uplink   string   // the VXLAN by which the bridge reaches other hosts, as --uplink has it; "": whatever it has

	Keep          bool    // the guest's default route stays, ours goes behind it
	Metric        int     // of the default route; 0: whatever puts it in its place
	Routes        []Route // others by the interface
	SourceRouting bool    // replies leave by the interface whose address they carry
	Sysctls       []Sysctl
	VRF           VRF // that the interface is in, in the guest
	DNS           DNS // the guest's name servers; the zero DNS: they are left alone

	HostAddr netip.Prefix // that the host's end of the pair is to have; the zero Prefix: none

	HostAccess    bool // the host reaches the macvlan, and is reached by it
	ACD           bool // ask whether somebody has the IPv4 addresses before they are taken
	Verify        bool // send packets over the switch and back before it is a success
	NoDAD         bool // do not wait for duplicate address detection
	ForcePhys     bool // lend a card although the host uses it
	VLANFiltering bool // may be turned on on somebody else's bridge
	NoFirewall    bool // leave the host's firewall alone, and say what it needs
	Isolated      bool // nothing passes between its port of the switch and others that are isolated
	Antispoof     bool // the guest can send only from the MAC address and the addresses of the attachment
}

// AddrsOf returns the addresses of a family that are asked for.
func (s Spec) AddrsOf(ipv6 bool) (out []netip.Prefix) {
	for _, p := range s.Addrs {
		if p.Addr().Is6() == ipv6 {
			out = append(out, p)
		}
	}
	return out
}

// HasFamily reports whether there is an address of the family.
func HasFamily(addrs []netip.Prefix, ipv6 bool) bool {
	return slices.ContainsFunc(addrs, func(p netip.Prefix) bool { return p.Addr().Is6() == ipv6 })
}

// Has reports whether an address of the family is asked for, given or not.
func (s Spec) Has(ipv6 bool) bool { return len(s.AddrsOf(ipv6)) > 0 || s.From.Gives(ipv6) }

// Gateway returns the gateway of the family, or the zero Addr.
func (s Spec) Gateway(ipv6 bool) netip.Addr {
	for _, gw := range s.Gateways {
		if gw.Is6() == ipv6 {
			return gw
		}
	}
	return netip.Addr{}
}

// Words returns the words that parse to s.
func (s Spec) Words() Words {
	w := Words{
		HostIF:        s.HostIF.String(),
		Guest:         s.Guest,
		Address:       s.AddressWord(),
		IfName:        s.IfName,
		HostName:      s.HostName,
		Family:        s.Family,
		Mode:          s.Mode,
		HostAccess:    s.HostAccess,
		ACD:           s.ACD,
		NoDAD:         s.NoDAD,
		Verify:        s.Verify,
		ForcePhys:     s.ForcePhys,
		VLANFiltering: s.VLANFiltering,
		NoFirewall:    s.NoFirewall,
		Isolated:      s.Isolated,
		Antispoof:     s.Antispoof,
		Shape:         s.Shape.Words(),
		SourceRouting: s.SourceRouting,
		DNS:           s.DNS.String(),
		VRF:           s.VRF.String(),
		Uplink:        s.Uplink,
	}
	if s.HostAddr.IsValid() {
		w.HostAddr = s.HostAddr.String()
	}
	if s.Keep {
		w.Default = "keep"
	}
	if s.Metric != 0 {
		w.Metric = strconv.Itoa(s.Metric)
	}
	w.Routes = RouteWords(s.Routes)
	for _, m := range s.Mirrors {
		w.Mirrors = append(w.Mirrors, m.String())
	}
	for _, c := range s.Sysctls {
		w.Sysctls = append(w.Sysctls, c.String())
	}
	if s.MTU != 0 {
		w.MTU = strconv.Itoa(s.MTU)
	}
	switch {
	case s.MAC != nil:
		w.MAC = s.MAC.String()
	case s.NamedMAC:
		w.MAC = fromText
	}
	if s.VLAN != "" {
		w.MAC += "@" + s.VLAN
	}
	return w
}

// AddressWord returns the word for the addresses, and the gateways.
func (s Spec) AddressWord() string {
	if s.From.Kind != FromLine {
		return s.From.String()
	}
	switch {
	case len(s.Addrs) == 0 && s.HostIF.Kind.FromFile():
		return "" // the file has them
	case len(s.Addrs) == 0:
		return "0/0"
	}
	word := Join(s.Addrs)
	if len(s.Gateways) > 0 {
		word += "@" + Join(s.Gateways)
	}
	return word
}

// Join writes a list as the command line does: with commas.
func Join[T interface{ String() string }](list []T) string {
	words := make([]string, len(list))
	for i, v := range list {
		words[i] = v.String()
	}
	return strings.Join(words, ",")
}
