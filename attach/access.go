package attach

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/shell"
	"github.com/gopipework/gopipework/internal/spec"
	"golang.org/x/sys/unix"
)

// Host to macvlan (--host-access). A card hands nothing of the host's to the
// macvlans on it, nor theirs to the host. The host has a macvlan of its own
// there, then: one on each parent, for all guests, and a route by it for each
// address. It goes with the last of those routes.

// accessMark is the alias of the host's own macvlan.
const accessMark = plan.MarkWord + " host-access"

// Access is what there is of the host's way to guests on a parent.
type Access struct {
	Link   *rtnl.Link   // the host's own macvlan; nil: none
	Named  *rtnl.Link   // what has its name; nil: nothing
	Addrs  []rtnl.Addr  // of the parent
	Routes []rtnl.Route // by Link
}

// accessName is that of the host's own macvlan on a parent.
func accessName(parent string) string {
	sum := sha256.Sum256([]byte(parent))
	return "gph" + hex.EncodeToString(sum[:])[:8]
}

// arpFilter is the sysctl that has an interface answer those alone who are
// reached by it (Documentation/networking/ip-sysctl.rst).
func arpFilter(name string) string { return "ipv4/conf/" + name + "/arp_filter" }

// isAccess reports whether a link of the host is its own macvlan on a parent;
// one without the alias was left half made.
func isAccess(l *rtnl.Link) bool {
	return plan.IsOurs(l) && l.Kind == "macvlan" && l.PeerNS < 0 && (l.Alias == accessMark || l.Alias == "")
}

// access looks at the host's way to the guests on a parent; nil: that is yet to
// be made.
func (o *observer) access(name string, parent *rtnl.Link) (a Access) {
	a.Named = o.byName(o.host, accessName(name))
	if parent == nil {
		return a
	}
	o.look("the host's links", func() error {
		all, err := o.host.Links()
		if i := slices.IndexFunc(all, func(l *rtnl.Link) bool { return isAccess(l) && l.Peer == parent.Index }); i >= 0 {
			a.Link = all[i]
		}
		return err
	})
	o.look("the host's addresses", func() error {
		all, err := o.host.Addrs()
		a.Addrs = slices.DeleteFunc(all, func(d rtnl.Addr) bool { return d.Index != parent.Index })
		return err
	})
	if a.Link == nil {
		return a
	}
	o.look("the host's routes", func() (err error) { a.Routes, err = routesBy(o.host, a.Link.Index); return err })
	return a
}

// routesBy returns the routes of ours by a link of the host.
func routesBy(k plan.Kernel, index int) ([]rtnl.Route, error) {
	all, err := k.Routes()
	return slices.DeleteFunc(all, func(r rtnl.Route) bool { return r.Index != index || r.Protocol != Protocol }), err
}

// parent is the name of what the guest's link is on.
func (j *job) parent() string {
	if j.subInterface {
		return j.taggedName()
	}
	return j.HostIF.Name
}

// accessFree refuses a name that is taken.
func (j *job) accessFree() error {
	named := j.f.Access.Named
	if !j.HostAccess || j.f.Access.Link != nil || named == nil {
		return nil
	}
	return j.refuse(fault.Conflict, "the host has an interface %s already: %s; the host's own macvlan on %s needs that name",
		named.Name, describeKind(named), j.parent()).WithHint("rename it: ip link set %s name NEW", named.Name)
}

// hostAccess plans the host's way to the guest's addresses, as far as it is not
// there.
func (j *job) hostAccess(d *draft) {
	if !j.HostAccess {
		return
	}
	name, known := accessName(j.parent()), 0
	switch l := j.f.Access.Link; {
	case l == nil:
		d.add(addAccess{name: name, parent: j.parent()})
	case l.Alias == "":
		name, known = l.Name, l.Index
		d.add(plan.SetSysctl{Path: arpFilter(name), Value: "1"})
		d.add(ignoreRouters{name})
		d.add(plan.SetLink{Name: name, Set: rtnl.Change{AddrGenNone: true}}) // before it is up: the kernel sets it up first
		d.add(plan.SetLink{Name: name, Set: rtnl.Change{Alias: accessMark, Up: true}})
	default:
		name, known = l.Name, l.Index
		if !l.Up {
			d.add(raiseLink{name})
		}
	}
	for _, a := range j.accessAddrs() {
		if j.routed(a) {
			continue
		}
		source := sourceFor(j.f.Access.Addrs, a)
		if !source.IsValid() {
			d.warn("%s", noSourceWarning(j.parent(), a))
		}
		d.add(plan.AddRoute{Inner: name, Dst: netip.PrefixFrom(a, a.BitLen()), Source: source, Protocol: Protocol, Known: known})
	}
	if len(j.AddrsOf(true)) > 0 {
		d.warn("--host-access is for IPv4: the host does not reach %s", spec.Join(j.AddrsOf(true)))
	}
}

