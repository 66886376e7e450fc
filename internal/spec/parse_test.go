package spec

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"net/netip"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/gopipework/gopipework/internal/fault"
)

// good is a line that parses; a test replaces one word of it.
func good() Words { return Words{HostIF: "br1", Guest: "web", Address: "192.168.1.2/24"} }

func TestParseRefuses(t *testing.T) {
	set := map[string]func(*Words, string){
		"hostif": func(w *Words, v string) { w.HostIF = v },
		"guest":  func(w *Words, v string) { w.Guest = v },
		"addr":   func(w *Words, v string) { w.Address = v },
		"mac":    func(w *Words, v string) { w.MAC = v },
		"-i":     func(w *Words, v string) { w.IfName = v },
		"-l":     func(w *Words, v string) { w.HostName = v },
		"-a":     func(w *Words, v string) { w.Family = v },
		"mtu":    func(w *Words, v string) { w.MTU = v },
		"mode":   func(w *Words, v string) { w.Mode = v },
		"sysctl": func(w *Words, v string) { w.Sysctls = strings.Split(v, " ") },
	}
	tests := []struct {
		word, value string
		says        string // in the error
		hint        string // in the hint; "" for none wanted
	}{
		{"addr", "", "not ADDRESS/PREFIX", "0/0"},
		{"addr", "slaac:", "no such option", "slaac:route-info=64"},
		{"addr", "slaac:route-info=129", "no such value", "slaac:route-info=64"},
		{"addr", "slaac:privacy=yes", "no such value", "privacy=on"},
		{"addr", "slaac:privacy=on,privacy=off", "given twice", ""},
		{"addr", "slaac:timeout=3s", "no such option", "slaac:route-info=64"},
		{"sysctl", "ipv4.rp_filter", "no value", "ipv4.KEY=VALUE"},
		{"sysctl", "ipv4.rp_filter=", "no value", "ipv4.KEY=VALUE"},
		{"sysctl", "net.ipv4.ip_forward=1", "not a sysctl of an interface", "ipv4.KEY=VALUE"},
		{"sysctl", "net.ipv4.conf.all.rp_filter=1", "names the interface all: write IFNAME", "ipv4.KEY=VALUE"},
		{"sysctl", "kernel.hostname=web", "not a sysctl of an interface", "ipv4.KEY=VALUE"},
		{"sysctl", "ipv4.../../x=1", "not a sysctl of an interface", "ipv4.KEY=VALUE"},
		{"sysctl", "ipv4.rp_filter=1\n", "not printable", "ipv4.KEY=VALUE"},
		{"sysctl", "ipv4.rp_filter=1 ipv4/conf/IFNAME/rp_filter=2", "rp_filter is given twice", ""},
		{"addr", "192.168.1.2", "no prefix length", "192.168.1.2/24"},
		{"addr", "2001:db8::2", "no prefix length", "2001:db8::2/64"},
		{"addr", "192.168.1.256/24", "not ADDRESS/PREFIX", ""},
		{"addr", "192.168.1.256/24", `PREFIX: "192.168.1.256" is no IP address`, "192.168.1.2/24"},
		{"addr", "10.0.0.1/33", "its prefix length is no number from 0 to 32", ""},
		{"addr", "10.0.0.1/8,,10.0.0.2/8", "on either side of each comma", "without spaces"},
		{"addr", "dhcp,2001:db8::2/64", "dhcp must be the only word", "a second interface"},
		{"addr", "192.168.1.2/24,slaac", "slaac must be the only word", "a second interface"},
		{"addr", "dhcp@10.0.0.1", "dhcp must be the only word", "a second interface"},
		{"addr", "192.168.1/24", "not ADDRESS/PREFIX", ""},
		{"addr", "192.168.1.2.3/24", "not ADDRESS/PREFIX", ""},
		{"addr", "010.0.0.1/8", "not ADDRESS/PREFIX", ""}, // "ip" reads 8.0.0.1
		{"addr", "10.0.0.01/8", "not ADDRESS/PREFIX", ""},
		{"addr", "10.0.0.1/33", "not ADDRESS/PREFIX", ""},
		{"addr", "10.0.0.1/-1", "not ADDRESS/PREFIX", ""},
		{"addr", "10.0.0.1/08", "not ADDRESS/PREFIX", ""},
		{"addr", "2001:db8::2/129", "not ADDRESS/PREFIX", ""},
		{"addr", "fe80::1%eth0/64", "not ADDRESS/PREFIX", ""},
		{"addr", "10.0.0.1/0", "prefix length of 0", "0/0"},
		{"addr", "10.0.0.2/4", "begins in 0.0.0.0/8", "10.0.0.2/24"},
		{"addr", "192.168.1.0/24", "network address", "192.168.1.1/24"},
		{"addr", "192.168.1.255/24", "broadcast address", ""},
		{"addr", "255.255.255.255/32", "broadcast address", ""},
		{"addr", "2001:db8::/64", "anycast", "2001:db8::1/64"},
		{"addr", "224.0.0.1/24", "multicast", ""},
		{"addr", "ff02::1/64", "multicast", ""},
		{"addr", "127.0.0.2/8", "loopback", ""},
		{"addr", "::1/128", "loopback", ""},
		{"addr", "10.0.0.1/8,0.0.0.0/8", "unspecified", ""},
		{"addr", "0.0.0.0", "no prefix length", "0/0"},
		{"addr", "::", "no prefix length", "0/0"},
		{"addr", "0/33", "not ADDRESS/PREFIX", "0/0"},
		{"addr", "0/", "not ADDRESS/PREFIX", "0/0"},
		{"addr", "0.0.0.0/24@10.0.0.1", "needs an address", ""},
		{"addr", "::/0@fe80::1", "needs an address", ""},
		{"addr", "0.0.0.1/8", "this network", ""},
		{"addr", "::/64,2001:db8::2/64", "unspecified", ""},
		{"addr", "::ffff:10.0.0.1/120", "written as IPv6", ""},
		{"addr", "10.0.0.1/8,10.0.0.1/16", "twice", ""},
		{"addr", "10.0.0.1/8,", "not ADDRESS/PREFIX", ""},
		{"addr", "10.0.0.1/8\n", "not ADDRESS/PREFIX", ""},
		{"addr", "0/0@10.0.0.1", "needs an address", ""},
		{"addr", "10.0.0.2/8@", "not an IP address", ""},
		{"addr", "10.0.0.2/8@10.0.0.256", "not an IP address", ""},
		{"addr", "10.0.0.2/8@10.0.0.2", "own address", ""},
		{"addr", "10.0.0.2/8@2001:db8::1", "no address of its family", ""},
		{"addr", "10.0.0.2/8@10.0.0.1,10.0.0.3", "one of its family already", ""},
		{"addr", "10.0.0.2/8@10.0.0.1@10.0.0.3", "not an IP address", ""},
		{"addr", "10.0.0.2/8@10.0.0.0", "network address", ""},
		{"addr", "10.0.0.2/8@10.255.255.255", "broadcast address", ""},
		{"addr", "10.0.0.2/8@127.0.0.1", "loopback", ""},
		{"addr", "2001:db8::2/64@fe80::1%eth1", "no zone", "fe80::1"},
		{"mac", "26:2e:71:98:60", "six pairs", "U:"},
		{"mac", "26:2e:71:98:60:8f:01", "six pairs", ""},
		{"mac", "26:2e:71:98:60:8f:01:02", "six pairs", ""},
		{"mac", "26:2e:71:98:60:zz", "six pairs", ""},
		{"mac", "262e7198608f", "six pairs", ""},
		{"mac", "262e.7198.608f", "six pairs", ""},
		{"mac", "01:00:5e:00:00:01", "multicast", "even"},
		{"mac", "ff:ff:ff:ff:ff:ff", "multicast", ""},
		{"mac", "00:00:00:00:00:00", "all zeros", ""},
		{"mac", "U", "six pairs", "U:"},
		{"mac", "@", "from 1 to 4094", "@10"},
		{"mac", "@vlan", "from 1 to 4094", ""},
		{"mac", "192.168.1.3/24", "six pairs", "one word: 192.168.1.2/24,192.168.1.3/24"},
		{"mac", "2001:db8::2/64", "six pairs", "one word: 192.168.1.2/24,2001:db8::2/64"},
		{"mac", "192.168.1.1", "six pairs", "without a space: 192.168.1.2/24@192.168.1.1"},
		{"mac", "@192.168.1.1", "from 1 to 4094", "without a space: 192.168.1.2/24@192.168.1.1"},
		{"mac", "@10@20", "from 1 to 4094", ""},
		{"-i", "ethernet-number1", "longer than the kernel's 15", ""},
		{"-i", ".", "letters, digits", ""},
		{"-i", "..", "letters, digits", ""},
		{"-i", "a/b", "letters, digits", ""},
		{"-i", "a:b", "letters, digits", ""},
		{"-i", "a b", "letters, digits", ""},
		{"-i", "eth%d", "letters, digits", ""},
		{"-i", "-h", "letters, digits", ""},
		{"-i", "eth\x1b", "letters, digits", ""},
		{"-i", "eth1\n", "letters, digits", ""},
		{"-i", "all", "reserved", ""},
		{"-i", "default", "reserved", ""},
		{"-l", "host-end-number-1", "longer than the kernel's 15", ""},
		{"hostif", "", "empty", ""},
		{"hostif", "bridge:", "empty", ""},
		{"hostif", "a$(id)", "letters, digits", ""},
		{"hostif", "switch:br1", `no kind "switch"`, "bridge:"},
		{"hostif", "mac:00:f3", "six pairs", ""},
		{"guest", "", "empty", ""},
		{"-a", "5", "no such family", "-a 4"},
		{"-a", "6", "not of the family", "leave -a out"},
		{"mtu", "67", "from 68 to 65535", ""},
		{"mtu", "1e3", "from 68 to 65535", ""},
		{"mtu", "65536", "from 68 to 65535", ""},
		{"mode", "l4", "no such mode", "l3s"},
	}
	for _, tt := range tests {
		t.Run(tt.word+" "+tt.value, func(t *testing.T) {
			w := good()
			set[tt.word](&w, tt.value)
			refuses(t, w, tt.says, tt.hint)
		})
	}
}

