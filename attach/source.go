package attach

import (
	"slices"
	"strings"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/hostclient"
	"github.com/gopipework/gopipework/internal/lease"
)

// Source is where addresses come from that are not given on the line.
type Source struct {
	Kind SourceKind
	DHCP lease.Options  // of FromDHCP
	Ask  hostclient.Ask // of FromClient
}

// SourceKind is a kind of Source.
type SourceKind string

// The kinds. FromLine is none: the addresses, if any, are given.
const (
	FromLine  SourceKind = ""
	FromDHCP  SourceKind = "dhcp"  // DHCPv4, built in
	FromSLAAC SourceKind = "slaac" // router advertisements (RFC 4862)

	FromClient SourceKind = "client" // DHCPv4, by a client of the host
)

// gives reports whether addresses of the family come from it.
func (s Source) gives(ipv6 bool) bool {
	return (s.Kind == FromDHCP || s.Kind == FromClient) && !ipv6 || s.Kind == FromSLAAC && ipv6
}

// String returns the word that parses to s.
func (s Source) String() string {
	if s.Kind == FromClient {
		return s.Ask.String()
	}
	if o := s.DHCP.String(); o != "" {
		return string(s.Kind) + ":" + o
	}
	return string(s.Kind)
}

// sources are the words in place of an address that ask for one from the
// network; later are those that this version does not have.
var (
	sources      = []string{string(FromDHCP), string(FromSLAAC)}
	sourcesLater = []string{"dhcp6"}
)

// parseSource reads SOURCE[:OPTIONS]; ok is false for a word that is none.
func parseSource(word string) (s Source, ok bool, err error) {
	const op = "read address"
	name, options, has := strings.Cut(word, ":")
	if s.Ask, ok, err = hostclient.Parse(name, options); ok {
		s.Kind = FromClient
		return s, true, err
	}
	switch {
	case slices.Contains(sourcesLater, name):
		return s, true, fault.New(fault.Unsupported, op, `"`+word+`"`, "this version does not have %s", name).
			WithHint("dhcp is built in, and keeps its lease")
	case !slices.Contains(sources, name):
		return s, false, nil
	}
	s.Kind = SourceKind(name)
	switch {
	case s.Kind == FromDHCP:
		s.DHCP, err = lease.ParseOptions(options)
	case has:
		err = fault.BadWord(op, word, "%s takes no options", name).WithHint("%s", name)
	}
	return s, true, err
}
