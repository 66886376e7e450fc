package hostaccess

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guestnet"
	"github.com/gopipework/gopipework/internal/ours"
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

// AccessMark is the alias of the host's own macvlan.
const AccessMark = plan.MarkWord + " host-access"

// AccessName is that of the host's own macvlan on a parent.
func AccessName(parent string) string {
	sum := sha256.Sum256([]byte(parent))
	return "gph" + hex.EncodeToString(sum[:])[:8]
}

// arpFilter is the sysctl that has an interface answer those alone who are
// reached by it (Documentation/networking/ip-sysctl.rst).
func arpFilter(name string) string { return "ipv4/conf/" + name + "/arp_filter" }

// IsAccess reports whether a link of the host is its own macvlan on a parent;
// one without the alias was left half made.
func IsAccess(l *rtnl.Link) bool {
	return plan.IsOurs(l) && l.Kind == "macvlan" && l.PeerNS < 0 && (l.Alias == AccessMark || l.Alias == "")
}

// On returns the host's own macvlan on a parent; nil: there is none.
func On(k plan.Reader, parent int) (*rtnl.Link, error) {
	all, err := k.Links()
	if i := slices.IndexFunc(all, func(l *rtnl.Link) bool { return IsAccess(l) && l.Peer == parent }); err == nil && i >= 0 {
		return all[i], nil
	}
	return nil, err
}

// Access looks at the host's way to the guests on a parent; nil: that is yet to
// be made.
func Access(o *build.Looker, host plan.Kernel, name string, parent *rtnl.Link) (a build.Access) {
	a.Named = o.ByName(host, AccessName(name))
	if parent == nil {
		return a
	}
	o.Look("the host's links", func() (err error) { a.Link, err = On(host, parent.Index); return err })
	o.Look("the host's addresses", func() error {
		all, err := host.Addrs()
		a.Addrs = slices.DeleteFunc(all, func(d rtnl.Addr) bool { return d.Index != parent.Index })
		return err
	})
	if a.Link == nil {
		return a
	}
	o.Look("the host's routes", func() (err error) { a.Routes, err = ours.RoutesBy(host, a.Link.Index); return err })
	return a
}

// ParentOf is the name of what the guest's link is on.
func ParentOf(j *build.Job) string {
	if j.SubInterface {
		return j.TaggedName()
	}
	return j.HostIF.Name
}

// CheckKind refuses links that the host has no such way to.
func CheckKind(j *build.Job) error {
	switch {
	case !j.Traits.HostAccess:
		return j.Refuse(fault.Usage, "--host-access is for a macvlan, but this is of the kind %s", j.Kind).WithHint("leave --host-access out")
	case j.Mode != "bridge":
		return j.Refuse(fault.Usage, "--host-access needs the mode bridge: in %s a macvlan hears no other on its parent", j.Mode).
			WithHint("attach it with --mode bridge")
	}
	return nil
}

// CheckName refuses a name that is taken.
func CheckName(j *build.Job) error {
	named := j.There.Access.Named
	if !j.HostAccess || j.There.Access.Link != nil || named == nil {
		return nil
	}
	return j.Refuse(fault.Conflict, "the host has an interface %s already: %s; the host's own macvlan on %s needs that name",
		named.Name, ours.DescribeKind(named), ParentOf(j)).WithHint("rename it: ip link set %s name NEW", named.Name)
}

// PlanWay plans what is missing of the host's way to the guest's addresses.
func PlanWay(j *build.Job, d *build.Draft) {
	if !j.HostAccess {
		return
	}
	name, known := AccessName(ParentOf(j)), 0
	switch l := j.There.Access.Link; {
	case l == nil:
		d.Add(AddAccess{Name: name, Parent: ParentOf(j)})
	case l.Alias == "":
		name, known = l.Name, l.Index
		d.Add(plan.SetSysctl{Path: arpFilter(name), Value: "1"})
		d.Add(guestnet.IgnoreRouters{Name: name})
		d.Add(plan.SetLink{Name: name, Set: rtnl.Change{AddrGenNone: true}}) // before it is up: the kernel sets it up first
		d.Add(plan.SetLink{Name: name, Set: rtnl.Change{Alias: AccessMark, Up: true}})
	default:
		name, known = l.Name, l.Index
		if !l.Up {
			d.Add(ours.RaiseLink{Name: name})
		}
	}
	for _, a := range accessAddrs(j) {
		if routedTo(j, a) {
			continue
		}
		source := SourceFor(j.There.Access.Addrs, a)
		if !source.IsValid() {
			d.Warn("%s", NoSourceWarning(ParentOf(j), a))
		}
		d.Add(plan.AddRoute{Inner: name, Dst: netip.PrefixFrom(a, a.BitLen()), Source: source, Protocol: ours.Protocol, Known: known})
	}
	if len(j.AddrsOf(true)) > 0 {
		d.Warn("--host-access works only for IPv4: the host cannot reach %s", spec.Join(j.AddrsOf(true)))
	}
}

