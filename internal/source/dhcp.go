package source

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guestnet"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/lease"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/spec"
	"golang.org/x/sys/unix"
)

// An address from a DHCP server, whose lease a process of ours keeps as long as
// the guest lives (internal/lease).

// KeepLeases is that process. Its arguments are those after ours.KeeperWord; ready
// tells who started it that it runs.
func KeepLeases(ctx context.Context, args []string, ready *os.File) error {
	hostNS, err := os.Open("/proc/thread-self/ns/net") // before any thread of ours enters the guest's
	if err != nil {
		return fault.New(fault.Failed, "open", "this process's network namespace", "%w", err)
	}
	defer hostNS.Close()
	return lease.Serve(ctx, args, ready, OpenLinks(hostNS))
}

// leaseGuest is the guest as a keeper knows it.
func leaseGuest(g guests.Guest) lease.Guest {
	return lease.Guest{Namespace: g.Namespace, PID: g.PID, Path: g.Path}
}

// KeptLeases returns what is kept for a guest.
func KeptLeases(g guests.Guest) ([]lease.Kept, error) {
	return ours.Keepers().List(leaseGuest(g))
}

// LeaseState is how the lease of an interface stands, for telling alone: what
// cannot be read is left out.
func LeaseState(k plan.Kernel, index int) *ours.LeaseState {
	if _, err := os.Stat(ours.RunDir); err != nil {
		return nil
	}
	cookie, err := k.Cookie()
	if err != nil {
		return nil
	}
	all, _ := ours.Keepers().Look(cookie)
	kept := KeptFor(all, index)
	if kept == nil {
		return nil
	}
	s := &ours.LeaseState{Source: sourceOf(kept.Ask), Trouble: kept.Trouble}
	if l := kept.Lease; l != nil {
		s.Server = l.Server.String()
		if left := l.Left(lease.Now()); left != lease.Forever {
			s.Seconds = int64(left.Seconds())
		}
	} else if s.Trouble == "" {
		s.Trouble = "there is none yet"
	}
	if kept.Unkept {
		s.Trouble = "its keeper was killed; gopipework gc starts it again"
	}
	return s
}

// KeptFor returns what is kept for an interface of the guest; nil: nothing.
func KeptFor(all []lease.Kept, index int) *lease.Kept {
	for i := range all {
		if all[i].Ask.Index == index {
			return &all[i]
		}
	}
	return nil
}

// IdentityOf is the guest as a DHCP server knows it.
func IdentityOf(g guests.GuestInfo) lease.Identity {
	return lease.Identity{Runtime: g.Runtime, ID: g.ID, Name: g.Name}
}

// leased is a source whose leases a keeper of ours keeps.
type leased struct{}

func (leased) keeps(in build.Inside) string {
	if in.Lease == nil {
		return ""
	}
	return "its address is leased by DHCP"
}

func (leased) Clear(j *build.Job, d *build.Draft) {
	if l := j.There.Lease; l != nil {
		d.Add(ReleaseLease{j.Place, j.Names.Inner, l.Ask.Index})
	}
}

func (leased) Detach(d build.Departure, c build.Pair, r *build.Removal) {
	if kept := KeptFor(d.There.Leases, c.Index()); kept != nil {
		r.First = append(r.First, ReleaseLease{d.Place, c.Interface.Name, kept.Ask.Index})
	}
}

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
	d.Add(GetLease{Place: j.Place, Inner: j.Names.Inner, options: j.From.DHCP, broadcast: j.Traits.SharedMAC, acd: j.ACD, mac: j.MAC, routes: j.Routes, behind: j.Keep, metric: defaultMetric(j), table: leaseTable(j, d), access: leaseAccessFor(j), cutsOff: guestnet.CutsOff(j, false)})
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
		if !reflect.DeepEqual(again, kept.Ask) {
			differ("DHCP options", "others", j.AddressWord())
		}
	}
}

