package attach

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/lease"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/spec"
	"golang.org/x/sys/unix"
)

// An address from a DHCP server, whose lease a process of ours keeps as long as
// the guest lives (internal/lease).

// keepLeases is that process. Its arguments are those after keeperWord; ready
// tells who started it that it runs.
func keepLeases(ctx context.Context, args []string, ready *os.File) error {
	hostNS, err := os.Open("/proc/thread-self/ns/net") // before any thread of ours enters the guest's
	if err != nil {
		return fault.New(fault.Failed, "open", "this process's network namespace", "%w", err)
	}
	defer hostNS.Close()
	return lease.Serve(ctx, args, ready, openLinks(hostNS))
}

// leaseGuest is the guest as a keeper knows it.
func leaseGuest(g Guest) lease.Guest {
	return lease.Guest{Namespace: g.Namespace, PID: g.PID, Path: g.Path}
}

// keptLeases returns what is kept for a guest.
func keptLeases(g Guest) ([]lease.Kept, error) {
	return keepers().List(leaseGuest(g))
}

// leaseState is how the lease of an interface stands, for telling alone: what
// cannot be read is left out.
func leaseState(k plan.Kernel, index int) *LeaseState {
	if _, err := os.Stat(runDir); err != nil {
		return nil
	}
	cookie, err := k.Cookie()
	if err != nil {
		return nil
	}
	all, _ := keepers().Look(cookie)
	kept := keptFor(all, index)
	if kept == nil {
		return nil
	}
	s := &LeaseState{Source: sourceOf(kept.Ask), Trouble: kept.Trouble}
	if l := kept.Lease; l != nil {
		s.Server = l.Server.String()
		if left := l.Left(lease.Now()); left != lease.Forever {
			s.Seconds = int64(left.Seconds())
		}
	} else if s.Trouble == "" {
		s.Trouble = "it has none yet"
	}
	if kept.Unkept {
		s.Trouble = "the process that keeps it was killed; gopipework gc starts it again"
	}
	return s
}

// keptFor returns what is kept for an interface of the guest; nil: nothing.
func keptFor(all []lease.Kept, index int) *lease.Kept {
	for i := range all {
		if all[i].Ask.Index == index {
			return &all[i]
		}
	}
	return nil
}

// identityOf is the guest as a DHCP server knows it.
func identityOf(g GuestInfo) lease.Identity {
	return lease.Identity{Runtime: g.Runtime, ID: g.ID, Name: g.Name}
}

// leased is a source whose leases a keeper of ours keeps.
type leased struct{}

func (leased) keeps(in Inside) string {
	if in.Lease == nil {
		return ""
	}
	return "its address is leased by DHCP"
}

func (leased) clear(j *job, d *draft) {
	if l := j.f.Lease; l != nil {
		d.add(releaseLease{j.Place, j.names.inner, l.Ask.Index})
	}
}

func (leased) detach(d departure, c Pair, r *removal) {
	if kept := keptFor(d.f.Leases, c.index()); kept != nil {
		r.first = append(r.first, releaseLease{d.Place, c.Interface.Name, kept.Ask.Index})
	}
}

// dhcp is a server that gives an IPv4 address.
type dhcp struct{ leased }

func (dhcp) kind() SourceKind  { return FromDHCP }
func (dhcp) sysctls() []needed { return nil }

// get plans for the address. Where its default route goes is decided when it is known;
// that it can go there is looked at now.
func (dhcp) get(j *job, d *draft) error {
	if !j.From.DHCP.NoDefaultRoute {
		if err := j.rank(d, &plan.AddRoute{Dst: spec.DefaultRoute(false)}); err != nil {
			return err
		}
	}
	j.keepReplies(d, false) // before our default route: no answer is to miss its way
	d.add(getLease{Place: j.Place, inner: j.names.inner, options: j.From.DHCP, broadcast: j.traits().sharedMAC, acd: j.ACD, mac: j.MAC, routes: j.Routes, behind: j.Keep, metric: j.defaultMetric(), table: j.leaseTable(d), access: j.leaseAccess(), cutsOff: j.cutsOff(false)})
	j.routes(d, false)
	if !j.traits().upLate {
		d.add(announce{Place: j.Place, inner: j.names.inner, mac: j.mac()})
	}
	return nil
}

