package bridge

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/gopipework/gopipework/internal/lazyregexp"
	"github.com/gopipework/gopipework/internal/shell"
)

// What ovs-vswitchd answers if it is asked what would become of a frame. A frame that
// only a question is about is learned from by nobody, and counted nowhere.

// OVSFrame is a frame that [OVSPort.Trace] follows.
type OVSFrame struct {
	Packet   OVSPacket
	Src, Dst net.HardwareAddr // no Dst: of AskNeighbour, all who may have the address To
	Tag      int              // of the VLAN that it arrives with; 0: none
	From, To netip.Addr       // of its packet, both IPv4 or both IPv6; the zero Addr, on ARP: none
}

// OVSPacket is what a frame carries.
type OVSPacket int

const (
	AskNeighbour OVSPacket = iota // an ARP request, or a neighbour solicitation
	EchoRequest                   // of ICMP or ICMPv6
)

// match returns the frame as ovs-fields(7) describes one. What is left out is zero to
// ovs-vswitchd, also the time to live, on which a flow that counts it down would drop.
func (f OVSFrame) match(inPort int) string {
	words := []string{fmt.Sprintf("in_port=%d", inPort), "dl_src=" + f.Src.String(), "dl_dst=" + f.destination().String()}
	add := func(format string, args ...any) { words = append(words, fmt.Sprintf(format, args...)) }
	is6 := f.To.Is6()
	switch {
	case f.Packet == AskNeighbour && !is6:
		add("dl_type=0x0806")
		if f.To.IsValid() {
			add("arp_op=1,arp_sha=%s,arp_spa=%s,arp_tpa=%s", f.Src, f.From, f.To)
		}
	case !is6:
		add("dl_type=0x0800,nw_ttl=64,nw_src=%s,nw_dst=%s", f.From, f.To)
	case f.Packet == AskNeighbour:
		add("dl_type=0x86dd,nw_ttl=255,ipv6_src=%s,ipv6_dst=%s,nw_proto=58,icmpv6_type=135,nd_target=%s,nd_sll=%s",
			f.From, solicited(f.To), f.To, f.Src)
	default:
		add("dl_type=0x86dd,nw_ttl=64,ipv6_src=%s,ipv6_dst=%s", f.From, f.To)
	}
	switch {
	case f.Packet == EchoRequest && is6:
		add("nw_proto=58,icmpv6_type=128")
	case f.Packet == EchoRequest:
		add("nw_proto=1,icmp_type=8")
	}
	if f.Tag != 0 {
		add("dl_vlan=%d", f.Tag)
	}
	return strings.Join(words, ",")
}

func (f OVSFrame) destination() net.HardwareAddr {
	switch {
	case f.Dst != nil:
		return f.Dst
	case f.To.Is6():
		group := solicited(f.To).As16()
		return append(net.HardwareAddr{0x33, 0x33}, group[12:]...) // RFC 2464, 7
	}
	return net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
}

// solicited returns the multicast group that a neighbour of that address listens to
// (RFC 4291, 2.7.1).
func solicited(a netip.Addr) netip.Addr {
	group, of := netip.MustParseAddr("ff02::1:ff00:0").As16(), a.As16()
	copy(group[13:], of[13:])
	return netip.AddrFrom16(group)
}

// Broadcast returns the frame that the port gets if a MAC address behind it asks for a
// neighbour: with a tag, if the port takes only such frames.
func (p OVSPort) Broadcast(from net.HardwareAddr) OVSFrame {
	f := OVSFrame{Src: from}
	if p.VLAN.PVID == 0 && len(p.VLAN.Tagged) > 0 {
		f.Tag = p.VLAN.Tagged[0].First
	}
	return f
}

// TraceCommand is the question of [OVSPort.Trace] as a person would type it.
func (p OVSPort) TraceCommand(f OVSFrame) string {
	return shell.Line(append([]string{"ovs-appctl"}, p.traceArgs(f)...))
}

func (p OVSPort) traceArgs(f OVSFrame) []string {
	return []string{"ofproto/trace", p.Bridge, f.match(p.Number)}
}