// routed reports whether the host has a route to a guest's address.
func (j *job) routed(a netip.Addr) bool {
	return slices.ContainsFunc(j.f.Access.Routes, func(r rtnl.Route) bool { return r.Dst.Addr() == a })
}

// sourceFor is the address that the host speaks to a guest's from: the parent's
// on the same subnet, or else its first.
func sourceFor(parent []rtnl.Addr, to netip.Addr) (best netip.Addr) {
	for _, a := range parent {
		own := a.Prefix
		switch {
		case own.Addr().Is6() != to.Is6() || own.Addr().IsLinkLocalUnicast():
		case own.Contains(to):
			return own.Addr()
		case !best.IsValid():
			best = own.Addr()
		}
	}
	return best
}

func noSourceWarning(parent string, to netip.Addr) string {
	return fmt.Sprintf("%s has no IPv4 address: the host speaks to %s from one of another interface", parent, to)
}

// accessDiffers tells of a way to the guest that is there and not asked for. One
// that is asked for and not there is made: somebody may have taken the address
// that it speaks from, and the kernel the routes with it. The keeper of a lease
// has to know of it.
func (j *job) accessDiffers(differ differ) {
	kept := j.f.Lease
	switch leased := j.From.Kind == FromDHCP && kept != nil; {
	case leased && j.HostAccess && kept.Ask.Access == nil:
		differ("host access", "off", "on")
	case !j.HostAccess && (leased && kept.Ask.Access != nil || slices.ContainsFunc(j.given(false), j.routed)):
		differ("host access", "on", "off")
	}
}

// addAccess makes the host's own macvlan on a parent.
//
// It has no address. It answers for the host's, as any interface does, but with
// arp_filter only to those whom the host reaches by it, which are our guests:
// others on the network go on hearing of the parent alone.
type addAccess struct{ name, parent string }

func (s addAccess) Do(ctx context.Context, m *plan.Machine) error {
	i, err := m.Find(plan.OnHost, s.parent)
	if err != nil {
		return fault.Explain("find parent", s.parent, err)
	}
	err = m.Host().AddChild(rtnl.Child{Name: s.name, Kind: "macvlan", Mode: "bridge", Parent: i, Group: plan.Group})
	switch {
	case errors.Is(err, unix.EOPNOTSUPP):
		return fault.New(fault.Unsupported, "make macvlan", s.name, "%w", err).WithHint("%s", missing("macvlan"))
	case err != nil:
		return fault.Explain("make macvlan", s.name, err)
	}
	l, err := m.Host().LinkByName(s.name)
	if err == nil {
		m.Know(plan.OnHost, s.name, l.Index)
		err = m.Host().SetSysctl(arpFilter(s.name), "1")
	}
	if err == nil { // the host has the parent to hear routers by
		err = ignoreRouters{s.name}.Do(ctx, m)
	}
	for _, set := range []rtnl.Change{{AddrGenNone: true}, {Alias: accessMark, Up: true}} {
		if err == nil {
			err = plan.SetLink{Name: s.name}.Apply(m, set)
		}
	}
	if err != nil {
		return plan.Half(fault.Explain("set up macvlan", s.name, err), s.clean(m), s)
	}
	return nil
}

// undo leaves it to others whose routes have come to go by it meanwhile.
func (s addAccess) Undo(_ context.Context, m *plan.Machine) error {
	routes, err := routesBy(m.Host(), m.Index(plan.OnHost, s.name))
	if err != nil || len(routes) > 0 {
		return fault.Explain("look at routes by", s.name, err)
	}
	if used, err := isUsed(m, m.Index(plan.OnHost, s.name)); err != nil || used {
		return err
	}
	return s.clean(m)
}

func (s addAccess) clean(m *plan.Machine) error {
	l, err := m.Host().LinkByName(s.name)
	if err == nil && plan.IsOurs(l) {
		err = deleteLink(m.Host(), l.Index)
	}
	return fault.IgnoreAbsent("delete macvlan", s.name, err)
}

func (addAccess) Nature() plan.Nature { return plan.Shared }

func (s addAccess) String() string {
	return "ip link add link " + s.parent + " name " + s.name + " group " + itoa(plan.Group) + " type macvlan mode bridge\n" +
		"sysctl -qw net/" + arpFilter(s.name) + "=1\n" +
		ignoreRouters{s.name}.String() + "\n" +
		"ip link set dev " + s.name + " addrgenmode none\n" +
		"ip link set dev " + s.name + " alias " + shell.Quote(accessMark) + " up"
}