// defaultMetric is what --metric says of the server's default route.
func (j *job) defaultMetric() int {
	if j.From.DHCP.NoDefaultRoute {
		return 0
	}
	return j.Metric
}

// repair plans the source routing of the address again, if somebody has taken it away.
func (dhcp) repair(j *job, d *draft) error {
	j.repairLeaseReplies(d)
	return nil
}

// differ compares the lease that is kept, by either protocol, with what is asked for.
func (dhcp) differ(j *job, differ differ) {
	kept, asked := j.f.Lease, j.From.Leased()
	switch {
	case kept != nil && (!asked || j.From.Kind != sourceOf(kept.Ask)):
		differ("address", "by "+string(sourceOf(kept.Ask)), j.AddressWord())
	case asked && kept == nil:
		differ("address", orNone(addressesOf(j.f.Inner, j.f.Addrs)), j.AddressWord())
	case j.From.Kind == FromDHCP:
		again := dhcpAsk(j.From.DHCP, j.f.Guest, kept.Ask.IfName, kept.Ask.Index, j.MAC)
		if j.From.DHCP.ClientID == nil && j.MAC == nil {
			again.ClientID = kept.Ask.ClientID // a MAC address that is not asked for may be any
		}
		again.Broadcast, again.ACD, again.Routes = kept.Ask.Broadcast, kept.Ask.ACD, kept.Ask.Routes // of these routesDiffer tells
		if kept.Ask.Behind != j.Keep {
			differ("--default", defaultWord(kept.Ask.Behind), defaultWord(j.Keep))
		}
		if m := j.defaultMetric(); m != 0 && m != kept.Ask.Metric {
			differ("metric", kept.Ask.Metric, m)
		}
		again.Behind, again.Metric = kept.Ask.Behind, kept.Ask.Metric
		again.Table, again.Access = kept.Ask.Table, kept.Ask.Access // repliesDiffer and accessDiffers tell
		if !reflect.DeepEqual(again, kept.Ask) {
			differ("DHCP options", "others", j.AddressWord())
		}
	}
}

// sourceOf is what has given a lease that is kept.
func sourceOf(a lease.Ask) SourceKind {
	if a.Kind == lease.DHCPv6 {
		return FromDHCP6
	}
	return FromDHCP
}

// getLease gets a lease, gives the interface what it says, and has it kept.
type getLease struct {
	plan.Place
	inner     string
	options   lease.Options
	broadcast bool
	acd       bool
	mac       net.HardwareAddr // that is asked for; nil: any
	behind    bool             // the server's default route goes behind the guest's own
	metric    int              // of that; 0: whatever puts it in its place
	cutsOff   string           // the interface whose published ports a default route of the server's cuts off; "": none
	access    *leaseAccess     // nil: the host need not reach the address
	table     int              // that replies from the address are looked up in; 0: no source routing
	routes    []Route          // that the keeper adds again with a new lease; later steps add them now
}

// dhcpAsk is what a server is told. A client identifier on the line goes before
// a MAC address there, and that before the guest's identity.
func dhcpAsk(o lease.Options, g GuestInfo, inner string, index int, mac net.HardwareAddr) lease.Ask {
	ask := lease.NewAsk(o, identityOf(g), inner, index)
	if o.ClientID == nil && mac != nil {
		return ask.ByMAC(mac)
	}
	return ask
}