// refuses fails unless the line is a usage error that says so and has that in its hint.
func refuses(t *testing.T, w Words, says, hint string) {
	t.Helper()
	s, err := Parse(w, kinds)
	if fault.CodeOf(err) != fault.Usage {
		t.Fatalf("Parse = %+v, %v; want a usage error", s, err)
	}
	if !strings.Contains(err.Error(), says) {
		t.Errorf("error %q does not say %q", err, says)
	}
	var f *fault.Error
	if errors.As(err, &f); !strings.Contains(f.Hint, hint) {
		t.Errorf("hint %q does not say %q", f.Hint, hint)
	}
	if strings.ContainsAny(err.Error(), "\n\x1b") {
		t.Errorf("error %q holds a raw control byte", err)
	}
}

func TestParseIPv6NeedsMTU(t *testing.T) {
	w := good()
	w.Address, w.MTU = "2001:db8::2/64", "1279"
	if _, err := Parse(w, kinds); fault.CodeOf(err) != fault.Usage {
		t.Errorf("MTU 1279 with IPv6: %v; want a usage error", err)
	}
}

// TestParseSameMAC holds U: against what pipework computes: 02: and the first
// five bytes of "echo TEXT | md5sum".
func TestParseSameMAC(t *testing.T) {
	w := good()
	w.MAC = "U:myhost.foo.com@7"
	s, err := Parse(w, kinds)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := s.MAC.String(), "02:72:6c:cd:9b:8d"; got != want || s.VLAN != "7" {
		t.Errorf("MAC = %s, VLAN = %q; want %s, 7", got, s.VLAN, want)
	}
}

