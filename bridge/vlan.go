package bridge

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/gopipework/gopipework/internal/fault"
)

// VLAN says which frames pass a port of a switch, and which of them leave it
// untagged. The zero value is a port that knows no VLANs.
//
// On a Linux bridge it is "bridge vlan add dev PORT vid 10 pvid untagged" for
// the PVID, and without the last two words for each range; on OVS it is the
// columns tag, trunks and vlan_mode of a Port.
type VLAN struct {
	PVID   int        // frames without a tag belong to it, both ways; 0 for none
	Tagged []TagRange // what passes with its tag: ascending, with a gap between any two
}

// TagRange is the tags from First to Last, both included.
type TagRange struct{ First, Last int }

// maxTag is the highest tag of a VLAN: 0 and 4095 are reserved (802.1Q, 9.6).
const maxTag = 4094

const vlanHint = "@10 (untagged), @10,20-30 (untagged 10, tagged 20 to 30), @10t (tagged only)"

// ParseVLAN reads the word after @ as a switch understands it: numbers and
// ranges with commas. The first is the PVID, unless it ends in t or is a
// range; all others are tagged.
func ParseVLAN(word string) (VLAN, error) {
	bad := func(format string, args ...any) (VLAN, error) {
		return VLAN{}, fault.BadWord("read VLAN", word, format, args...).WithHint(vlanHint)
	}
	var v VLAN
	for i, item := range strings.Split(word, ",") {
		number, tagged := strings.CutSuffix(item, "t")
		r, isRange, ok := parseTags(number)
		switch {
		case !ok:
			return bad("a VLAN is a number from 1 to %d", maxTag)
		case r.Last < r.First:
			return bad("the range %s ends before it begins", number)
		case i == 0 && !tagged && !isRange:
			v.PVID = r.First
		default:
			v.Tagged = append(v.Tagged, r)
		}
	}
	slices.SortFunc(v.Tagged, func(a, b TagRange) int { return a.First - b.First })
	next := 0
	for _, r := range v.Tagged {
		if r.First < next {
			return bad("VLAN %d is given twice", r.First)
		}
		if r.First <= v.PVID && v.PVID <= r.Last {
			return bad("VLAN %d is given both untagged and tagged", v.PVID)
		}
		next = r.Last + 1
	}
	v.Tagged = joinTags(v.Tagged)
	return v, nil
}

// parseTags reads 10 or 20-30.
func parseTags(word string) (r TagRange, isRange, ok bool) {
	low, high, isRange := strings.Cut(word, "-")
	first, ok := parseTag(low)
	last := first
	if ok && isRange {
		last, ok = parseTag(high)
	}
	return TagRange{first, last}, isRange, ok
}

func parseTag(word string) (int, bool) {
	n, err := strconv.Atoi(word)
	return n, err == nil && n >= 1 && n <= maxTag && strconv.Itoa(n) == word
}

// joinTags makes one range of those that touch; they are in order.
func joinTags(ranges []TagRange) []TagRange {
	var out []TagRange
	for _, r := range ranges {
		if last := len(out) - 1; last >= 0 && r.First <= out[last].Last+1 {
			out[last].Last = max(out[last].Last, r.Last)
			continue
		}
		out = append(out, r)
	}
	return out
}

// IsZero reports whether there is no VLAN.
func (v VLAN) IsZero() bool { return v.PVID == 0 && len(v.Tagged) == 0 }

// String returns the shortest word that [ParseVLAN] reads as v; "" for none.
func (v VLAN) String() string {
	switch pvid := strconv.Itoa(v.PVID); {
	case v.IsZero():
		return ""
	case len(v.Tagged) == 0:
		return pvid
	case v.PVID != 0:
		return pvid + "," + tagWords(v.Tagged)
	}
	word := v.Tagged[0].String()
	if v.Tagged[0].First == v.Tagged[0].Last {
		word += "t"
	}
	if rest := v.Tagged[1:]; len(rest) > 0 {
		word += "," + tagWords(rest)
	}
	return word
}

// tagWords returns 20-30,40.
func tagWords(ranges []TagRange) string {
	words := make([]string, len(ranges))
	for i, r := range ranges {
		words[i] = r.String()
	}
	return strings.Join(words, ",")
}

// String returns 20-30, or 20 where there is one tag alone.
func (r TagRange) String() string {
	if r.First == r.Last {
		return strconv.Itoa(r.First)
	}
	return fmt.Sprintf("%d-%d", r.First, r.Last)
}
