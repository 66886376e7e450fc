package lease

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/gopipework/gopipework/internal/hostaddr"
	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/rfc1035label"
)

// ack is a good answer, changed by the modifiers.
func ack(t testing.TB, change ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	t.Helper()
	m, err := dhcpv4.New(append([]dhcpv4.Modifier{
		dhcpv4.WithMessageType(dhcpv4.MessageTypeAck),
		dhcpv4.WithYourIP(net.IP{10, 0, 0, 9}),
		dhcpv4.WithNetmask(net.IPMask{255, 255, 255, 0}),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IP{10, 0, 0, 1})),
		dhcpv4.WithLeaseTime(120),
	}, change...)...)
	if err != nil {
		t.Fatal(err)
	}
	m.OpCode = dhcpv4.OpcodeBootReply
	return m
}

func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }
func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

var byValue = cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})

func raw(code uint8, b ...byte) dhcpv4.Modifier {
	return dhcpv4.WithGeneric(dhcpv4.GenericOptionCode(code), b)
}

func TestReadLease(t *testing.T) {
	m := ack(t,
		raw(3, 10, 0, 0, 1, 10, 0, 0, 2), raw(26, 5, 0x78), raw(6, 10, 0, 0, 1, 0, 0, 0, 0, 8, 8, 8, 8),
		raw(15, []byte("lan.\x00")...), raw(58, 0, 0, 0, 30), raw(59, 0, 0, 0, 90),
		dhcpv4.WithOption(dhcpv4.OptDomainSearch(&rfc1035label.Labels{Labels: []string{"a.lan", "b\x1b[2J.lan", "_x.lan"}})))
	got, err := readLease(m, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	want := Lease{
		Address: prefix("10.0.0.9/24"), Server: addr("10.0.0.1"),
		Routes: []Route{{prefix("0.0.0.0/0"), addr("10.0.0.1"), addr("10.0.0.9")}},
		MTU:    1400, DNS: []netip.Addr{addr("10.0.0.1"), addr("8.8.8.8")}, Domain: "lan", Search: []string{"a.lan", "_x.lan"},
		At: time.Hour, T1: 30 * time.Second, T2: 90 * time.Second, Time: 2 * time.Minute,
	}
	if d := cmp.Diff(want, got, byValue); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestReadLeaseTimes(t *testing.T) {
	tests := []struct {
		name          string
		change        []dhcpv4.Modifier
		lease, t1, t2 time.Duration
	}{
		{"none of them", nil, 120 * time.Second, 60 * time.Second, 105 * time.Second},
		{"T1 after T2", []dhcpv4.Modifier{raw(58, 0, 0, 0, 110), raw(59, 0, 0, 0, 100)}, 120 * time.Second, 4 * 100 * time.Second / 7, 100 * time.Second},
		{"T2 after the end", []dhcpv4.Modifier{raw(58, 0, 0, 0, 10), raw(59, 0, 0, 1, 100)}, 120 * time.Second, 10 * time.Second, 105 * time.Second},
		{"zeros", []dhcpv4.Modifier{raw(58, 0, 0, 0, 0), raw(59, 0, 0, 0, 0)}, 120 * time.Second, 60 * time.Second, 105 * time.Second},
		{"one second", []dhcpv4.Modifier{dhcpv4.WithLeaseTime(1)}, time.Second, 500 * time.Millisecond, 875 * time.Millisecond},
		{"for ever", []dhcpv4.Modifier{dhcpv4.WithLeaseTime(0xffffffff), raw(58, 0, 0, 0, 9)}, Forever, Forever, Forever},
	}
	for _, tt := range tests {
		l, err := readLease(ack(t, tt.change...), 0)
		if err != nil || l.Time != tt.lease || l.T1 != tt.t1 || l.T2 != tt.t2 {
			t.Errorf("%s: %v %v %v %v, want %v %v %v", tt.name, l.Time, l.T1, l.T2, err, tt.lease, tt.t1, tt.t2)
		}
	}
}

func TestReadLeaseRoutes(t *testing.T) {
	tests := []struct {
		name   string
		change []dhcpv4.Modifier
		want   []string // DST GATEWAY
	}{
		{"121 wins over 3", []dhcpv4.Modifier{raw(3, 10, 0, 0, 1), raw(121, 8, 172, 10, 0, 0, 2)}, []string{"172.0.0.0/8 10.0.0.2"}},
		{"a default route in 121", []dhcpv4.Modifier{raw(121, 0, 10, 0, 0, 2)}, []string{"0.0.0.0/0 10.0.0.2"}},
		{"on link", []dhcpv4.Modifier{raw(121, 24, 10, 1, 0, 0, 0, 0, 0, 0, 10, 1, 0, 7)}, []string{"10.1.0.0/24 invalid IP", "0.0.0.0/0 10.1.0.7"}},
		{"bits beyond the mask", []dhcpv4.Modifier{raw(121, 9, 172, 255, 10, 0, 0, 2)}, []string{"172.128.0.0/9 10.0.0.2"}},
		{"a router outside", []dhcpv4.Modifier{raw(1, 255, 255, 255, 255), raw(3, 10, 0, 9, 1)}, []string{"10.0.9.1/32 invalid IP", "0.0.0.0/0 10.0.9.1"}},
		{"twice the same", []dhcpv4.Modifier{raw(121, 0, 10, 0, 0, 2, 0, 10, 0, 0, 3)}, []string{"0.0.0.0/0 10.0.0.2"}},
	}
	for _, tt := range tests {
		l, err := readLease(ack(t, tt.change...), 0)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		var got []string
		for _, r := range l.Routes {
			got = append(got, r.Dst.String()+" "+r.Gateway.String())
			if r.Source != l.Address.Addr() {
				t.Errorf("%s: the source of %v is %v", tt.name, r.Dst, r.Source)
			}
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestReadLeaseRefuses(t *testing.T) {
	yours := func(a, b, c, d byte) dhcpv4.Modifier { return dhcpv4.WithYourIP(net.IP{a, b, c, d}) }
	tests := []struct {
		name   string
		change dhcpv4.Modifier
		want   string
	}{
		{"no address", yours(0, 0, 0, 0), "unspecified"},
		{"multicast", yours(224, 0, 0, 1), "multicast"},
		{"loopback", yours(127, 0, 0, 1), "loopback"},
		{"broadcast", yours(255, 255, 255, 255), "the broadcast address"},
		{"network address", yours(10, 0, 0, 0), "network address"},
		{"broadcast address", yours(10, 0, 0, 255), "broadcast address"},
		{"no mask", dhcpv4.WithoutOption(dhcpv4.OptionSubnetMask), "without a subnet mask"},
		{"mask 0", raw(1, 0, 0, 0, 0), "invalid subnet mask 0.0.0.0"},
		{"mask of half the net", raw(1, 128, 0, 0, 0), "begins in 0.0.0.0/8"},
		{"mask of a sixteenth", raw(1, 240, 0, 0, 0), "begins in 0.0.0.0/8"},
		{"mask with holes", raw(1, 255, 0, 255, 0), "invalid subnet mask 255.0.255.0"},
		{"long mask", raw(1, 255, 255, 255, 0, 0), "without a subnet mask"},
		{"no lease time", dhcpv4.WithoutOption(dhcpv4.OptionIPAddressLeaseTime), "no lease time"},
		{"lease time 0", dhcpv4.WithLeaseTime(0), "no lease time, or 0"},
		{"no server", dhcpv4.WithoutOption(dhcpv4.OptionServerIdentifier), "which server"},
		{"two servers", raw(54, 10, 0, 0, 1, 10, 0, 0, 2), "which server"},
		{"nonsense server", raw(54, 0, 0, 0, 0), "unspecified"},
	}
	for _, tt := range tests {
		l, err := readLease(ack(t, tt.change), 0)
		if err == nil {
			t.Errorf("%s: accepted as %+v", tt.name, l)
			continue
		}
		if !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %q does not say %q", tt.name, err, tt.want)
		}
	}
}

func TestReadLeaseIgnores(t *testing.T) {
	for name, change := range map[string]dhcpv4.Modifier{
		"small MTU":       raw(26, 0, 68),
		"long MTU":        raw(26, 1, 2, 3),
		"half an address": raw(6, 10, 0, 0),
		"bad search list": raw(119, 200, 1),
		"looping search":  raw(119, 0xc0, 0),
		"bad domain":      raw(15, []byte("a;reboot")...),
	} {
		l, err := readLease(ack(t, change), 0)
		if err != nil || l.MTU != 0 || l.DNS != nil || l.Search != nil || l.Domain != "" {
			t.Errorf("%s: %+v, %v", name, l, err)
		}
	}
}

func FuzzReadLease(f *testing.F) {
	f.Add(ack(f, raw(121, 8, 172, 10, 0, 0, 2), raw(119, 1, 'a', 0)).ToBytes())
	f.Add(ack(f, raw(3, 10, 0, 9, 9)).ToBytes())
	f.Add(ack(f, dhcpv4.WithLeaseTime(0x7fffffff)).ToBytes())
	f.Add(ack(f, dhcpv4.WithLeaseTime(0xfffffffe), raw(58, 0, 0, 0, 1), raw(59, 0xff, 0xff, 0xff, 0xfd)).ToBytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := dhcpv4.FromBytes(b)
		if err != nil {
			return
		}
		l, err := readLease(m, 0)
		if err != nil {
			return
		}
		if l.Time != Forever && (l.T1 < min(l.Time/2, soonest) || l.T2 < l.T1) {
			t.Fatalf("asks again after %v and %v of %v", l.T1, l.T2, l.Time)
		}
		if hostaddr.Unleasable4(l.Address.Addr()) != "" || l.Address.Bits() == 0 || l.Time <= 0 || l.T1 > l.T2 || l.T2 > l.Time || len(l.Routes) > 2*maxRoutes {
			t.Fatalf("accepted %+v", l)
		}
	})
}