var compareSpecs = cmp.Options{
	cmpopts.EquateEmpty(),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
}

// FuzzParse: no words make it panic, and what it accepts prints to words that
// parse to the same.
func FuzzParse(f *testing.F) {
	f.Add("br1", "web", "192.168.1.2/24", "", "", "", "", "")
	f.Add("ovs:x", "pid:1", "10.0.0.2/8,2001:db8::2/64@10.0.0.1,fe80::1", "U:a@10,20-30", "eth7", "h1", "", "1400")
	f.Add("mac:00:f3:15:4a:42:c8", "/run/netns/x", "0/0", "26:2e:71:98:60:8f@10t", "", "", "6", "")
	f.Fuzz(func(t *testing.T, hostIF, guest, address, mac, ifName, hostName, family, mtu string) {
		s, err := Parse(Words{HostIF: hostIF, Guest: guest, Address: address, MAC: mac,
			IfName: ifName, HostName: hostName, Family: family, MTU: mtu}, kinds)
		if err != nil {
			return
		}
		again, err := Parse(s.Words(), kinds)
		if err != nil {
			t.Fatalf("%+v prints to %+v, which is refused: %v", s, s.Words(), err)
		}
		if diff := cmp.Diff(s, again, compareSpecs); diff != "" {
			t.Errorf("parsed, printed and parsed again (-first +again):\n%s", diff)
		}
	})
}

