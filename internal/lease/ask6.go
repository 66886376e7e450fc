package lease

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
)

// Kind is the protocol of a lease.
type Kind string

// The kinds. DHCPv4 is empty: records of it have no kind.
const (
	DHCPv4 Kind = ""
	DHCPv6 Kind = "dhcp6" // stateful, one address (RFC 8415)
)

// NewAsk6 is [NewAsk] for DHCPv6. Its ClientID holds the IAID and the DUID of
// the same client: RFC 4361 has made both of one piece.
func NewAsk6(who Identity, ifName string, index int) Ask {
	return Ask{Kind: DHCPv6, IfName: ifName, Index: index, ClientID: clientID(who, ifName)}
}

// iaid names the one address that we ask for among those of our DUID.
func (a Ask) iaid() (id [4]byte) {
	if len(a.ClientID) > 4 {
		copy(id[:], a.ClientID[1:])
	}
	return id
}

func (a Ask) duid() []byte {
	if len(a.ClientID) < 5 {
		return nil
	}
	return a.ClientID[5:]
}

type xid6 = dhcpv6.TransactionID

func newXID6() (x xid6) {
	_, _ = rand.Read(x[:]) // never fails (crypto/rand)
	return x
}

// question is a message of a client (RFC 8415, section 16).
type question struct {
	kind   dhcpv6.MessageType
	x      xid6
	server []byte        // DUID of the one that it is for; nil: all
	addr   netip.Addr    // the zero Addr: any
	since  time.Duration // from the first message of the exchange
}

// bytes is the question as it goes on the wire.
func (a Ask) bytes(q question) ([]byte, error) {
	m := &dhcpv6.Message{MessageType: q.kind, TransactionID: q.x}
	own, err := dhcpv6.DUIDFromBytes(a.duid())
	if err != nil {
		return nil, fmt.Errorf("read our DUID: %w", err)
	}
	m.AddOption(dhcpv6.OptClientID(own))
	if q.server != nil {
		server, err := dhcpv6.DUIDFromBytes(q.server)
		if err != nil {
			return nil, fmt.Errorf("read the server's DUID: %w", err)
		}
		m.AddOption(dhcpv6.OptServerID(server))
	}
	const longest = 0xffff * 10 * time.Millisecond // option 8 counts so, in 16 bits
	m.AddOption(dhcpv6.OptElapsedTime(min(q.since, longest)))
	ia := &dhcpv6.OptIANA{IaId: a.iaid()}
	if q.addr.IsValid() {
		ia.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: q.addr.AsSlice()})
	}
	m.AddOption(ia)
	return m.ToBytes(), nil
}

// answer6 returns the message in b if it answers x and is for us; else why not.
func (a Ask) answer6(b []byte, x xid6) (*dhcpv6.Message, error) {
	m, err := dhcpv6.MessageFromBytes(b)
	switch {
	case err != nil:
		return nil, fmt.Errorf("it is no DHCPv6 message")
	case m.TransactionID != x:
		return nil, fmt.Errorf("it answers somebody else")
	}
	if id := m.Options.ClientID(); id == nil || !bytes.Equal(id.ToBytes(), a.duid()) {
		return nil, fmt.Errorf("it is for somebody else")
	}
	return m, nil
}
