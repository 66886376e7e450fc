package source

import (
	"context"
	"errors"
	"net"
	"reflect"
	"slices"
	"strconv"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guestnet"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/lease"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/spec"
)

// An address from a DHCP server. Its lease is kept (keptlease.go).

// dhcp is a server that gives an IPv4 address.
type dhcp struct{ leased }

func (dhcp) kind() spec.SourceKind   { return spec.FromDHCP }
func (dhcp) Sysctls() []build.Needed { return nil }

// Get plans for the address. Where its default route goes is decided when it is known;
// that it can go there is looked at now.
func (dhcp) Get(j *build.Job, d *build.Draft) error {
	if !j.From.DHCP.NoDefaultRoute {
		if err := guestnet.RankRoute(j, d, &plan.AddRoute{Dst: spec.DefaultRoute(false)}); err != nil {
			return err
		}
	}
	guestnet.KeepReplies(j, d, false) // before our default route: no answer is to miss its way
	d.Add(GetLease{Place: j.Place, Inner: j.Names.Inner, options: j.From.DHCP, broadcast: j.Traits.SharedMAC, acd: j.ACD, mac: j.MAC, routes: j.Routes, behind: j.Keep, metric: defaultMetric(j), table: leaseTable(j, d), access: leaseAccessFor(j), bridge: leaseBridge(j), cutsOff: guestnet.CutsOff(j, false)})
	guestnet.PlanRoutes(j, d, false)
	if !j.Traits.UpLate {
		d.Add(guestnet.Announce{Place: j.Place, Inner: j.Names.Inner, Mac: j.LinkMAC()})
	}
	return nil
}

// defaultMetric is what --metric says about the server's default route.
func defaultMetric(j *build.Job) int {
	if j.From.DHCP.NoDefaultRoute {
		return 0
	}
	return j.Metric
}

// Repair plans the source routing of the address again, if somebody has deleted it.
func (dhcp) Repair(j *build.Job, d *build.Draft) error {
	repairLeaseReplies(j, d)
	return nil
}

// Differ compares the lease that is kept, by either protocol, with what is asked for.
func (dhcp) Differ(j *build.Job, differ build.Differ) {
	kept, asked := j.There.Lease, j.From.Leased()
	switch {
	case kept != nil && (!asked || j.From.Kind != sourceOf(kept.Ask)):
		differ("address", "by "+string(sourceOf(kept.Ask)), j.AddressWord())
	case asked && kept == nil:
		differ("address", spec.OrNone(spec.Join(ours.AddressesOf(j.There.Inner, j.There.Addrs))), j.AddressWord())
	case j.From.Kind == spec.FromDHCP:
		again := dhcpAsk(j.From.DHCP, j.There.Guest, kept.Ask.IfName, kept.Ask.Index, j.MAC)
		if j.From.DHCP.ClientID == nil && j.MAC == nil {
			again.ClientID = kept.Ask.ClientID // a MAC address that is not asked for may be any
		}
		again.Broadcast, again.ACD, again.Routes = kept.Ask.Broadcast, kept.Ask.ACD, kept.Ask.Routes // RoutesDiffer reports these
		if kept.Ask.Behind != j.Keep {
			differ("--default", guestnet.DefaultWord(kept.Ask.Behind), guestnet.DefaultWord(j.Keep))
		}
		if m := defaultMetric(j); m != 0 && m != kept.Ask.Metric {
			differ("metric", kept.Ask.Metric, m)
		}
		again.Behind, again.Metric = kept.Ask.Behind, kept.Ask.Metric
		again.Table, again.Access = kept.Ask.Table, kept.Ask.Access // guestnet.RepliesDiffer and hostaccess.Differ report these
		again.Neighbour = kept.Ask.Neighbour                        // which follows the uplink of the bridge
		if !reflect.DeepEqual(again, kept.Ask) {
			differ("DHCP options", "others", j.AddressWord())
		}
	}
}

