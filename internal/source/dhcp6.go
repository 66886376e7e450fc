package source

import (
	"context"
	"net"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/guestnet"
	"github.com/gopipework/gopipework/internal/lease"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/spec"
)

// An IPv6 address from a DHCPv6 server, whose lease is kept as those of IPv4 are.
// The server gives no routes: they come from router advertisements, which our
// interface takes, but for addresses.

// noAutoconf keeps advertisements from giving an address beside the server's.
const noAutoconf = "ipv6/conf/%s/autoconf"

// dhcp6 is a server that gives an IPv6 address. The leases of either protocol are kept
// in one way, and what is to be done about one that is there is dhcp's.
type dhcp6 struct{ passively }

func (dhcp6) kind() spec.SourceKind           { return spec.FromDHCP6 }
func (dhcp6) keeps(build.Inside) string       { return "" }
func (dhcp6) Differ(*build.Job, build.Differ) {}

func (dhcp6) Sysctls() []build.Needed {
	return []build.Needed{{Path: guestnet.AcceptRA, Value: "2"}, {Path: noAutoconf, Value: "0"}}
}

func (dhcp6) Get(j *build.Job, d *build.Draft) error {
	d.Add(GetLease6{Place: j.Place, inner: j.Names.Inner, options: j.From.DHCP, mac: j.MAC})
	guestnet.PlanRoutes(j, d, true)
	return nil
}

// GetLease6 is GetLease by DHCPv6.
type GetLease6 struct {
	plan.Place
	inner   string
	options lease.Options
	mac     net.HardwareAddr // that is asked for; nil: any
}

func (s GetLease6) Do(ctx context.Context, m *plan.Machine) error {
	m.HostLock.Release() // everything of the host's is in place: see await
	g := m.Guests[s.Side]
	ask := lease.NewAsk6(IdentityOf(g.GuestInfo), s.inner, s.Index(m, s.inner))
	if s.mac != nil {
		ask = ask.ByMAC(s.mac)
	}
	link := leaseLink{Kernel: s.Kernel(m), ask: ask}
	ctx, stop := m.WhileAlive(ctx)
	defer stop()
	l, err := lease.Acquire6(ctx, g.Namespace, ask, link, s.options.Timeout)
	if err != nil {
		return m.Cause(ctx, err)
	}
	return keepLease(ctx, s.Place, m, ask, &l, nil, s)
}

func (s GetLease6) Undo(ctx context.Context, m *plan.Machine) error {
	return releaseOf(ctx, s.Place, m, s.inner)
}

func (s GetLease6) Left() string { return ReleaseLease{inner: s.inner}.Left() }

func (GetLease6) Nature() plan.Nature { return plan.Undoable }

func (s GetLease6) String() string {
	w := "# get an address for " + s.inner + " from a DHCPv6 server, and keep its lease"
	if o := s.options.String(); o != "" {
		w += " (" + o + ")"
	}
	return w
}
