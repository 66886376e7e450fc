package dropreason

import (
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/gopipework/gopipework/internal/fault"
)

// From Linux 5.17 and 6.18, shortened.
const (
	format517 = `name: kfree_skb
ID: 1517
format:
	field:unsigned short common_type;	offset:0;	size:2;	signed:0;
	field:int common_pid;	offset:4;	size:4;	signed:1;

	field:void * skbaddr;	offset:8;	size:8;	signed:0;
	field:void * location;	offset:16;	size:8;	signed:0;
	field:unsigned short protocol;	offset:24;	size:2;	signed:0;
	field:enum skb_drop_reason reason;	offset:28;	size:4;	signed:0;

print fmt: "skbaddr=%p protocol=%u location=%p reason: %s", REC->skbaddr, REC->protocol, REC->location, __print_symbolic(REC->reason, { 0, "NOT_SPECIFIED" }, { 1, "NO_SOCKET" }, { 0x6, "NETFILTER_DROP" })
`
	format618 = `name: kfree_skb
ID: 2310
format:
	field:void * skbaddr;	offset:8;	size:8;	signed:0;
	field:void * location;	offset:16;	size:8;	signed:0;
	field:void * rx_sk;	offset:24;	size:8;	signed:0;
	field:unsigned short protocol;	offset:32;	size:2;	signed:0;
	field:enum skb_drop_reason reason;	offset:36;	size:4;	signed:0;

print fmt: "%s", __print_symbolic(REC->reason, { 12, "NETFILTER_DROP" }, { 119, "BRIDGE_INGRESS_STP_STATE" })
`
)

func TestParseEvent(t *testing.T) {
	for _, tt := range []struct {
		text string
		want event
	}{
		{format517, event{1517, field{16, 8}, field{28, 4}, field{24, 2}, map[uint32]string{0: "NOT_SPECIFIED", 1: "NO_SOCKET", 6: "NETFILTER_DROP"}}},
		{format618, event{2310, field{16, 8}, field{36, 4}, field{32, 2}, map[uint32]string{12: "NETFILTER_DROP", 119: "BRIDGE_INGRESS_STP_STATE"}}},
	} {
		got, err := parseEvent(tt.text)
		if err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%+v, %v; want %+v", got, err, tt.want)
		}
	}
	e, _ := parseEvent(format618)
	if got := e.reason(0x30001); got != "0x30001" {
		t.Errorf("a reason without a name: %q", got)
	}
	if _, ok := e.sample(make([]byte, 39)); ok {
		t.Error("a record that is cut off is read")
	}
}

// TestNoReason: before Linux 5.17 the event has no reason, and a kernel may lack the event.
func TestNoReason(t *testing.T) {
	old := strings.Replace(format517, "	field:enum skb_drop_reason reason;	offset:28;	size:4;	signed:0;\n", "", 1)
	for _, text := range []string{old, ""} {
		if _, err := parseEvent(text); fault.CodeOf(openFault(err)) != fault.Unsupported {
			t.Errorf("%q: %v", text, err)
		}
	}
	_, err := os.Open("/absent")
	if got := openFault(err); fault.CodeOf(got) != fault.Unsupported {
		t.Errorf("no event: %v", got)
	}
}

func TestFindSymbols(t *testing.T) {
	const list = `0000000000000000 A fixed_percpu_data
ffffffff81000200 t second
ffffffff81000100 T first
ffffffff810001f0 d data
ffffffffc0000000 t of_module	[br_netfilter]
`
	got, err := findSymbols(strings.NewReader(list), []uint64{0xffffffff81000100, 0xffffffff810001ff, 0xffffffff81000201, 0xffffffffc0000010, 0x10})
	want := map[uint64]string{0xffffffff81000100: "first", 0xffffffff810001ff: "first", 0xffffffff81000201: "second", 0xffffffffc0000010: "of_module"}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	hidden := strings.NewReader("0000000000000000 T first\n0000000000000000 T second\n")
	if got, err := findSymbols(hidden, []uint64{0xffffffff81000100}); len(got) != 0 || err != nil {
		t.Errorf("hidden: %v, %v", got, err)
	}
}

func TestParseCPUs(t *testing.T) {
	if got, err := parseCPUs("0-2,5,7-7"); err != nil || !reflect.DeepEqual(got, []int{0, 1, 2, 5, 7}) {
		t.Errorf("%v, %v", got, err)
	}
	for _, list := range []string{"", "a", "3-1", "0-", "0-99999999", "-1"} {
		if got, err := parseCPUs(list); err == nil {
			t.Errorf("%q: %v", list, got)
		}
	}
}

// knows reports whether this kernel has a word for a reason.
func (e event) knows(word string) bool {
	return slices.Contains(slices.Collect(maps.Values(e.reasons)), word)
}
