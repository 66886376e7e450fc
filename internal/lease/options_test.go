package lease

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/gopipework/gopipework/internal/fault"
)

func TestParseOptions(t *testing.T) {
	tests := []struct {
		word string
		want Options
		text string // canonical; "" if it is the word
	}{
		{word: ""},
		{word: "hostname=web.lan", want: Options{Hostname: "web.lan"}},
		{word: "client-id=01:52:54:00:12:34:56", want: Options{ClientID: []byte{1, 0x52, 0x54, 0, 0x12, 0x34, 0x56}}},
		{word: "client-id=web 1", want: Options{ClientID: []byte("\x00web 1")}},
		{word: "client-id=00:77:65:62", want: Options{ClientID: []byte("\x00web")}, text: "client-id=web"},
		{word: "client-id=00:61:61:3a:62:62", want: Options{ClientID: []byte("\x00aa:bb")}},
		{word: "request=192.168.1.9", want: Options{Request: netip.MustParseAddr("192.168.1.9")}},
		{word: "timeout=1m,vendor-class=udhcp 1.36", want: Options{Timeout: time.Minute, VendorClass: "udhcp 1.36"},
			text: "vendor-class=udhcp 1.36,timeout=1m0s"},
		{word: "default-route=no", want: Options{NoDefaultRoute: true}},
		{word: "default-route=yes", text: "-"},
		{word: "-f", text: "-"}, // as pipework's own example has it
		{word: "-f -x hostname:web1 -r 10.0.0.9", want: Options{Hostname: "web1", Request: netip.MustParseAddr("10.0.0.9")}, text: "hostname=web1,request=10.0.0.9"},
	}
	for _, tt := range tests {
		o, err := ParseOptions(tt.word)
		if err != nil {
			t.Errorf("%q: %v", tt.word, err)
			continue
		}
		if d := cmp.Diff(tt.want, o, cmpopts.EquateComparable(netip.Addr{})); d != "" {
			t.Errorf("%q (-want +got):\n%s", tt.word, d)
		}
		want := tt.text
		switch want {
		case "":
			want = tt.word
		case "-":
			want = ""
		}
		if got := o.String(); got != want {
			t.Errorf("%q prints as %q, want %q", tt.word, got, want)
		}
	}
}

func TestParseOptionsRefuses(t *testing.T) {
	tests := map[string]string{ // word: in the cause or the hint
		"hostname":                "no such option",
		"-t 5":                    "udhcpc:-t 5",
		"-x 0x3d:aa":              "udhcpc:-x 0x3d:aa",
		"-f -r":                   "udhcpc:-f -r",
		"colour=red":              "hostname=, client-id=",
		"hostname=":               "no value",
		"hostname=a_b":            "hostname=a-b",
		"hostname=a,hostname=b":   "twice",
		"request=10.0.0.1/24":     "without a prefix length",
		"request=224.0.0.1":       "multicast",
		"request=::1":             "not an IPv4",
		"client-id=\x1b[2J":       "hex",
		"timeout=0s":              "between",
		"timeout=11m":             "between",
		"timeout=5":               "timeout=10s",
		"vendor-class=\n":         "plain text",
		"default-route=maybe":     "yes nor no",
		"hostname=a,,client-id=b": "no such option",
	}
	for word, want := range tests {
		_, err := ParseOptions(word)
		if fault.CodeOf(err) != fault.Usage {
			t.Errorf("%q: %v, want a usage error", word, err)
			continue
		}
		text := err.Error() + "\n" + err.(*fault.Error).Hint
		if !strings.Contains(text, want) {
			t.Errorf("%q: %q does not say %q", word, text, want)
		}
	}
}

func FuzzParseOptions(f *testing.F) {
	for _, s := range []string{"", "hostname=a,client-id=01:02", "timeout=1s,default-route=no", "client-id=aa:bb", "request=10.0.0.1,vendor-class=x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, word string) {
		o, err := ParseOptions(word)
		if err != nil {
			if fault.CodeOf(err) != fault.Usage {
				t.Fatalf("%q: %v is no usage error", word, err)
			}
			return
		}
		again, err := ParseOptions(o.String())
		if err != nil {
			t.Fatalf("%q prints as %q: %v", word, o, err)
		}
		if d := cmp.Diff(o, again, cmpopts.EquateComparable(netip.Addr{})); d != "" {
			t.Fatalf("%q prints as %q:\n%s", word, o, d)
		}
	})
}