// Pipework's users write several words for an interface without an address.
func TestParseNoAddress(t *testing.T) {
	for _, word := range []string{"0/0", "0/24", "0.0.0.0/0", "0.0.0.0/24", "0.0.0.0/32", "::/0", "::/64"} {
		w := good()
		w.Address = word
		s, err := Parse(w, kinds)
		if err != nil || len(s.Addrs) != 0 || s.AddressWord() != "0/0" {
			t.Errorf("%s: %v, %v; want no address", word, s.Addrs, err)
		}
	}
}

// kinds are those that the tests know.
var kinds = []Kind{KindBridge, KindOVS, KindMacvlan, KindIPvlan, KindVLAN, KindPhys, KindDummy, KindIPoIB}

// TestWordsOfFlags: each flag of an attach that stands alone is still there when what was
// parsed is printed and parsed again, and each changes what is asked for.
func TestWordsOfFlags(t *testing.T) {
	plain, err := Parse(good(), kinds)
	if err != nil {
		t.Fatal(err)
	}
	flags := 0
	for i := range reflect.TypeFor[Words]().NumField() {
		w := good()
		if f := reflect.ValueOf(&w).Elem().Field(i); f.Kind() == reflect.Bool {
			f.SetBool(true)
		} else {
			continue
		}
		flags++
		name := reflect.TypeFor[Words]().Field(i).Name
		s, err := Parse(w, kinds)
		if err != nil || cmp.Equal(s, plain, compareSpecs) {
			t.Errorf("%s: %v, or it asks for nothing", name, err)
			continue
		}
		again, err := Parse(s.Words(), kinds)
		if diff := cmp.Diff(s, again, compareSpecs); err != nil || diff != "" {
			t.Errorf("%s, printed and parsed again (-first +again): %v\n%s", name, err, diff)
		}
	}
	if flags < 9 {
		t.Errorf("%d flags were tried, of at least 9", flags)
	}
}

// TestAlone: dummy0 is a dummy as well as dummy is, and a name that begins otherwise is shared.
func TestAlone(t *testing.T) {
	for word, want := range map[string]bool{
		"dummy": true, "dummy0": true, "phys:eth1": true, "brtest": false, "eth1": false, "bridge:dummy0": false,
	} {
		if h, err := ParseHostIF(word, false, kinds); err != nil || h.Alone() != want {
			t.Errorf("%s: alone: %v, %v; want %v", word, h.Alone(), err, want)
		}
	}
}
