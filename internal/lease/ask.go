package lease

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// Ask is what a client says about itself on one interface: all that is needed
// to go on with a lease.
type Ask struct {
	Kind           Kind       `json:"kind,omitempty"`
	IfName         string     `json:"interface"` // as it was called at first
	Index          int        `json:"index"`     // of the interface in the guest: a guest can rename it
	Hostname       string     `json:"hostname,omitempty"`
	ClientID       []byte     `json:"client_id"`
	VendorClass    string     `json:"vendor_class"`
	Request        netip.Addr `json:"request"`             // the zero Addr: any
	Broadcast      bool       `json:"broadcast,omitempty"` // it cannot hear unicast before it has the address (ipvlan)
	NoDefaultRoute bool       `json:"no_default_route,omitempty"`
	ACD            bool       `json:"acd,omitempty"` // ask whether somebody has the address before it is taken

	LeaseTime time.Duration `json:"lease_time,omitempty"` // where the server says none; 0: such an answer is of no use
	Bits      int           `json:"bits,omitempty"`       // the prefix length, where the server says none; 0: the same

	Behind bool `json:"behind,omitempty"` // the server's default route goes behind the guest's own
	Metric int  `json:"metric,omitempty"` // of that default route; 0: whatever puts it in its place

	Routes []Asked `json:"routes,omitempty"` // beside those of the server, whose place they take

	Access *Access `json:"access,omitempty"` // the host reaches the leased address too; nil: it does not

	Neighbour *Access `json:"neighbour,omitempty"` // the bridge has the leased address as a permanent neighbour; nil: it does not

	Table int `json:"table,omitempty"` // where replies from the leased address are looked up; 0: where everything is
}

// Access is something of the host's that follows a leased address.
type Access struct {
	Host   uint64 `json:"host"`   // cookie of the host's namespace
	Parent int    `json:"parent"` // index of the card, or the bridge, there that the interface is on
}

// Asked is a route that the interface is to have whenever it has a lease.
type Asked struct {
	Dst    netip.Prefix `json:"dst"`
	Via    netip.Addr   `json:"via"` // the zero Addr: on link
	Metric int          `json:"metric,omitempty"`
	Table  int          `json:"table,omitempty"` // 0: main
}

// Identity is who asks. Names are as in the mark of an attachment.
type Identity struct {
	Runtime string // "docker", "pid", "netns"
	ID      string // what stays the same as long as the guest is the same one
	Name    string // for option 12
}

// ByMAC has the server know the client by a MAC address that was chosen for it,
// as most clients say it (RFC 2132, section 9.14; DUID-LL, RFC 8415, section
// 11.4): a container that is made again under the same address gets its lease
// again.
func (a Ask) ByMAC(mac net.HardwareAddr) Ask {
	const ethernet = 1
	if a.Kind == DHCPv6 {
		const duidLL = 3
		a.ClientID = append(slices.Clip(a.ClientID[:5]), 0, duidLL, 0, ethernet)
	} else {
		a.ClientID = []byte{ethernet}
	}
	a.ClientID = append(a.ClientID, mac...)
	return a
}

const vendorClass = "gopipework"

// NewAsk fills in what the options leave open.
func NewAsk(o Options, who Identity, ifName string, index int) Ask {
	a := Ask{IfName: ifName, Index: index, Hostname: o.Hostname, ClientID: o.ClientID,
		VendorClass: o.VendorClass, Request: o.Request, NoDefaultRoute: o.NoDefaultRoute,
		LeaseTime: o.LeaseTime, Bits: o.Bits}
	if a.Hostname == "" {
		a.Hostname = toHostname(who.Name)
	}
	if a.ClientID == nil {
		a.ClientID = clientID(who, ifName)
	}
	if a.VendorClass == "" {
		a.VendorClass = vendorClass
	}
	return a
}

