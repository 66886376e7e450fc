package spec

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/gopipework/gopipework/internal/fault"
)

// DNS is what the guest's resolver is to be told. The zero DNS is nothing.
type DNS struct {
	Servers  []netip.Addr
	FromDHCP bool // what the DHCP server says, when the lease is got
	None     bool // not those of a tunnel's file either
}

// NameServers is the name of a difference in --dns.
const NameServers = "name servers"

// fromDHCP is the word for it.
const fromDHCP = "dhcp"

// MaxServers is how many name servers a resolver asks (resolv.conf(5), MAXNS).
const MaxServers = 3

// IsZero reports whether nothing is asked for.
func (d DNS) IsZero() bool { return len(d.Servers) == 0 && !d.FromDHCP }

// String returns the word that parses to d.
func (d DNS) String() string {
	switch {
	case d.FromDHCP:
		return fromDHCP
	case d.None:
		return None
	}
	return Join(d.Servers)
}

// CheckDNS refuses name servers that an attach which asks for all else in s would refuse.
func (s Spec) CheckDNS() error {
	_, err := parseDNS(s.DNS.String(), s.From)
	return err
}

// ListedDNS returns the name servers of a word that was accepted before.
func ListedDNS(word string) DNS {
	d, _ := parseDNS(word, Source{Kind: FromDHCP})
	return d
}

// parseDNS reads the word of a line. That of a tunnel can leave out what its file has.
func (s *Spec) parseDNS(word string) (DNS, error) {
	if word == None && s.HostIF.Kind.FromFile() {
		return DNS{None: true}, nil
	}
	return parseDNS(word, s.From)
}

// parseDNS reads dhcp, or ADDRESS[,ADDRESS...]; "" is nothing.
func parseDNS(word string, from Source) (DNS, error) {
	const op = "read name servers"
	switch {
	case word == "":
		return DNS{}, nil
	case word == fromDHCP && from.Kind != FromDHCP:
		return DNS{}, fault.BadWord(op, word, "the address does not come from a DHCP server").
			WithHint("--dns 192.168.1.1, or the address dhcp")
	case word == fromDHCP:
		return DNS{FromDHCP: true}, nil
	}
	var d DNS
	for w := range strings.SplitSeq(word, ",") {
		a, err := netip.ParseAddr(w)
		switch {
		case err != nil || a.Zone() != "":
			return DNS{}, fault.BadWord(op, word, "%q is not an IP address", w).WithHint("--dns 192.168.1.1,2001:db8::1 or --dns dhcp")
		case a.IsUnspecified() || a.IsMulticast() || a.Is4In6() || slices.Contains(d.Servers, a):
			return DNS{}, fault.BadWord(op, word, "%s cannot be a name server, or is given twice", a)
		}
		d.Servers = append(d.Servers, a)
	}
	if len(d.Servers) > MaxServers {
		return DNS{}, fault.BadWord(op, word, "a resolver asks %d name servers at most", MaxServers)
	}
	return d, nil
}
