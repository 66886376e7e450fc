package bridge

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gopipework/gopipework/internal/fault"
)

func TestParseVLAN(t *testing.T) {
	for _, tt := range []struct {
		word string
		want VLAN
		text string // as it is said again
	}{
		{"10", VLAN{PVID: 10}, "10"},
		{"10,20-30", VLAN{10, []TagRange{{20, 30}}}, "10,20-30"},
		{"10t", VLAN{0, []TagRange{{10, 10}}}, "10t"},
		{"20-30", VLAN{0, []TagRange{{20, 30}}}, "20-30"},
		{"20-30t", VLAN{0, []TagRange{{20, 30}}}, "20-30"},
		{"7-7", VLAN{0, []TagRange{{7, 7}}}, "7t"},
		{"10t,5", VLAN{0, []TagRange{{5, 5}, {10, 10}}}, "5t,10"},
		{"1,4094", VLAN{1, []TagRange{{4094, 4094}}}, "1,4094"},
		{"10,30,20t,22-25", VLAN{10, []TagRange{{20, 20}, {22, 25}, {30, 30}}}, "10,20,22-25,30"},
		{"10,20,21,22-30", VLAN{10, []TagRange{{20, 30}}}, "10,20-30"},
		{"10,9,11", VLAN{10, []TagRange{{9, 9}, {11, 11}}}, "10,9,11"},
	} {
		got, err := ParseVLAN(tt.word)
		if diff := cmp.Diff(tt.want, got); diff != "" || err != nil {
			t.Errorf("%s: error %v (-want +got):\n%s", tt.word, err, diff)
		}
		if got.String() != tt.text {
			t.Errorf("%s: is said again as %q, want %q", tt.word, got, tt.text)
		}
	}
}

func TestParseVLANRefuses(t *testing.T) {
	for word, want := range map[string]string{
		"":            `read VLAN: a VLAN is a number from 1 to 4094`,
		"0":           `read VLAN "0": a VLAN is a number from 1 to 4094`,
		"4095":        `read VLAN "4095": a VLAN is a number from 1 to 4094`,
		"010":         `read VLAN "010": a VLAN is a number from 1 to 4094`,
		"+1":          `read VLAN "+1": a VLAN is a number from 1 to 4094`,
		"10,":         `read VLAN "10,": a VLAN is a number from 1 to 4094`,
		"10tt":        `read VLAN "10tt": a VLAN is a number from 1 to 4094`,
		"10t-20":      `read VLAN "10t-20": a VLAN is a number from 1 to 4094`,
		"10-":         `read VLAN "10-": a VLAN is a number from 1 to 4094`,
		"10-20-30":    `read VLAN "10-20-30": a VLAN is a number from 1 to 4094`,
		"10, 20":      `read VLAN "10, 20": a VLAN is a number from 1 to 4094`,
		"1,30-20":     `read VLAN "1,30-20": the range 30-20 ends before it begins`,
		"10,20,20":    `read VLAN "10,20,20": VLAN 20 is given twice`,
		"10,22,20-30": `read VLAN "10,22,20-30": VLAN 22 is given twice`,
		"10t,10":      `read VLAN "10t,10": VLAN 10 is given twice`,
		"10,10t":      `read VLAN "10,10t": VLAN 10 is given both untagged and tagged`,
		"25,20-30":    `read VLAN "25,20-30": VLAN 25 is given both untagged and tagged`,
	} {
		v, err := ParseVLAN(word)
		if err == nil || err.Error() != want || fault.CodeOf(err) != fault.Usage {
			t.Errorf("%q: %v, error %v, want %s", word, v, err, want)
		}
	}
}

// FuzzParseVLAN: what is accepted is said again in a word that means the same,
// and holds each tag once.
func FuzzParseVLAN(f *testing.F) {
	for _, word := range []string{"10", "10,20-30", "10t", "20-30,1t", "7-7,9", "4094,1-4093", "0"} {
		f.Add(word)
	}
	f.Fuzz(func(t *testing.T, word string) {
		v, err := ParseVLAN(word)
		if err != nil {
			return
		}
		again, err := ParseVLAN(v.String())
		if diff := cmp.Diff(v, again); diff != "" || err != nil {
			t.Errorf("%q is said as %q: error %v (-want +got):\n%s", word, v, err, diff)
		}
		end := -1
		for _, r := range v.Tagged {
			if r.First > r.Last || r.First <= end+1 || r.First < 1 || r.Last > maxTag || r.First <= v.PVID && v.PVID <= r.Last {
				t.Errorf("%q is %+v", word, v)
			}
			end = r.Last
		}
	})
}
