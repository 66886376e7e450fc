package spec

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseRoutesRefuses(t *testing.T) {
	for _, tt := range []struct {
		routes string // with blanks between them, "=" in each
		says   string
		hint   string // "" for none wanted
	}{
		{"", "not ADDRESS/PREFIX", "10.0.5.0/24"},
		{"10.0.5.0", "no prefix length", "10.0.5.0/32"},
		{"10.0.5.1/24", "bits beyond", "10.0.5.0/24"},
		{"10.0.5.0/33", "not ADDRESS/PREFIX", ""},
		{"010.0.5.0/24", "not ADDRESS/PREFIX", ""},
		{"2001:db8::1/64", "bits beyond", "2001:db8::/64"},
		{"2001:db8:5::/48", "no address of its family", ""},
		{"224.0.0.0/4", "multicast", ""},
		{"127.0.0.0/8", "loopback", ""},
		{"::ffff:10.0.0.0/104", "written as IPv6", ""},
		{"0.0.0.0/8", "unspecified", ""},
		{"10.0.5.0/0", "bits beyond", "0.0.0.0/0"},
		{"0.0.0.0/0", "default route", "@GATEWAY"},
		{"0.0.0.0/0,table=254", "default route", "@GATEWAY"},
		{"default", "not ADDRESS/PREFIX", ""},
		{"default,via=192.168.1.1", "default route", "table N"},
		{"192.168.1.0/24", "brings that route", ""},
		{"10.9.9.9/32", "the gateway brings that route", ""},
		{"10.0.5.0/24,via=10.7.0.1", "is in no subnet of the new interface", "--route 10.7.0.1/32"},
		{"10.0.5.0/24,via=10.6.0.1 10.6.0.0/24,table=9", "is in no subnet of the new interface", ""},
		{"10.0.5.0/24,via=192.168.1.2", "own address", ""},
		{"10.0.5.0/24,via=192.168.1.255", "broadcast", ""},
		{"10.0.5.0/24,via=2001:db8::1", "no address of its family", ""},
		{"10.0.5.0/24,via", "not an IP address", ""},
		{"10.0.5.0/24,via=192.168.1.1,via=192.168.1.3", "not via, metric or table", ""},
		{"10.0.5.0/24,metric=0", "from 1 to", ""},
		{"10.0.5.0/24,metric=4294967296", "from 1 to", ""},
		{"10.0.5.0/24,table=0", "from 1 to", ""},
		{"10.0.5.0/24,table=255", "kernel's own", ""},
		{"10.0.5.0/24,table=264801", "--source-routing", ""},
		{"10.0.5.0/24,dev=eth0", "not via, metric or table", ""},
		{"10.0.5.0/24,", "not via, metric or table", ""},
		{"10.0.5.0/24 10.0.5.0/24,via=192.168.1.1", "same destination", "metric N"},
		{"10.0.5.0/24\x1b", "not ADDRESS/PREFIX", ""},
	} {
		t.Run(tt.routes, func(t *testing.T) {
			w := good()
			w.Address, w.Routes = "192.168.1.2/24@10.9.9.9", strings.Split(tt.routes, " ")
			refuses(t, w, tt.says, tt.hint)
		})
	}
}

// FuzzParseRoutes: no route makes it panic, and what it accepts prints to words
// that parse to the same.
func FuzzParseRoutes(f *testing.F) {
	f.Add("192.168.1.2/24@10.9.9.9", "10.0.5.0/24,via 192.168.1.3", "10.6.0.0/16,metric=5,table=7", "50", "keep")
	f.Add("2001:db8::2/64@fe80::1", "default,via fe80::2,table 9", "2001:db8:5::/48", "", "front")
	f.Fuzz(func(t *testing.T, address, first, second, metric, place string) {
		w := good()
		w.Address, w.Routes, w.Metric, w.Default, w.SourceRouting = address, []string{first, second}, metric, place, true
		s, err := Parse(w, kinds)
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
