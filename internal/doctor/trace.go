package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/gopipework/gopipework/bridge/firewall"
	"github.com/gopipework/gopipework/internal/dropreason"
	"github.com/gopipework/gopipework/internal/witness"
	"golang.org/x/sys/unix"
)

// traced is what the kernel tells while a probe is sent.
type traced struct {
	traces []*spot
	window *dropreason.Window // nil: this kernel does not tell why it drops
	drops  []dropreason.Drop  // of IP packets and ARP of our own, meanwhile
	notes  []string           // what could not be traced, and why
}

// spot is the trace in one namespace.
type spot struct {
	of    *end
	trace *firewall.Trace
	stops []firewall.Stop // one for each frame that was stopped

	aside    []string        // chains of iptables that the probe does not pass
	question int             // the number of the probe that is about questions; -1: none
	asked    []firewall.Stop // the same of questions
	carrier  string          // as a rule of iptables has the port of the VXLAN's packets, which these are; "": the probe's own

	was, moved []firewall.Counter // of iptables-legacy: before, and what has grown since
}

// trace begins to follow the frames of a ping on the host, and in both guests.
func (w *walker) trace(f *far, a answer) *traced {
	if a.to.Is6() {
		return w.traceOf(f, a, unix.IPPROTO_ICMPV6)
	}
	return w.traceOf(f, a, unix.IPPROTO_ICMP)
}

// traceOf is trace for a protocol of IP; 0: any.
func (w *walker) traceOf(f *far, a answer, protocol byte) *traced {
	t := &traced{}
	t.window, _ = dropreason.Open() // the rules tell more
	there := firewall.Probe{Source: a.from, Target: a.to, Protocol: protocol}
	back := firewall.Probe{Source: a.to, Target: a.from, Protocol: protocol}
	both := []firewall.Probe{there, back}
	probes, asks := w.onHost(f, a, both)
	t.open(w, w.host, probes, asks)
	t.open(w, w.near, both, false)
	t.openUnder(w, f)
	if f.end != nil && f.ns != w.hostNS {
		t.open(w, f.end, both, false)
	}
	return t
}

// onHost says which frames are the probe's on the host: by their MAC addresses where they
// cross a switch, also from the ports themselves. With asks, the last one is about questions
// for the neighbour.
func (w *walker) onHost(f *far, a answer, both []firewall.Probe) (probes []firewall.Probe, asks bool) {
	if w.leap != toBridge && w.leap != toOVS && w.leap != toCard {
		return both, false
	}
	there, back := both[0], both[1]
	there.SourceMAC = w.near.link.MAC
	probes = append(probes, there)
	if w.port != nil {
		there.Device = w.port.Name
		probes = append(probes, there)
	}
	if len(f.station) > 0 {
		back.SourceMAC = f.station
		probes = append(probes, back)
		if f.port != nil {
			back.Device = f.port.Name
			probes = append(probes, back)
		}
	}
	return append(probes, firewall.Probe{SourceMAC: w.near.link.MAC, TargetMAC: witness.Asked(a.to)}), true
}

// open begins to trace in the namespace of an end. asks: the last of the probes is about
// questions for the neighbour.
func (t *traced) open(w *walker, e *end, probes []firewall.Probe, asks bool) {
	s := &spot{of: e, question: -1, aside: []string{"FORWARD"}}
	if e == w.host && probes[0].SourceMAC != nil {
		s.aside = []string{"INPUT", "OUTPUT"}
	}
	if asks {
		s.question = len(probes) - 1
	}
	err := e.k.Run(func() (err error) {
		if s.was, err = firewall.Counters(w.ctx); err != nil {
			t.note(e, err)
		}
		s.trace, err = firewall.OpenTrace(probes...)
		return err
	})
	if err != nil {
		t.note(e, err)
	}
	t.traces = append(t.traces, s)
}