// GetLease gets a lease, gives the interface what it says, and has it kept.
type GetLease struct {
	plan.Place
	Inner     string
	options   lease.Options
	broadcast bool
	acd       bool
	mac       net.HardwareAddr // that is asked for; nil: any
	behind    bool             // the server's default route goes behind the guest's own
	metric    int              // of that; 0: whatever puts it in its place
	cutsOff   string           // the interface whose published ports a default route of the server's cuts off; "": none
	access    *leaseAccess     // nil: the host need not reach the address
	bridge    string           // that has the address as a neighbour for good; "": none has
	table     int              // that replies from the address are looked up in; 0: no source routing
	routes    []spec.Route     // that the keeper adds again with a new lease; later steps add them now
}

// dhcpAsk is what a server is told. A client identifier on the line goes before
// a MAC address there, and that before the guest's identity.
func dhcpAsk(o lease.Options, g guests.GuestInfo, inner string, index int, mac net.HardwareAddr) lease.Ask {
	ask := lease.NewAsk(o, IdentityOf(g), inner, index)
	if o.ClientID == nil && mac != nil {
		return ask.ByMAC(mac)
	}
	return ask
}

func (s GetLease) Do(ctx context.Context, m *plan.Machine) error {
	m.HostLock.Release() // everything of the host's is in place: see await
	g := m.Guests[s.Side]
	ask := dhcpAsk(s.options, g.GuestInfo, s.Inner, s.Index(m, s.Inner), s.mac)
	ask.Broadcast, ask.ACD, ask.Behind, ask.Metric, ask.Table = s.broadcast, s.acd, s.behind, s.metric, s.table
	ask.Routes = askedOf(s.routes)
	if s.access != nil {
		parent, err := m.Find(plan.OnHost, s.access.macvlan.Parent)
		if err != nil {
			return fault.Explain("find parent", s.access.macvlan.Parent, err)
		}
		if ask.Access, err = accessFor(m.Host(), parent); err != nil {
			return err
		}
	}
	var err error
	if ask.Neighbour, err = neighbourFor(m, s.bridge); err != nil {
		return err
	}
	ctx, stop := m.WhileAlive(ctx)
	defer stop()
	l, err := lease.Acquire(ctx, g.Namespace, ask, s.options.Timeout)
	if err != nil {
		return m.Cause(ctx, err)
	}
	if err := keepLease(ctx, s.Place, m, ask, &l, s.access, s); err != nil {
		return err
	}
	m.Warn(l.Warning())
	if i := slices.IndexFunc(l.Routes, lease.Route.Default); i >= 0 && s.cutsOff != "" {
		m.Warn(guestnet.RepliesWarning(l.Routes[i].Gateway, s.cutsOff))
	}
	m.Remember(guestnet.LeaseKey{}, &l)
	return nil
}

func (s GetLease) Undo(ctx context.Context, m *plan.Machine) error {
	err := releaseOf(ctx, s.Place, m, s.Inner)
	if s.access != nil {
		err = errors.Join(err, s.access.unset(ctx, m))
	}
	return err
}

func (s GetLease) Left() string {
	w := ReleaseLease{inner: s.Inner}.Left()
	if s.access != nil {
		w += ", and the host's way to its address"
	}
	return w
}

func (GetLease) Nature() plan.Nature { return plan.Undoable }

func (s GetLease) String() string {
	w := "# get an address for " + s.Inner + " from a DHCP server, and keep its lease"
	if o := s.options.String(); o != "" {
		w += " (" + o + ")"
	}
	switch {
	case s.behind:
		w += "\n# put its default route behind the guest's own"
	case s.metric != 0:
		w += "\n# put its default route in front of the guest's own"
	}
	if s.metric != 0 {
		w += ", with the metric " + strconv.Itoa(s.metric)
	}
	if s.table != 0 {
		w += "\n# look up replies from that address in a table with the interface's routes alone:\n# " +
			s.Enter + "ip rule add from ADDRESS lookup " + strconv.Itoa(s.table) + " priority " + strconv.Itoa(guestnet.OwnPriority) + " protocol " + strconv.Itoa(ours.Protocol)
	}
	if s.access != nil {
		w += "\n# the host reaches that address too:\n" + s.access.words()
	}
	if s.acd {
		w += "\n# ask by ARP whether somebody has that address already, and decline it then"
	}
	return w
}
