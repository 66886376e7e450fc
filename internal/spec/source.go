package spec

import (
	"slices"
	"strings"

	"github.com/gopipework/gopipework/internal/hostclient"
	"github.com/gopipework/gopipework/internal/lease"
)

// Source is where addresses come from that are not given on the line.
type Source struct {
	Kind SourceKind
	DHCP lease.Options  // of FromDHCP and FromDHCP6
	Ask  hostclient.Ask // of FromClient

	SLAAC SLAAC // of FromSLAAC
}

// SourceKind is a kind of Source.
type SourceKind string

// The kinds. FromLine is none: the addresses, if any, are given.
const (
	FromLine  SourceKind = ""
	FromDHCP  SourceKind = "dhcp"  // DHCPv4, built in
	FromDHCP6 SourceKind = "dhcp6" // DHCPv6, built in
	FromSLAAC SourceKind = "slaac" // router advertisements (RFC 4862)

	FromClient SourceKind = "client" // DHCPv4, by a client of the host

	fromUnknown SourceKind = "unknown" // of an attachment that is yet to be looked at
)

// Gives reports whether addresses of the family come from it.
func (s Source) Gives(ipv6 bool) bool {
	return (s.Kind == FromDHCP || s.Kind == FromClient) && !ipv6 || s.HearsRouters() && ipv6 || s.Kind == fromUnknown
}

// Leased reports whether a server gives the address, and a keeper of ours keeps it.
func (s Source) Leased() bool { return s.Kind == FromDHCP || s.Kind == FromDHCP6 }

// HearsRouters reports whether router advertisements are taken.
func (s Source) HearsRouters() bool { return s.Kind == FromSLAAC || s.Kind == FromDHCP6 }

// String returns the word that parses to s.
func (s Source) String() string {
	if s.Kind == FromClient {
		return s.Ask.String()
	}
	if o := s.DHCP.String() + s.SLAAC.String(); o != "" {
		return string(s.Kind) + ":" + o
	}
	return string(s.Kind)
}

// sources are the words in place of an address that ask for one from the network.
var sources = []string{string(FromDHCP), string(FromDHCP6), string(FromSLAAC)}

// parseSource reads SOURCE[:OPTIONS]; ok is false for a word that is none.
func parseSource(word string) (s Source, ok bool, err error) {
	name, options, has := strings.Cut(word, ":")
	if s.Ask, ok, err = hostclient.Parse(name, options); ok {
		s.Kind = FromClient
		return s, true, err
	}
	if !slices.Contains(sources, name) {
		return s, false, nil
	}
	s.Kind = SourceKind(name)
	switch {
	case s.Kind == FromDHCP:
		s.DHCP, err = lease.ParseOptions(options)
	case s.Kind == FromDHCP6:
		s.DHCP, err = lease.ParseOptions6(options)
	case has:
		s.SLAAC, err = parseSLAAC(options)
	}
	return s, true, err
}