// openUnder begins to trace the packets in which the VXLAN of the bridge carries frames for a far
// end, of whom nobody on this host knows, to and from other hosts.
func (t *traced) openUnder(w *walker, f *far) {
	if w.vxlan == nil || f.link != nil || !w.vxlan.VXLAN.Local.IsValid() {
		return
	}
	local, port := w.vxlan.VXLAN.Local, uint16(w.vxlan.VXLAN.Port)
	t.open(w, w.host, []firewall.Probe{
		{Source: local, Protocol: unix.IPPROTO_UDP, Port: port},
		{Target: local, Protocol: unix.IPPROTO_UDP, Port: port},
	}, false)
	t.traces[len(t.traces)-1].carrier = fmt.Sprintf(" --dport %d ", port)
}

// note keeps why the rules where an end is could not be watched.
func (t *traced) note(e *end, err error) {
	where := *e
	where.link = nil
	t.notes = append(t.notes, fmt.Sprintf("the rules of %s were not watched: %v", where.word(), err))
}

// finish reads what was traced.
func (t *traced) finish(ctx context.Context) {
	if t.window != nil {
		all, _ := t.window.Close()
		t.window = nil
		t.drops = slices.DeleteFunc(all, func(d dropreason.Drop) bool {
			return !d.Own || d.Count < 2 || !slices.Contains([]uint16{unix.ETH_P_IP, unix.ETH_P_IPV6, unix.ETH_P_ARP}, d.Protocol)
		})
	}
	for _, s := range t.traces {
		_ = s.of.k.Run(func() error {
			if now, err := firewall.Counters(ctx); err == nil {
				s.moved = slices.DeleteFunc(firewall.Moved(s.was, now, 2), func(c firewall.Counter) bool {
					return !c.Drops || slices.Contains(s.aside, c.Chain) || !strings.Contains(c.Rule+" ", s.carrier)
				})
			}
			return nil
		})
		if s.trace == nil {
			continue
		}
		frames, err := s.trace.Events(ctx, 0)
		if err != nil {
			t.note(s.of, err)
		}
		if s.trace.Missed() {
			t.notes = append(t.notes, "more rules were passed than the kernel's trace has room for: some are not among what was read")
		}
		for _, f := range frames {
			stop, ok, _ := s.trace.Stop(f)
			switch {
			case ok && f.Probe == s.question:
				s.asked = append(s.asked, stop)
			case ok:
				s.stops = append(s.stops, stop)
			}
		}
	}
}

func (t *traced) close() {
	if t.window != nil {
		_, _ = t.window.Close()
	}
	for _, s := range t.traces {
		if s.trace != nil {
			s.trace.Close()
		}
	}
}

// reasons are why the kernel dropped the probe's packets, as evidence.
func (t *traced) reasons() (lines []string) {
	for _, d := range t.drops[:min(len(t.drops), 2)] {
		line := "the kernel's reason for what it dropped: " + d.Reason // others' packets may be among them, so no count
		if d.Location != "" {
			line += " in " + d.Location
		}
		lines = append(lines, line)
	}
	return lines
}

// dropped reports whether the kernel has dropped packets of the probe for a reason.
func (t *traced) dropped(reason string) bool {
	return slices.ContainsFunc(t.drops, func(d dropreason.Drop) bool { return d.Reason == reason })
}

// stopped returns what stopped most of the frames in the namespace of an end, with how many
// it stopped as evidence. Of iptables-legacy it has only names.
func (s *spot) stopped(unasked bool) (most firewall.Stop, evidence string, ok bool) {
	count := map[string]int{}
	all := s.stops
	if len(all) == 0 && unasked {
		all = s.asked
	}
	for _, stop := range all {
		key := stop.String()
		if count[key]++; count[key] > count[most.String()] || !ok {
			most, ok = stop, true
		}
	}
	if ok {
		return most, fmt.Sprintf("the kernel's trace: %d of the probe's frames ended at %s", count[most.String()], most), true
	}
	if len(s.moved) == 0 {
		return most, "", false
	}
	c := s.moved[0]
	most.Family, most.Table, most.Chain, most.Base = c.Family.Tool()+"-legacy", c.Table, c.Chain, c.Chain
	most.Rule = c.Rule
	return most, fmt.Sprintf("its counter grew by %d while the probe was sent", c.Packets), true
}
