package lease

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/gopipework/gopipework/internal/hostaddr"
	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"
)

// lease6 reads an ADVERTISE or REPLY that came from the server at the address
// from, in answer to a message that was sent at. It has to be about the address
// want, or any if that is the zero Addr. Its error is a refusal, or says what is
// wrong with the message.
func (a Ask) lease6(m *dhcpv6.Message, from, want netip.Addr, at time.Duration) (Lease, error) {
	l := Lease{Server: from, At: at}
	if err := refused(m.Options.Status(), from); err != nil {
		return Lease{}, err
	}
	var err error
	if l.DUID, err = readDUID(m); err != nil {
		return Lease{}, err
	}
	ia, err := a.readIA(m)
	if err != nil {
		return Lease{}, err
	}
	if err := refused(ia.Options.Status(), from); err != nil {
		return Lease{}, err
	}
	got, err := readAddress6(ia, want)
	if err != nil {
		return Lease{}, err
	}
	if err := refused(got.Options.Status(), from); err != nil {
		return Lease{}, err
	}
	if want.IsValid() && got.ValidLifetime == 0 {
		return Lease{}, refusal{from, ": it takes " + want.String() + " back"}
	}
	addr, _ := netip.AddrFromSlice(got.IPv6Addr)
	l.Address = netip.PrefixFrom(addr, addr.BitLen())
	return l, l.readTimes6(ia, got)
}

// refused returns what a status other than success means: that there is nothing
// to have here, or that the server could not answer just now.
func refused(s *dhcpv6.OptStatusCode, from netip.Addr) error {
	if s == nil || s.StatusCode == iana.StatusSuccess {
		return nil
	}
	const most = 80
	text := fmt.Sprintf(": %s", s.StatusCode)
	if w := s.StatusMessage; w != "" {
		text += fmt.Sprintf(" (%q)", w[:min(len(w), most)])
	}
	switch s.StatusCode {
	case iana.StatusNoAddrsAvail, iana.StatusNoBinding, iana.StatusNotOnLink:
		return refusal{from, text}
	}
	return fmt.Errorf("the server %s could not answer%s", from, text)
}

// readDUID returns the server's (RFC 8415, section 11.1).
func readDUID(m *dhcpv6.Message) ([]byte, error) {
	const least, most = 3, 130
	id := m.Options.ServerID()
	if id == nil {
		return nil, fmt.Errorf("it does not say which server it is from")
	}
	b := id.ToBytes()
	if len(b) < least || len(b) > most {
		return nil, fmt.Errorf("it says which server it is from in %d bytes; a DUID has %d to %d", len(b), least, most)
	}
	return b, nil
}

func (a Ask) readIA(m *dhcpv6.Message) (*dhcpv6.OptIANA, error) {
	for _, ia := range m.Options.IANA() {
		if ia.IaId == a.iaid() {
			return ia, nil
		}
	}
	return nil, fmt.Errorf("it gives no address")
}

// readAddress6 returns the address want of an IA, or its first.
func readAddress6(ia *dhcpv6.OptIANA, want netip.Addr) (*dhcpv6.OptIAAddress, error) {
	for _, got := range ia.Options.Addresses() {
		addr, ok := netip.AddrFromSlice(got.IPv6Addr)
		if !ok || want.IsValid() && addr != want {
			continue
		}
		if why := hostaddr.Unleasable6(addr); why != "" {
			return nil, fmt.Errorf("it gives the address %s: %s", addr, why)
		}
		return got, nil
	}
	if want.IsValid() {
		return nil, fmt.Errorf("it does not mention %s, which was requested", want)
	}
	return nil, fmt.Errorf("it gives no address")
}

// readTimes6 takes the server's times where they make sense; T1 and T2 are else
// a half and four fifths of the preferred lifetime (RFC 8415, section 21.4).
func (l *Lease) readTimes6(ia *dhcpv6.OptIANA, got *dhcpv6.OptIAAddress) error {
	l.Time, l.Preferred = got.ValidLifetime, got.PreferredLifetime
	switch {
	case l.Time == 0 || l.Preferred == 0:
		return fmt.Errorf("it grants %s for 0s", l.Address.Addr())
	case l.Preferred > l.Time:
		return fmt.Errorf("it prefers %s for %v, which is valid for %v only", l.Address.Addr(), l.Preferred, l.Time)
	case ia.T2 > 0 && ia.T1 > ia.T2:
		return fmt.Errorf("its T1, %v, is after its T2, %v", ia.T1, ia.T2)
	}
	if l.Preferred == Forever {
		l.T1, l.T2 = Forever, Forever
		return nil
	}
	if l.T2 = ia.T2; l.T2 == 0 || l.T2 >= l.Time {
		l.T2 = l.Preferred / 5 * 4
	}
	if l.T1 = ia.T1; l.T1 == 0 || l.T1 >= l.T2 {
		l.T1 = min(l.Preferred/2, l.T2/8*5)
	}
	l.T1, l.T2 = paced(l.T1, l.T2, l.Time/2, l.Time/5*4)
	return nil
}
