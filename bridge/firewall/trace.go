package firewall

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/gopipework/gopipework/internal/fault"
	"golang.org/x/sys/unix"
)

// Probe says which frames a [Trace] follows. What is left out is not compared, but a
// Probe needs an address.
//
// With a MAC address the frames are followed from a port of a bridge on, also to the
// rules for IP packets that br_netfilter asks about bridged frames, and to those of the
// host that they are for. With a Device they are followed from there on, which shows the
// rules of that device as well. Without either, packets are followed that this namespace
// receives or sends.
type Probe struct {
	Device               string // an interface that the frames come in by
	SourceMAC, TargetMAC net.HardwareAddr
	Source, Target       netip.Addr
	Protocol             byte   // unix.IPPROTO_*; needs Source or Target
	Port                 uint16 // the UDP port that they are sent to; needs Protocol
	Echo                 uint16 // the identifier of an ICMP echo; needs Protocol
}

func (p Probe) check() error {
	addressed := p.Source.IsValid() || p.Target.IsValid()
	switch {
	case !addressed && p.SourceMAC == nil && p.TargetMAC == nil, !addressed && p.Protocol != 0:
		return fault.New(fault.Usage, "trace frames", "", "a probe has no address")
	case p.Source.IsValid() && p.Target.IsValid() && p.Source.Is4() != p.Target.Is4():
		return fault.New(fault.Usage, "trace frames", "", "%s and %s are of two families", p.Source, p.Target)
	case p.Echo != 0 && p.Protocol != unix.IPPROTO_ICMP && p.Protocol != unix.IPPROTO_ICMPV6:
		return fault.New(fault.Usage, "trace frames", "", "only ICMP has echoes")
	case p.Port != 0 && p.Protocol != unix.IPPROTO_UDP:
		return fault.New(fault.Usage, "trace frames", "", "no port of UDP is looked for")
	}
	return nil
}

// Traced is what nf_tables did to one frame.
type Traced struct {
	Probe  int          // which of those given to [OpenTrace], from 0
	Events []TraceEvent // in order; none: no other chain of nf_tables saw it
}

// TraceEvent is one decision over a frame: a line of nft monitor trace.
type TraceEvent struct {
	Family  string // as nft calls it: "ip", "ip6", "inet", "bridge"
	Table   string
	Chain   string
	Handle  uint64  // of the rule, as nft -a list shows it; 0: none of the chain's rules decided
	Policy  bool    // the base chain's policy decided
	Verdict Verdict // "accept", "drop", "jump", ...
	Target  string  // the chain, for jump and goto
	Base    string  // the base chain from which jumps led to Chain; "" if it is gone
	Hook    string  // where that is called: "prerouting", "forward", ...; "" if it is gone
}

// Verdict is what becomes of a frame, in nft's words.
type Verdict string

// The verdicts that end a frame's way, or may.
const (
	Dropped Verdict = "drop"
	Queued  Verdict = "queue" // a program decides (nft(8), QUEUE STATEMENT)
	Stolen  Verdict = "stolen"
)

// traceVerdict is one of the kernel's NF_* and NFT_* in nft's words.
func traceVerdict(code int32) Verdict {
	switch code {
	case 0:
		return Dropped
	case 1:
		return "accept"
	case 2:
		return Stolen
	case 3:
		return Queued
	case unix.NFT_CONTINUE:
		return "continue"
	case unix.NFT_BREAK:
		return "break"
	case unix.NFT_JUMP:
		return "jump"
	case unix.NFT_GOTO:
		return "goto"
	case unix.NFT_RETURN:
		return "return"
	}
	return ""
}

// String is the event as a line: "ip filter FORWARD rule 7 jump DOCKER-USER".
func (e TraceEvent) String() string {
	s := fmt.Sprintf("%s %s %s ", e.Family, e.Table, e.Chain)
	switch {
	case e.Policy:
		s += "policy "
	case e.Handle != 0:
		s += fmt.Sprintf("rule %d ", e.Handle)
	}
	s += string(e.Verdict)
	if e.Target != "" {
		s += " " + e.Target
	}
	return s
}

// Stopped returns the event that ended the frame's way, and false if no rule of nf_tables
// did. A frame that was queued is on its way again as soon as a later rule sees it.
func (f Traced) Stopped() (TraceEvent, bool) {
	if len(f.Events) == 0 {
		return TraceEvent{}, false
	}
	last := f.Events[len(f.Events)-1]
	return last, last.Verdict == Dropped || last.Verdict == Queued || last.Verdict == Stolen
}

// Stop is what stopped a frame.
type Stop struct {
	TraceEvent
	Rule string // as a person reads it; "policy drop" for a policy
}

// String is the stop as a person reads it: "ip filter FORWARD, policy drop".
func (s Stop) String() string {
	text := fmt.Sprintf("%s %s %s, %s", s.Family, s.Table, s.Chain, s.Rule)
	if s.Base != "" && s.Base != s.Chain {
		text += " (called from " + s.Base + ")"
	}
	return text
}
