package source

import (
	"context"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guestnet"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/spec"
)

// Addresses and a default route from router advertisements (RFC 4862), on our
// interface alone. The kernel maintains them by itself.

// slaac is the routers on the network.
type slaac struct{ passively }

func (slaac) kind() spec.SourceKind   { return spec.FromSLAAC }
func (slaac) Sysctls() []build.Needed { return []build.Needed{{Path: guestnet.AcceptRA, Value: "2"}} }

func (slaac) keeps(in build.Inside) string {
	if !in.RA {
		return ""
	}
	return "its addresses come from a router"
}

// Get plans to wait for an address.
func (slaac) Get(j *build.Job, d *build.Draft) error {
	d.Add(AwaitSLAAC{Place: j.Place, inner: j.Names.Inner})
	guestnet.PlanRoutes(j, d, true)
	return nil
}

func (slaac) Differ(j *build.Job, differ build.Differ) {
	if j.From.Kind == spec.FromDHCP6 || j.There.Lease != nil && sourceOf(j.There.Lease.Ask) == spec.FromDHCP6 {
		return // what is said of the lease is enough
	}
	if asked := j.From.HearsRouters(); asked != j.There.RA {
		words := map[bool]string{true: "from router advertisements", false: "without router advertisements"}
		differ("address", words[j.There.RA], j.AddressWord())
	}
}

// AwaitSLAAC waits for an address that a router's advertisement has brought,
// and that is known to be nobody else's.
type AwaitSLAAC struct {
	plan.Place
	inner string
}

func (s AwaitSLAAC) Do(ctx context.Context, m *plan.Machine) error {
	return m.Await(ctx, s.Side, func() (bool, error) {
		if _, err := s.Kernel(m).LinkByIndex(s.Index(m, s.inner)); err != nil {
			return false, fault.Explain("find", s.inner, err)
		}
		all, err := s.Kernel(m).Addrs()
		for _, a := range all {
			if a.Index == s.Index(m, s.inner) && learned(a) && !a.Tentative() && !a.Duplicate() {
				return true, nil
			}
		}
		return false, fault.Explain("read addresses of", s.inner, err)
	})
}

// learned reports whether a router's advertisement has brought an address.
func learned(a rtnl.Addr) bool {
	ip := a.Prefix.Addr()
	return ip.Is6() && !ip.IsLinkLocalUnicast() && !a.Permanent()
}

func (s AwaitSLAAC) Whom() string {
	return "is there a router on this network that advertises a prefix for addresses? dhcp6 asks a server instead;"
}

func (s AwaitSLAAC) Undo(context.Context, *plan.Machine) error { return nil }

func (AwaitSLAAC) Nature() plan.Nature { return plan.Passive }

func (s AwaitSLAAC) String() string {
	return "# wait until a router has given " + s.inner + " an address"
}
