package witness

import (
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// Host is a network stack, at one of its addresses, that probes come from or go to.
type Host struct {
	Addr   netip.Addr
	Index  int                      // of the link that has the address; only a link-local one needs it
	Device string                   // a link or VRF that its sockets are bound to; "": none
	Run    func(func() error) error // calls a function on a thread in its namespace
}

// Objection is what came instead of an answer: an ICMP error.
type Objection struct {
	By   netip.Addr // who sent it; with an address of the host itself, its own kernel did
	Why  Reason
	MTU  int    // of the link that the packet did not fit on; 0: untold
	Text string // what it says, in the words of the RFC
}

// Reason is why a packet was not delivered.
type Reason int

// The reasons that differ in what mends them.
const (
	Unreachable Reason = iota // no route, or no answer from the last neighbour
	Prohibited                // a firewall rejects it
	TooBig                    // it does not fit, and must not be fragmented
	NoPort                    // nobody listens there
	OtherReason
)

// icmp4Texts returns the meaning of each type and code of ICMP. It is made when it is needed,
// and not at the start of every run.
func icmp4Texts() map[[2]byte]Objection {
	return map[[2]byte]Objection{
		{3, 0}:  {Why: Unreachable, Text: "network unreachable"},
		{3, 1}:  {Why: Unreachable, Text: "host unreachable"},
		{3, 2}:  {Why: OtherReason, Text: "protocol unreachable"},
		{3, 3}:  {Why: NoPort, Text: "port unreachable"},
		{3, 4}:  {Why: TooBig, Text: "fragmentation needed"},
		{3, 9}:  {Why: Prohibited, Text: "network administratively prohibited"},
		{3, 10}: {Why: Prohibited, Text: "host administratively prohibited"},
		{3, 13}: {Why: Prohibited, Text: "communication administratively prohibited"},
		{11, 0}: {Why: OtherReason, Text: "time to live exceeded"},
	}
}

// icmp6Texts is icmp4Texts for ICMPv6.
func icmp6Texts() map[[2]byte]Objection {
	return map[[2]byte]Objection{
		{1, 0}: {Why: Unreachable, Text: "no route to destination"},
		{1, 1}: {Why: Prohibited, Text: "communication administratively prohibited"},
		{1, 2}: {Why: Unreachable, Text: "beyond scope of source address"},
		{1, 3}: {Why: Unreachable, Text: "address unreachable"},
		{1, 4}: {Why: NoPort, Text: "port unreachable"},
		{1, 5}: {Why: Prohibited, Text: "source address failed ingress policy"},
		{1, 6}: {Why: Unreachable, Text: "reject route to destination"},
		{2, 0}: {Why: TooBig, Text: "packet too big"},
		{3, 0}: {Why: OtherReason, Text: "hop limit exceeded"},
	}
}

// objection reads an ICMP error by its type and code.
func objection(by netip.Addr, typ, code byte, mtu int) *Objection {
	texts := icmp4Texts()
	if by.Is6() {
		texts = icmp6Texts()
	}
	o, ok := texts[[2]byte{typ, code}]
	if !ok {
		o = Objection{Why: OtherReason, Text: fmt.Sprintf("ICMP type %d code %d", typ, code)}
	}
	o.By = by
	if o.Why == TooBig {
		o.MTU = mtu
	}
	return &o
}

// at is the address in the form of system calls.
func (h Host) at(a netip.Addr, port int) unix.Sockaddr {
	if a.Is4() {
		return &unix.SockaddrInet4{Addr: a.As4(), Port: port}
	}
	sa := &unix.SockaddrInet6{Addr: a.As16(), Port: port}
	if a.IsLinkLocalUnicast() || a.IsLinkLocalMulticast() {
		sa.ZoneId = uint32(h.Index)
	}
	return sa
}

// socket opens a socket of the host's that is bound to its address, and to a port if
// it has ports.
func (h Host) socket(kind, protocol, port int) (fd int, err error) {
	family := unix.AF_INET
	if h.Addr.Is6() {
		family = unix.AF_INET6
	}
	err = h.Run(func() (err error) {
		fd, err = unix.Socket(family, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, protocol)
		return os.NewSyscallError("socket", err)
	})
	if err != nil {
		return -1, err
	}
	if h.Device != "" {
		err = os.NewSyscallError("bind to "+h.Device, unix.BindToDevice(fd, h.Device))
	}
	if err == nil {
		err = os.NewSyscallError("bind", unix.Bind(fd, h.at(h.Addr, port)))
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// addrOf is the address of whoever sent something.
func addrOf(from unix.Sockaddr) netip.Addr {
	switch sa := from.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrFrom4(sa.Addr)
	case *unix.SockaddrInet6:
		return netip.AddrFrom16(sa.Addr)
	}
	return netip.Addr{}
}