// sourceOf is what has given a lease that is kept.
func sourceOf(a lease.Ask) spec.SourceKind {
	if a.Kind == lease.DHCPv6 {
		return spec.FromDHCP6
	}
	return spec.FromDHCP
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
	for _, r := range s.routes {
		ask.Routes = append(ask.Routes, lease.Asked{Dst: r.Dst, Via: r.Via, Metric: r.Metric, Table: r.Table})
	}
	if s.access != nil {
		parent, err := m.Find(plan.OnHost, s.access.macvlan.Parent)
		if err != nil {
			return fault.Explain("find parent", s.access.macvlan.Parent, err)
		}
		if ask.Access, err = accessFor(m.Host(), parent); err != nil {
			return err
		}
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

// keepLease configures the interface as a lease says, and has a keeper keep it. If that
// fails it releases the lease, while the interface still has the address to send the
// release from. A server that cannot be told finds out when the lease ends; nothing
// is left here.
func keepLease(ctx context.Context, p plan.Place, m *plan.Machine, ask lease.Ask, l *lease.Lease, access *leaseAccess, s plan.Step) error {
	g, link := m.Guests[p.Side], leaseLink{p.Kernel(m), ask, m.Host(), nil}
	err := l.Apply(link, nil, lease.Now())
	if err == nil && access != nil {
		err = access.set(ctx, m, link, *l)
	}
	if err == nil {
		err = fromHost(m, func() error { return ours.KeepersBy(ours.KeeperOf(m)).Keep(ctx, leaseGuest(g), ask, *l) })
	}
	if err == nil {
		return nil
	}
	_ = lease.Release(g.Namespace, ask, *l)
	left := l.Withdraw(link)
	if access != nil {
		left = errors.Join(left, access.withdraw(m))
	}
	return plan.Half(m.Cause(ctx, err), left, s)
}

// fromHost calls do in the host's namespace, where the keepers live that it starts.
func fromHost(m *plan.Machine, do func() error) error { return m.Host().Run(do) }

// releaseOf releases the lease of an interface that an earlier step has made.
func releaseOf(ctx context.Context, p plan.Place, m *plan.Machine, inner string) error {
	return ReleaseLease{p, inner, p.Index(m, inner)}.Do(ctx, m)
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

// ReleaseLease releases a lease. It cannot be undone: a client that asks again may
// get another address.
type ReleaseLease struct {
	plan.Place
	inner string
	index int
}

func (s ReleaseLease) Do(ctx context.Context, m *plan.Machine) error {
	err := fromHost(m, func() error {
		_, err := ours.KeepersBy(ours.KeeperOf(m)).Release(ctx, leaseGuest(m.Guests[s.Side]), s.index)
		return err
	})
	return fault.IgnoreAbsent("release lease of", s.inner, err)
}

func (s ReleaseLease) Undo(context.Context, *plan.Machine) error { return nil }

func (s ReleaseLease) Left() string {
	return "the lease of " + s.inner + ", which a DHCP server granted"
}

func (ReleaseLease) Nature() plan.Nature { return plan.Final }

func (s ReleaseLease) String() string {
	return "# give the lease of " + s.inner + " back to its DHCP server"
}

// OpenLinks is how a keeper reaches the interfaces of its guest, and the host.
func OpenLinks(hostNS *os.File) lease.OpenLinks {
	return func(ns *os.File) (lease.Links, error) {
		c, err := rtnl.Open(ns)
		if err != nil {
			return nil, err
		}
		return leaseLinks{c, hostNS}, nil
	}
}

type leaseLinks struct {
	plan.Kernel
	hostNS *os.File
}

func (l leaseLinks) Link(a lease.Ask) lease.Link { return leaseLink{l.Kernel, a, nil, l.hostNS} }

// leaseLink is an interface as leases change it.
type leaseLink struct {
	plan.Kernel
	ask    lease.Ask
	host   plan.Kernel // nil: to be opened when it is needed
	hostNS *os.File    // for that
}

var _ lease.Link = leaseLink{}

func (l leaseLink) SetAddr(p netip.Prefix, valid, preferred time.Duration) error {
	return l.Kernel.SetAddr(l.ask.Index, p, valid, preferred)
}

func (l leaseLink) DelAddr(p netip.Prefix) error {
	if err := l.Kernel.DelAddr(l.ask.Index, p); err != nil && !fault.Absent(err) {
		return err
	}
	return errors.Join(l.delReplies(p.Addr()), l.delAccess(p.Addr()))
}

// AddRoute puts a default route in front of the one that is there, as
// @GATEWAY does, or behind all others.
func (l leaseLink) AddRoute(r lease.Route) error {
	route := l.route(r)
	if r.Default() {
		all, err := l.Kernel.Routes()
		if err != nil {
			return err
		}
		if slices.ContainsFunc(all, func(o rtnl.Route) bool {
			return o.Default() && o.Index == route.Index && o.Gateway == route.Gateway
		}) {
			return nil
		}
		switch {
		case l.ask.Metric != 0:
			route.Metric = l.ask.Metric
		case l.ask.Behind:
			route.Metric = worstMetric(all, route.Index) + 1
		default:
			route.Metric = bestMetric(all)
		}
	}
	if err := l.Kernel.AddRoute(route, r.Default()); !errors.Is(err, unix.EEXIST) {
		return err
	}
	return nil
}

// bestMetric is that of the IPv4 default route that wins now.
func bestMetric(all []rtnl.Route) int {
	best := -1
	for _, r := range all {
		if r.Default() && r.Dst.Addr().Is4() && (best < 0 || r.Metric < best) {
			best = r.Metric
		}
	}
	return max(best, 0)
}

// worstMetric returns the highest metric of the IPv4 default routes by other links;
// -1 if there are none.
func worstMetric(all []rtnl.Route, but int) int {
	worst := -1
	for _, r := range all {
		if r.Default() && r.Dst.Addr().Is4() && r.Index != but {
			worst = max(worst, r.Metric)
		}
	}
	return worst
}

func (l leaseLink) DelRoute(r lease.Route) error {
	all, err := l.Kernel.Routes()
	if err != nil {
		return err
	}
	route := l.route(r)
	for _, o := range all {
		if o.Index == route.Index && o.Dst == route.Dst && o.Gateway == route.Gateway {
			route.Metric = o.Metric
			if err := l.Kernel.DelRoute(route); !fault.Absent(err) {
				return err
			}
		}
	}
	return nil
}

func (l leaseLink) route(r lease.Route) rtnl.Route {
	return rtnl.Route{Dst: r.Dst, Gateway: r.Gateway, Source: r.Source, Index: l.ask.Index, Protocol: unix.RTPROT_DHCP}
}

// AddAsked adds what --route asks for.
func (l leaseLink) AddAsked() error {
	for _, r := range l.ask.Routes {
		asked := rtnl.Route{Dst: r.Dst, Gateway: r.Via, Metric: r.Metric, Table: r.Table, Index: l.ask.Index, Protocol: ours.Protocol}
		if err := plan.EnsureRoute(l.Kernel, asked); err != nil {
			return fault.New(fault.Failed, "add route", r.Dst.String(), "%w", err)
		}
	}
	return nil
}

func (l leaseLink) LowerMTU(bytes int) error {
	link, err := l.Kernel.LinkByIndex(l.ask.Index)
	if err != nil || link.MTU <= bytes {
		return err
	}
	return l.Kernel.SetLink(l.ask.Index, rtnl.Change{MTU: bytes})
}

// DAD looks at the address. The kernel deletes one that has an end and turns out
// to be somebody else's.
func (l leaseLink) DAD(p netip.Prefix) (lease.DAD, error) {
	if _, err := l.Kernel.LinkByIndex(l.ask.Index); err != nil {
		return 0, fmt.Errorf("find interface %d: %w", l.ask.Index, err)
	}
	all, err := l.Kernel.Addrs()
	if err != nil {
		return 0, err
	}
	for _, a := range all {
		switch {
		case a.Index != l.ask.Index || a.Prefix != p:
			continue
		case a.Duplicate():
			return lease.Taken, nil
		case a.Tentative():
			return lease.Tentative, nil
		}
		return lease.Settled, nil
	}
	return lease.Taken, nil
}

// WakeKeepers starts the keepers again that were killed while their guests
// live, and removes what those of dead guests have left. That one of them cannot
// be started is a warning: the run that notices may have to do with another
// guest.
func WakeKeepers(ctx context.Context, program string) (warnings []string) {
	if _, err := os.Stat(ours.RunDir); err != nil {
		return nil // nothing was ever kept
	}
	if _, err := ours.KeepersBy(program).Sweep(ctx, false); err != nil && ctx.Err() == nil {
		warnings = append(warnings, strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return warnings
}
