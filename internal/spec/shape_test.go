package spec

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gopipework/gopipework/internal/fault"
)

// TestShapeWords: what is accepted, and as what it prints; or what the refusal
// says.
func TestShapeWords(t *testing.T) {
	rate := func(w string) ShapeWords { return ShapeWords{RateIn: w} }
	loss := func(w string) ShapeWords { return ShapeWords{Loss: w} }
	delay := func(w string) ShapeWords { return ShapeWords{Delay: w} }
	for _, tt := range []struct {
		of                func(string) ShapeWords
		word, want, wrong string
	}{
		{rate, "10mbit", "10mbit", ""},
		{rate, "1.5Mbit", "1500kbit", ""},
		{rate, "1000kbit", "1mbit", ""},
		{rate, "1gbit", "1gbit", ""},
		{rate, "1tbit", "1000gbit", ""},
		{rate, "512kbit", "512kbit", ""},
		{rate, "16kibit", "16384bit", ""},
		{rate, "64000", "64kbit", ""},
		{rate, "8001bit", "8kbit", ""}, // whole bytes
		{rate, "none", "none", ""},
		{rate, "0", "none", ""},
		{rate, "0mbit", "none", ""},
		{rate, "10mbps", "", "bytes per second"},
		{rate, "7kbit", "", "not from"},
		{rate, "2tbit", "", "not from"},
		{rate, "-1mbit", "", "not a number"},
		{rate, "10 mbit", "", "not a number"},
		{rate, "50%", "", "not a number"},
		{rate, "1e9", "", "not a number"},
		{rate, "99999999999999999999", "", "not a number"},
		{rate, "\x1b[2J", "", "not a number"},
		{loss, "1%", "1%", ""},
		{loss, "0.25", "0.25%", ""},
		{loss, "100%", "100%", ""},
		{loss, "0.0001%", "0.0001%", ""},
		{loss, "0%", "none", ""},
		{loss, "101%", "", "percentage"},
		{loss, "0.00001%", "", "the minimum"},
		{loss, "a lot", "", "percentage"},
		{delay, "100ms", "100ms", ""},
		{delay, "1.5ms", "1500us", ""},
		{delay, "1000ms", "1s", ""},
		{delay, "20usecs", "20us", ""},
		{delay, "0ms", "none", ""},
		{delay, "100", "", "unit of time"},
		{delay, "61s", "", "minute"},
		{delay, "0.1us", "", "the minimum"},
	} {
		r, err := tt.of(tt.word).Parse()
		if tt.wrong != "" {
			if fault.CodeOf(err) != fault.Usage || !strings.Contains(err.Error(), tt.wrong) {
				t.Errorf("%q: %v; want a usage error that says %q", tt.word, err, tt.wrong)
			}
			continue
		}
		if diff := cmp.Diff(tt.of(tt.want), r.Words()); err != nil || diff != "" {
			t.Errorf("%q: %v (-want +got)\n%s", tt.word, err, diff)
		}
	}
}

// FuzzShapeWords: no word makes it panic; what is accepted prints to words
// that parse to the same.
func FuzzShapeWords(f *testing.F) {
	f.Add("10mbit", "1.5gbit", "0.1%", "100ms", "3us")
	f.Add("none", "0", "0.00%", "", "0.5s")
	f.Fuzz(func(t *testing.T, in, out, loss, delay, jitter string) {
		r, err := ShapeWords{in, out, loss, delay, jitter}.Parse()
		if err != nil {
			return
		}
		again, err := r.Words().Parse()
		if err != nil {
			t.Fatalf("%+v, printed: %v", r.Words(), err)
		}
		if diff := cmp.Diff(r, again); diff != "" {
			t.Errorf("parsed, printed and parsed again (-first +again):\n%s", diff)
		}
	})
}
