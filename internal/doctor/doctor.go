// Package doctor walks the way of a packet from inside a guest outwards, and tells the
// first place where it does not go on, why, and what mends it.
//
// First it looks: at every hop it asks the kernel what it knows for nothing. If that shows
// no reason, a probe is sent over the whole way, and if that does not arrive, taps along
// the way and the kernel's own trace tell where it ended.
//
//	doctor.go     what is asked, and what the answer is made of
//	walk.go       the way: from the guest's link to the far ends
//	ends.go       the two ends of a way
//	interface.go  the guest's interface
//	address.go    its addresses
//	route.go      the guest's routes
//	neighbours.go who else is on the switch
//	neighbourtable.go
//	              what both ends have entered of each other
//	port.go       the host's end of a pair
//	bridge.go     the Linux bridge that it is in
//	uplink.go     the VXLAN by which it reaches other hosts
//	ovs.go        Open vSwitch bridges
//	cable.go      a cable that set --carrier off has pulled
//	child.go      links on a card
//	siblings.go   who else is on it
//	router.go     the host as the router between two ends
//	firewall.go   the host's firewall
//	trace.go      where and why the kernel stops a probe
//	far.go        whom a packet is for
//	probe.go      probes over the whole way
//	tidy.go       the neighbours that they enter
//	locate.go     where on the way a probe was seen
//	explain.go    why it ended there
package doctor

import (
	"context"
	"net/netip"
	"os"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/finding"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/plan"
)

// Ask is which way is to be walked.
type Ask struct {
	Guest   *guests.Guest
	IfName  string // of the guest; "": the one that leads to To, or without To every one
	To      Target
	Passive bool // send nothing

	// Program is the path of gopipework, which runs the process that deletes the neighbours
	// that probes have entered, whatever becomes of this one. "": this one does.
	Program string
}

// Target is the far end. The zero Target is the gateway, and every other guest on the
// same switch.
type Target struct {
	Addr   netip.Addr    // the zero Addr: one of Guest's
	Guest  *guests.Guest // nil: whoever has Addr
	IfName string        // of Guest; "": any
}

func (t Target) given() bool { return t.Addr.IsValid() || t.Guest != nil }

// Verdict is what is known of a hop, or of the whole way.
type Verdict string

// The verdicts. What is unseen may be well or not, and what is skipped depends on a hop
// that is broken.
const (
	OK      Verdict = "ok"
	Doubt   Verdict = "doubt" // some packets may be stopped
	Broken  Verdict = "broken"
	Skipped Verdict = "skipped"
	Unseen  Verdict = "unseen"
)

// Hop is one place on the way.
type Hop struct {
	Interface string   // of the guest, whose way it is on
	Name      string   // "web eth1", "brtest", ...
	Kind      string   // "interface", "route", "port", "bridge", "ovs", "card", "firewall", "uplink", "far"
	Facts     []string // what there is, for a person
	Verdict   Verdict
	Findings  []finding.Finding // the first one decides
}

// Report is the answer.
type Report struct {
	Guest guests.GuestInfo
	Hops  []Hop
}

// Verdict returns that of the whole: Broken if any hop is, Unseen if one that matters is
// not seen, and otherwise OK.
func (r Report) Verdict() Verdict {
	v := OK
	for _, h := range r.Hops {
		switch h.Verdict {
		case Broken:
			return Broken
		case Unseen:
			v = Unseen
		}
	}
	return v
}

// Fix returns the steps that mend what was found and is ours, and whether the same attach
// line again mends something.
func (r Report) Fix() (steps []plan.Step, again bool) {
	for _, h := range r.Hops {
		for _, f := range h.Findings {
			steps, again = append(steps, f.Fix...), again || f.Again
		}
	}
	return steps, again
}

// Run walks. hostNS is the namespace that has the bridges and cards; nil: that of the
// calling thread.
func Run(ctx context.Context, hostNS *os.File, ask Ask) (r Report, err error) {
	err = inHost(hostNS, func(hostNS *os.File) error {
		w, err := open(ctx, hostNS, ask)
		if err != nil {
			return err
		}
		defer w.close()
		r, err = w.report()
		return err
	})
	if err != nil && context.Cause(ctx) == context.DeadlineExceeded {
		err = fault.New(fault.Timeout, "walk", "the way of "+ask.Guest.Word(), "the time was too short").WithHint("give it longer: --timeout 10s")
	}
	return r, err
}

// Mend carries out the steps of a report that change only what is ours; tell is told of
// each before.
func Mend(ctx context.Context, hostNS *os.File, r Report, g *guests.Guest, tell func(string)) error {
	steps, _ := r.Fix()
	if len(steps) == 0 {
		return nil
	}
	return inHost(hostNS, func(hostNS *os.File) error {
		m, err := plan.Open(ctx, hostNS, *g)
		if err != nil {
			return err
		}
		defer m.Close()
		return plan.Plan{Steps: steps}.Apply(ctx, m, tell)
	})
}

func inHost(hostNS *os.File, do func(*os.File) error) error {
	if hostNS != nil {
		return do(hostNS)
	}
	hostNS, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return fault.New(fault.Failed, "open", "this process's network namespace", "%w", err)
	}
	defer hostNS.Close()
	return do(hostNS)
}