// OVSTrace is what becomes of a frame.
type OVSTrace struct {
	Outputs []OVSOutput // the links that it leaves by, in order; also those of bridges behind patch ports
	Flows   []OVSFlow   // what it meets on its way, in order
	Asked   string      // what decides on each such frame when it comes, so that Outputs may lack some; "": nothing
	Text    string      // all that ovs-vswitchd said
}

// OVSOutput is a link that a frame leaves by.
type OVSOutput struct {
	Port string // the name of the link; that of a bridge is the host itself
	Tag  int    // of the VLAN that it leaves with; 0: none
}

// OVSFlow is an entry of a flow table that a frame meets.
type OVSFlow struct {
	Bridge   string
	Table    int
	None     bool // the table has none for the frame; Priority, Cookie and Match are zero
	Priority int
	Cookie   uint64
	Match    string   // as ovs-ofctl writes it; "": all frames
	Actions  []string // as ovs-ofctl writes them; none if the state of the port lets no frame in
	Notes    []string // what ovs-vswitchd remarks on what it does for them
}

// Drops reports whether the frame goes nowhere. What a controller decides is not known,
// and no drop.
func (t OVSTrace) Drops() bool { return len(t.Outputs) == 0 && t.Asked == "" }

// Reaches returns how the frame leaves by the link of that name, if it does.
func (t OVSTrace) Reaches(link string) (OVSOutput, bool) {
	i := slices.IndexFunc(t.Outputs, func(o OVSOutput) bool { return o.Port == link })
	if i < 0 {
		return OVSOutput{}, false
	}
	return t.Outputs[i], true
}

// Last returns the last flow that the frame meets: if it drops, the one that drops it.
func (t OVSTrace) Last() OVSFlow {
	if len(t.Flows) == 0 {
		return OVSFlow{}
	}
	return t.Flows[len(t.Flows)-1]
}

// Normal reports whether the flow leaves the frame to the bridge, which learns and floods
// as a switch without flows does.
func (f OVSFlow) Normal() bool { return slices.Contains(f.Actions, "NORMAL") }

// String returns the flow as ovs-ofctl dump-flows writes it.
func (f OVSFlow) String() string {
	if f.None {
		return fmt.Sprintf("table=%d, no flow", f.Table)
	}
	words := fmt.Sprintf("table=%d, priority=%d", f.Table, f.Priority)
	if f.Cookie != 0 {
		words = fmt.Sprintf("cookie=%#x, %s", f.Cookie, words)
	}
	if f.Match != "" {
		words += "," + f.Match
	}
	return words + " actions=" + strings.Join(f.Actions, ",")
}

// Reason returns why the frame goes no further, as ovs-vswitchd says it; "": it says no
// more than the Actions do.
func (f OVSFlow) Reason() string {
	for _, word := range []string{warned, "drop", ""} {
		for _, note := range slices.Backward(f.Notes) {
			if strings.Contains(note, word) {
				return strings.TrimSpace(strings.Trim(note, "<>"))
			}
		}
	}
	return ""
}

// warned begins a note that ovs-vswitchd also writes into its log. It says more than the
// ones around it.
const warned = ">>>>"

var (
	bridgeLine    = lazyregexp.Regexp{Expr: `^bridge\("(.*)"\)$`}
	flowLine      = lazyregexp.Regexp{Expr: `^(\d+)\. (.+)$`}
	flowWords     = lazyregexp.Regexp{Expr: `^(?:(.*), )?priority (\d+)(?:, cookie (0x[0-9a-f]+))?$`}
	tagField      = lazyregexp.Regexp{Expr: `\bdl_vlan=(\d+)`}
	noteLine      = lazyregexp.Regexp{Expr: `^(?:->|>>) (.*)$`}
	errNoDatapath = errors.New("cannot read what ovs-appctl printed: it has no actions of the datapath")
)

