package attach

import (
	"context"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/kind"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
)

// BenchmarkApply times carrying out a plan against the bare kernel: the fewest
// netlink messages that give the same end state on sockets that are open. Both
// run in turn, in one namespace pair, and the ratio of their medians is printed.
// The wait for the bridge to forward is left out of both.
func BenchmarkApply(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("needs root: it makes network namespaces")
	}
	hostNS, guestNS := newNamespace(b), newNamespace(b)
	s, err := Parse(Words{HostIF: "brtest", Guest: "web", Address: "192.168.1.2/24"})
	if err != nil {
		b.Fatal(err)
	}
	g := docker(guestNS, 0)
	ctx := context.Background()
	m, err := plan.Open(ctx, hostNS, g)
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	first := planned(b, m, s)
	if err := first.Steps[0].Do(ctx, m); err != nil { // the bridge
		b.Fatal(err)
	}
	// Nothing waits, and the pair is in place: the rest of a second attach.
	p := planned(b, m, s)
	p.Steps = slices.DeleteFunc(p.Steps, func(s plan.Step) bool { _, wait := s.(kind.AwaitForwarding); return wait })
	veth := p.Steps[0].(kind.AddVeth)
	var ours, bare []time.Duration
	b.ResetTimer()
	for b.Loop() {
		start := time.Now()
		if err := p.Apply(ctx, m, untold); err != nil {
			b.Fatal(err)
		}
		ours = append(ours, time.Since(start))
		remove(b, m, veth)
		start = time.Now()
		bareAttach(b, m, veth)
		bare = append(bare, time.Since(start))
		remove(b, m, veth)
	}
	b.ReportMetric(float64(median(ours).Microseconds()), "apply-µs")
	b.ReportMetric(float64(median(bare).Microseconds()), "kernel-µs")
	b.ReportMetric(float64(median(ours))/float64(median(bare)), "ratio")
}

func planned(b *testing.B, m *plan.Machine, s Spec) build.Plan {
	f, err := observe(context.Background(), m, s, nil)
	if err != nil {
		b.Fatal(err)
	}
	p, err := planAttach(s, f)
	if err != nil {
		b.Fatal(err)
	}
	return p
}

// bareAttach makes the pair in the bridge, and gives the guest's end its
// address and sets both ends up.
func bareAttach(b *testing.B, m *plan.Machine, v kind.AddVeth) {
	err := m.Host().AddVeth(rtnl.Veth{Name: v.Port, PeerName: v.Inner, PeerNS: m.Guests[plan.InGuest].Namespace,
		MTU: v.MTU, Master: m.Index(plan.OnHost, v.Bridge)})
	if err != nil {
		b.Fatal(err)
	}
	l, err := m.Host().LinkByName(v.Port)
	if err != nil {
		b.Fatal(err)
	}
	for _, err := range []error{
		m.Host().SetLink(l.Index, rtnl.Change{Up: true}),
		m.In(plan.InGuest).SetLink(l.Peer, rtnl.Change{Up: true}),
		m.In(plan.InGuest).AddAddr(l.Peer, netip.MustParsePrefix("192.168.1.2/24"), false),
	} {
		if err != nil {
			b.Fatal(err)
		}
	}
}

func remove(b *testing.B, m *plan.Machine, v kind.AddVeth) {
	l, err := m.Host().LinkByName(v.Port)
	if err == nil {
		err = m.Host().DelLink(l.Index)
	}
	if err != nil {
		b.Fatal(err)
	}
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}