// clientID is the type 255, an IAID from the interface's name and a DUID-UUID
// from the guest's identity (RFC 4361, section 6.1, RFC 6355): the same guest
// gets the same address on the same interface, whatever its MAC address.
func clientID(who Identity, ifName string) []byte {
	const rfc4361, duidUUID = 255, 4
	guest := sha256.Sum256([]byte("gopipework\x00" + who.Runtime + "\x00" + who.ID))
	iaid := sha256.Sum256([]byte(ifName))
	id := append([]byte{rfc4361}, iaid[:4]...)
	id = binary.BigEndian.AppendUint16(id, duidUUID)
	return append(id, guest[:16]...)
}

// parameters are the options that we ask for, most wanted first: a server that
// lacks room leaves the last ones out. 121 has to come before 3 (RFC 3442).
var parameters = []dhcpv4.OptionCode{
	dhcpv4.OptionSubnetMask, dhcpv4.OptionClasslessStaticRoute, dhcpv4.OptionRouter,
	dhcpv4.OptionIPAddressLeaseTime, dhcpv4.OptionRenewTimeValue, dhcpv4.OptionRebindingTimeValue,
	dhcpv4.OptionInterfaceMTU, dhcpv4.OptionBroadcastAddress,
	dhcpv4.OptionDomainNameServer, dhcpv4.OptionDomainName, dhcpv4.OptionDNSDomainSearchList,
}

// maxMessage is what we take in one piece (option 57): the smallest MTU of an
// Ethernet link.
const maxMessage = 1500

// xid identifies one exchange. It is hard to guess: an answer that has it was
// made by somebody who saw the question.
type xid = dhcpv4.TransactionID

func newXID() (x xid) {
	_, _ = rand.Read(x[:]) // never fails (crypto/rand)
	return x
}

// message returns a message of the kind with what all kinds but RELEASE and DECLINE carry.
func (a Ask) message(kind dhcpv4.MessageType, mac net.HardwareAddr, x xid) *dhcpv4.DHCPv4 {
	m := a.bare(kind, mac, x)
	m.UpdateOption(dhcpv4.OptParameterRequestList(parameters...))
	m.UpdateOption(dhcpv4.OptMaxMessageSize(maxMessage))
	m.UpdateOption(dhcpv4.OptClassIdentifier(a.VendorClass))
	if a.Hostname != "" {
		m.UpdateOption(dhcpv4.OptHostName(a.Hostname))
	}
	return m
}

func (a Ask) bare(kind dhcpv4.MessageType, mac net.HardwareAddr, x xid) *dhcpv4.DHCPv4 {
	m := &dhcpv4.DHCPv4{
		OpCode: dhcpv4.OpcodeBootRequest, HWType: 1, ClientHWAddr: mac, TransactionID: x,
		ClientIPAddr: net.IPv4zero, YourIPAddr: net.IPv4zero, ServerIPAddr: net.IPv4zero, GatewayIPAddr: net.IPv4zero,
		Options: dhcpv4.Options{},
	}
	m.UpdateOption(dhcpv4.OptMessageType(kind))
	m.UpdateOption(dhcpv4.OptClientIdentifier(a.ClientID))
	return m
}

// discover, selecting, extend, release and decline are the messages of RFC 2131, table 5.
func (a Ask) discover(mac net.HardwareAddr, x xid) *dhcpv4.DHCPv4 {
	m := a.message(dhcpv4.MessageTypeDiscover, mac, x)
	if a.Request.IsValid() {
		m.UpdateOption(dhcpv4.OptRequestedIPAddress(a.Request.AsSlice()))
	}
	a.setBroadcast(m)
	return m
}

func (a Ask) selecting(mac net.HardwareAddr, x xid, offer Lease) *dhcpv4.DHCPv4 {
	m := a.message(dhcpv4.MessageTypeRequest, mac, x)
	m.UpdateOption(dhcpv4.OptRequestedIPAddress(offer.Address.Addr().AsSlice()))
	m.UpdateOption(dhcpv4.OptServerIdentifier(offer.Server.AsSlice()))
	a.setBroadcast(m)
	return m
}