// parseTrace reads the answer of ofproto/trace --names. A frame that goes through the
// tables again, as after connection tracking, is a further part of it.
func parseTrace(text string) (OVSTrace, error) {
	r := traceReader{out: OVSTrace{Text: text}}
	said := false
	var tags []int
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if fields, ok := strings.CutPrefix(line, "Flow: "); ok {
			tags = tagsOf(fields)
		}
		if actions, ok := strings.CutPrefix(line, "Datapath actions: "); ok {
			said = true
			r.out.leave(splitActions(actions), tags)
		}
		r.line(line)
	}
	if !said {
		return OVSTrace{}, errNoDatapath
	}
	return r.out, nil
}

// tagsOf returns the tags that a frame has.
func tagsOf(fields string) []int {
	m := tagField.Get().FindStringSubmatch(fields)
	if m == nil {
		return nil
	}
	tag, _ := strconv.Atoi(m[1])
	return []int{tag}
}

// traceReader reads the lines that tell the way of the frame. What belongs to a flow is
// indented below it, also the flows of a table or of a bridge that it sends the frame to.
type traceReader struct {
	out     OVSTrace
	bridges []indented[string]
	open    []indented[int] // indexes of Flows
}

type indented[T any] struct {
	by   int
	what T
}

func (r *traceReader) line(line string) {
	text := strings.TrimLeft(line, " \t")
	by := len(line) - len(text)
	bridge, flow := bridgeLine.Get().FindStringSubmatch(text), flowLine.Get().FindStringSubmatch(text)
	switch {
	case strings.Trim(text, "-=") == "":
	case bridge != nil:
		r.bridges = append(r.bridges, indented[string]{by, bridge[1]})
		if by == 0 {
			r.bridges, r.open = r.bridges[len(r.bridges)-1:], nil
		}
	case flow != nil:
		r.flow(by, flow[1], flow[2])
	case strings.Contains(text, "slow path because"):
		r.open = nil
		r.asked("ovs-vswitchd")
	case by == 0 && strings.HasPrefix(text, "Translation failed"):
		r.below(4, ">> "+text)
	case by == 0: // about the frame, such as "Final flow"
	default:
		r.below(by, text)
	}
}

// step is how far ovs-vswitchd indents what is below a line, at least.
const step = 4

func (r *traceReader) flow(by int, table, words string) {
	if len(table) == 1 {
		by-- // the number of a table has two places
	}
	for len(r.open) > 0 && r.open[len(r.open)-1].by >= by {
		r.open = r.open[:len(r.open)-1]
	}
	for len(r.bridges) > 1 && by < r.bridges[len(r.bridges)-1].by+step {
		r.bridges = r.bridges[:len(r.bridges)-1]
	}
	f := OVSFlow{None: true}
	f.Table, _ = strconv.Atoi(table)
	if len(r.bridges) > 0 {
		f.Bridge = r.bridges[len(r.bridges)-1].what
	}
	if m := flowWords.Get().FindStringSubmatch(words); m != nil {
		f.None, f.Match = false, m[1]
		f.Priority, _ = strconv.Atoi(m[2])
		f.Cookie, _ = strconv.ParseUint(m[3], 0, 64)
	} else if words != "No match." {
		f.Notes = []string{words}
	}
	r.open = append(r.open, indented[int]{by, len(r.out.Flows)})
	r.out.Flows = append(r.out.Flows, f)
}

// below adds an action, or a note, to the flow that it is indented below.
func (r *traceReader) below(by int, text string) {
	for len(r.open) > 0 && by < r.open[len(r.open)-1].by+step {
		r.open = r.open[:len(r.open)-1]
	}
	if len(r.open) == 0 {
		return // what resumes a frame that connection tracking has seen
	}
	f := &r.out.Flows[r.open[len(r.open)-1].what]
	switch note := noteLine.Get().FindStringSubmatch(text); {
	case note != nil:
		f.Notes = append(f.Notes, note[1])
	case strings.HasPrefix(text, warned):
		f.Notes = append(f.Notes, text)
	default:
		f.Actions = append(f.Actions, text)
	}
}

func (r *traceReader) asked(what string) {
	if r.out.Asked == "" {
		r.out.Asked = what
	}
}
