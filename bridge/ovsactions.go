package bridge

import (
	"slices"
	"strconv"
	"strings"

	"github.com/gopipework/gopipework/internal/lazyregexp"
)

// The actions of the datapath: what is done to a frame in the end, with no tables any more.

// vlanID is the tag in push_vlan(vid=5,pcp=0) and in set(vlan(vid=5,pcp=0)).
var vlanID = lazyregexp.Regexp{Expr: `vid=(\d+)`}

// leave follows actions that are applied to a frame with those tags, the innermost first.
func (t *OVSTrace) leave(actions []string, tags []int) {
	for _, action := range actions {
		word, inner, more := strings.Cut(strings.TrimSuffix(action, ")"), "(")
		switch {
		case !more && slices.Contains([]string{"drop", "ct", "ct_clear", "pop_eth", "pop_nsh", ""}, word):
		case !more && word == "pop_vlan":
			tags = tags[:max(0, len(tags)-1)]
		case !more, word == "lb_output": // to any one link of a bond
			t.output(action, tags)
		case word == "push_vlan":
			tags = append(slices.Clone(tags), tagOf(inner))
		case word == "set" && strings.HasPrefix(inner, "vlan("):
			tags = append(slices.Clone(tags[:max(0, len(tags)-1)]), tagOf(inner))
		case word == "userspace" && strings.Contains(inner, "controller("):
			t.Asked = "the controller"
		case word == "userspace" && strings.Contains(inner, "slow_path("):
			t.Asked = "ovs-vswitchd"
		case word == "tnl_push":
			t.tunnel(inner)
		case word == "clone":
			t.leave(splitActions(inner), tags)
		case word == "check_pkt_len":
			t.eitherWay(inner, tags)
		}
	}
}

func (t *OVSTrace) output(port string, tags []int) {
	o := OVSOutput{Port: port}
	if len(tags) > 0 {
		o.Tag = tags[len(tags)-1]
	}
	if !slices.Contains(t.Outputs, o) {
		t.Outputs = append(t.Outputs, o)
	}
}

// tunnel reads what is wrapped up into a packet of its own.
func (t *OVSTrace) tunnel(inner string) {
	for _, word := range splitActions(inner) {
		if name, ok := strings.CutPrefix(word, "tnl_port("); ok {
			t.output(strings.TrimSuffix(name, ")"), nil)
		}
	}
}

// eitherWay follows both branches of an action that depends on the length of the frame.
func (t *OVSTrace) eitherWay(inner string, tags []int) {
	for _, word := range splitActions(inner) {
		for _, branch := range []string{"gt(", "le("} {
			if actions, ok := strings.CutPrefix(word, branch); ok {
				t.leave(splitActions(strings.TrimSuffix(actions, ")")), tags)
			}
		}
	}
}

func tagOf(text string) int {
	m := vlanID.Get().FindStringSubmatch(text)
	if m == nil {
		return 0
	}
	tag, _ := strconv.Atoi(m[1])
	return tag
}

// splitActions splits at commas, but for those within brackets.
func splitActions(text string) (actions []string) {
	depth, begin := 0, 0
	for i, c := range text {
		switch c {
		case '(':
			depth++
		case ')':
			depth--
		case ',':
			if depth == 0 {
				actions = append(actions, text[begin:i])
				begin = i + 1
			}
		}
	}
	return append(actions, text[begin:])
}