func (a Ask) extend(mac net.HardwareAddr, x xid, l Lease) *dhcpv4.DHCPv4 {
	m := a.message(dhcpv4.MessageTypeRequest, mac, x)
	m.ClientIPAddr = l.Address.Addr().AsSlice()
	return m
}

func (a Ask) release(mac net.HardwareAddr, x xid, l Lease) *dhcpv4.DHCPv4 {
	m := a.bare(dhcpv4.MessageTypeRelease, mac, x)
	m.ClientIPAddr = l.Address.Addr().AsSlice()
	m.UpdateOption(dhcpv4.OptServerIdentifier(l.Server.AsSlice()))
	return m
}

// decline says that somebody has the address already (RFC 2131, section 4.4.4).
func (a Ask) decline(mac net.HardwareAddr, x xid, l Lease) *dhcpv4.DHCPv4 {
	m := a.bare(dhcpv4.MessageTypeDecline, mac, x)
	m.UpdateOption(dhcpv4.OptRequestedIPAddress(l.Address.Addr().AsSlice()))
	m.UpdateOption(dhcpv4.OptServerIdentifier(l.Server.AsSlice()))
	return m
}

func (a Ask) setBroadcast(m *dhcpv4.DHCPv4) {
	if a.Broadcast {
		m.SetBroadcast()
	}
}

// errCutShort is an answer to us whose options cannot be read.
var errCutShort = errors.New("it is cut short, or malformed")

// answer returns the message in b if it answers x, sent by mac; else why not.
func answer(b []byte, mac net.HardwareAddr, x xid) (*dhcpv4.DHCPv4, error) {
	m, err := dhcpv4.FromBytes(b)
	switch {
	case err != nil && len(b) >= 34 && dhcpv4.OpcodeType(b[0]) == dhcpv4.OpcodeBootReply && xid(b[4:8]) == x && slices.Equal(b[28:34], mac):
		return nil, errCutShort
	case err != nil:
		return nil, fmt.Errorf("it is no DHCP message")
	case m.OpCode != dhcpv4.OpcodeBootReply:
		return nil, fmt.Errorf("it is a client's, not a server's")
	case m.TransactionID != x:
		return nil, fmt.Errorf("it answers somebody else")
	case !slices.Equal(m.ClientHWAddr, mac):
		return nil, fmt.Errorf("it is for the MAC address %s", m.ClientHWAddr)
	}
	return m, nil
}

// reason returns what a server says about its refusal (option 56), safe to print.
func reason(m *dhcpv4.DHCPv4) string {
	const most = 80
	b := m.Options.Get(dhcpv4.OptionMessage)
	s := strings.TrimRight(string(b[:min(len(b), most)]), "\x00")
	if s == "" {
		return ""
	}
	return fmt.Sprintf(": %q", s)
}

// lease reads an ACK or offer as the Ask wants it.
func (a Ask) lease(m *dhcpv4.DHCPv4, at time.Duration) (Lease, error) {
	a.fill(m.Options)
	l, err := readLease(m, at)
	if a.NoDefaultRoute {
		l.Routes = slices.DeleteFunc(l.Routes, Route.Default)
	}
	return a.Of(l), err
}

// Of returns a lease without the routes whose place those of the Ask take.
func (a Ask) Of(l Lease) Lease {
	l.Routes = slices.DeleteFunc(slices.Clone(l.Routes), func(r Route) bool {
		return slices.ContainsFunc(a.Routes, func(o Asked) bool { return o.Dst == r.Dst && o.Metric == 0 && o.Table == 0 })
	})
	return l
}

// fill puts what was given on the line in the place of what a server leaves out.
func (a Ask) fill(o dhcpv4.Options) {
	if ones, err := readMask(o); a.Bits != 0 && (err != nil || ones < 8) {
		o.Update(dhcpv4.OptSubnetMask(net.CIDRMask(a.Bits, 32)))
	}
	if d, ok := readSeconds(o, dhcpv4.OptionIPAddressLeaseTime); a.LeaseTime != 0 && (!ok || d == 0) {
		o.Update(dhcpv4.OptIPAddressLeaseTime(a.LeaseTime))
	}
}