func (s getLease) Do(ctx context.Context, m *plan.Machine) error {
	m.HostLock.Release() // everything of the host's is in place: see await
	g := m.Guests[s.Side]
	ask := dhcpAsk(s.options, g.GuestInfo, s.inner, s.Index(m, s.inner), s.mac)
	ask.Broadcast, ask.ACD, ask.Behind, ask.Metric, ask.Table = s.broadcast, s.acd, s.behind, s.metric, s.table
	for _, r := range s.routes {
		ask.Routes = append(ask.Routes, lease.Asked{Dst: r.Dst, Via: r.Via, Metric: r.Metric, Table: r.Table})
	}
	if s.access != nil {
		parent, err := m.Find(plan.OnHost, s.access.macvlan.parent)
		if err != nil {
			return fault.Explain("find parent", s.access.macvlan.parent, err)
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
		m.Warn(repliesWarning(l.Routes[i].Gateway, s.cutsOff))
	}
	m.Remember(leaseKey{}, &l)
	return nil
}

func (s getLease) Undo(ctx context.Context, m *plan.Machine) error {
	err := releaseOf(ctx, s.Place, m, s.inner)
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
		err = fromHost(m, func() error { return keepersBy(keeperOf(m)).Keep(ctx, leaseGuest(g), ask, *l) })
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

// releaseOf gives back the lease of an interface that an earlier step has made.
func releaseOf(ctx context.Context, p plan.Place, m *plan.Machine, inner string) error {
	return releaseLease{p, inner, p.Index(m, inner)}.Do(ctx, m)
}

func (s getLease) Left() string {
	w := releaseLease{inner: s.inner}.Left()
	if s.access != nil {
		w += ", and the host's way to its address"
	}
	return w
}

func (getLease) Nature() plan.Nature { return plan.Undoable }

func (s getLease) String() string {
	w := "# get an address for " + s.inner + " from a DHCP server, and keep its lease"
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
		w += ", with the metric " + itoa(s.metric)
	}
	if s.table != 0 {
		w += "\n# look up replies from that address in a table with the interface's routes alone:\n# " +
			s.Enter + "ip rule add from ADDRESS lookup " + itoa(s.table) + " priority " + itoa(ownPriority) + " protocol " + itoa(Protocol)
	}
	if s.access != nil {
		w += "\n# the host reaches that address too:\n" + s.access.words()
	}
	if s.acd {
		w += "\n# ask by ARP whether somebody has that address already, and decline it then"
	}
	return w
}

// leaseKey is that of the lease that the machine remembers.
type leaseKey struct{}

// gotLease returns the lease that an earlier step has got; nil: none.
func gotLease(m *plan.Machine) *lease.Lease {
	l, _ := m.Remembered(leaseKey{}).(*lease.Lease)
	return l
}

// releaseLease gives a lease back to its server. There is no way back from it:
// who asks again may get another address.
type releaseLease struct {
	plan.Place
	inner string
	index int
}

func (s releaseLease) Do(ctx context.Context, m *plan.Machine) error {
	err := fromHost(m, func() error {
		_, err := keepersBy(keeperOf(m)).Release(ctx, leaseGuest(m.Guests[s.Side]), s.index)
		return err
	})
	return fault.IgnoreAbsent("give back lease of", s.inner, err)
}

func (s releaseLease) Undo(context.Context, *plan.Machine) error { return nil }

func (s releaseLease) Left() string {
	return "the lease of " + s.inner + ", which a DHCP server has given"
}

func (releaseLease) Nature() plan.Nature { return plan.Final }

func (s releaseLease) String() string {
	return "# give the lease of " + s.inner + " back to its DHCP server"
}

// openLinks is how a keeper reaches the interfaces of its guest, and the host.
func openLinks(hostNS *os.File) lease.OpenLinks {
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
		asked := rtnl.Route{Dst: r.Dst, Gateway: r.Via, Metric: r.Metric, Table: r.Table, Index: l.ask.Index, Protocol: Protocol}
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

// DAD looks at the address. The kernel takes one away that has an end and turns
// out to be somebody else's.
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

// wakeKeepers starts the keepers again that were killed while their guests
// live, and removes what those of dead guests have left. That one of them cannot
// be started is a warning: the run that notices may have to do with another
// guest.
func wakeKeepers(ctx context.Context, program string) (warnings []string) {
	if _, err := os.Stat(runDir); err != nil {
		return nil // nothing was ever kept
	}
	if _, err := keepersBy(program).Sweep(ctx, false); err != nil && ctx.Err() == nil {
		warnings = append(warnings, strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return warnings
}