// routedTo reports whether the host has a route to a guest's address.
func routedTo(j *build.Job, a netip.Addr) bool {
	return slices.ContainsFunc(j.There.Access.Routes, func(r rtnl.Route) bool { return r.Dst.Addr() == a })
}

// SourceFor is the address that the host speaks to a guest's from: the parent's
// on the same subnet, or else its first.
func SourceFor(parent []rtnl.Addr, to netip.Addr) (best netip.Addr) {
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

func NoSourceWarning(parent string, to netip.Addr) string {
	return fmt.Sprintf("%s has no IPv4 address: the host reaches %s from an address of another interface", parent, to)
}

// Differ reports a way to the guest that is there and not asked for. One
// that is asked for and not there is made: somebody may have taken the address
// that it speaks from, and the kernel the routes with it. The keeper of a lease
// has to know of it.
func Differ(j *build.Job, differ build.Differ) {
	kept := j.There.Lease
	switch {
	case j.HostAccess && j.From.Kind == spec.FromDHCP && kept != nil && kept.Ask.Access == nil:
		differ(spec.HostAccess, spec.Off, spec.On)
	case !j.HostAccess && IsOn(j):
		differ(spec.HostAccess, spec.On, spec.Off)
	}
}

// AddAccess makes the host's own macvlan on a parent.
//
// It has no address. It answers for the host's, as any interface does, but with
// arp_filter only to those whom the host reaches by it, which are our guests:
// others on the network go on hearing of the parent alone.
type AddAccess struct{ Name, Parent string }

func (s AddAccess) Do(ctx context.Context, m *plan.Machine) error {
	i, err := m.Find(plan.OnHost, s.Parent)
	if err != nil {
		return fault.Explain("find parent", s.Parent, err)
	}
	err = m.Host().AddChild(rtnl.Child{Name: s.Name, Kind: "macvlan", Mode: "bridge", Parent: i, Group: plan.Group})
	switch {
	case errors.Is(err, unix.EOPNOTSUPP):
		return fault.New(fault.Unsupported, "make macvlan", s.Name, "%w", err).WithHint("%s", ours.Missing("macvlan"))
	case err != nil:
		return fault.Explain("make macvlan", s.Name, err)
	}
	l, err := m.Host().LinkByName(s.Name)
	if err == nil {
		m.Know(plan.OnHost, s.Name, l.Index)
		err = m.Host().SetSysctl(arpFilter(s.Name), "1")
	}
	if err == nil { // the host has the parent to hear routers by
		err = guestnet.IgnoreRouters{Name: s.Name}.Do(ctx, m)
	}
	for _, set := range []rtnl.Change{{AddrGenNone: true}, {Alias: AccessMark, Up: true}} {
		if err == nil {
			err = plan.SetLink{Name: s.Name}.Apply(m, set)
		}
	}
	if err != nil {
		return plan.Half(fault.Explain("set up macvlan", s.Name, err), ours.DropNamed(m, "macvlan", s.Name), s)
	}
	return nil
}

// Undo leaves it to others whose routes have come to go by it meanwhile.
func (s AddAccess) Undo(_ context.Context, m *plan.Machine) error {
	routes, err := ours.RoutesBy(m.Host(), m.Index(plan.OnHost, s.Name))
	if err != nil || len(routes) > 0 {
		return fault.Explain("look at routes by", s.Name, err)
	}
	if used, err := ours.IsUsed(m, m.Index(plan.OnHost, s.Name)); err != nil || used {
		return err
	}
	return ours.DropNamed(m, "macvlan", s.Name)
}

func (AddAccess) Nature() plan.Nature { return plan.Shared }

func (s AddAccess) String() string {
	return "ip link add link " + s.Parent + " name " + s.Name + " group " + strconv.Itoa(plan.Group) + " type macvlan mode bridge\n" +
		"sysctl -qw net/" + arpFilter(s.Name) + "=1\n" +
		guestnet.IgnoreRouters{Name: s.Name}.String() + "\n" +
		"ip link set dev " + s.Name + " addrgenmode none\n" +
		"ip link set dev " + s.Name + " alias " + shell.Quote(AccessMark) + " up"
}
