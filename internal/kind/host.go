package kind

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guestnet"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/spec"
)

// hostKind joins the guest to the host itself, by a veth pair without a bridge. HOSTIF
// is the name that the host's end is to have.
type hostKind struct{ plain }

var hostEnd = hostKind{plain{build.Traits{Word: spec.KindHost, Pair: true, Makes: true, OnHost: true, HostAddr: true}}}

// hostMark begins the alternative name by which such an end is told from a port that
// somebody has taken off its bridge.
const hostMark = plan.MarkWord + "-host."

func (hostKind) port(l *rtnl.Link) string {
	if !slices.ContainsFunc(l.AltNames, func(name string) bool { return strings.HasPrefix(name, hostMark) }) {
		return ""
	}
	return l.Name
}

// Look reads the host's addresses, if its end is to have one.
func (hostKind) Look(_ context.Context, o *build.Observer, _ *plan.Machine, s spec.Spec, f *build.Facts) {
	if s.HostAddr.IsValid() {
		o.Look("the host's addresses", func() (err error) { f.HostAddrs, err = o.Host.Addrs(); return err })
	}
}

func (hostKind) settle(j *build.Job, _ *build.Draft) error {
	switch {
	case j.HostName != "":
		return j.Refuse(fault.Usage, "host:%s names the host's end already", j.HostIF.Name).WithHint("leave -l out")
	case j.VLAN != "":
		return j.Refuse(fault.Usage, "a pair without a bridge has no VLAN").WithHint("leave @%s out", j.VLAN)
	case j.Mode != "":
		return j.Refuse(fault.Usage, "--mode is for macvlan and ipvlan")
	}
	j.Names.Port, j.There.Port = j.HostIF.Name, j.There.Base
	return nil
}

func (hostKind) RefuseConflicts(j *build.Job) error {
	own := 0
	if j.There.Own != nil {
		own = j.There.Own.Index
	}
	if p := j.There.Port; p != nil && !halfPort(j) && !isParked(j, p) && p.Index != own {
		return j.Refuse(fault.Conflict, "the host has an interface %s already: %s", p.Name, ours.DescribeKind(p)).
			WithHint("choose another name: host:NAME")
	}
	for _, a := range j.There.HostAddrs {
		if a.Prefix.Addr() == j.HostAddr.Addr() && spec.Routable(a.Prefix.Addr()) && a.Index != own && (j.There.Port == nil || a.Index != j.There.Port.Index) {
			return j.Refuse(fault.Conflict, "the host has the address %s already", j.HostAddr.Addr()).WithHint("choose another --host-addr")
		}
	}
	return nil
}

func (k hostKind) fits(s spec.Spec, f build.Facts) bool {
	var want []netip.Prefix
	if s.HostAddr.IsValid() {
		want = append(want, s.HostAddr)
	}
	p := f.Parked
	return p.Port.Name == s.HostIF.Name && k.port(p.Port) != "" && p.Port.Master == 0 && ours.SameSet(p.Addrs, want)
}

func (k hostKind) Join(j *build.Job, d *build.Draft) {
	planPair(j, d, "")
	d.Add(guestnet.IgnoreRouters{Name: j.Names.Port})
	if !j.Takes() {
		d.Add(ours.AddMark{Link: j.Names.Port, Mark: hostMark + j.Names.Port})
		k.address(j, d)
	}
	guestnet.PlanBeforeUp(j, d)
	guestnet.PlanUp(j, d)
	d.Add(AwaitUp{port: j.Names.Port})
}

// AwaitUp waits until the kernel sends by an end of a pair. It has a carrier as soon as the
// other end is up, but drops what is sent until a work queue of the kernel's has seen
// that (linkwatch_do_dev).
type AwaitUp struct {
	plan.Place
	port string
}

func (s AwaitUp) Do(ctx context.Context, m *plan.Machine) error {
	return m.Await(ctx, s.Side, func() (bool, error) {
		l, err := s.Kernel(m).LinkByIndex(m.Index(s.Side, s.port))
		if err != nil {
			return false, fault.Explain("find", s.port, err)
		}
		return l.OperUp, nil
	})
}

func (AwaitUp) Undo(context.Context, *plan.Machine) error { return nil }

func (AwaitUp) Nature() plan.Nature { return plan.Passive }

func (s AwaitUp) String() string { return "# wait until packets leave by " + s.port }

// address plans the address of the host's end. The only other host on the link is the
// guest, whose addresses are known: there is no duplicate to look for.
func (hostKind) address(j *build.Job, d *build.Draft) {
	if !j.HostAddr.IsValid() {
		return
	}
	d.Add(plan.AddAddr{Place: plan.Place{Side: plan.OnHost}, Inner: j.Names.Port, Prefix: j.HostAddr, NoDAD: j.HostAddr.Addr().Is6()})
	for _, a := range j.There.HostAddrs {
		if a.Prefix.Overlaps(j.HostAddr) && spec.Routable(a.Prefix.Addr()) && (j.There.Own == nil || a.Index != j.There.Own.Index) {
			d.Warn("the host has %s too: what it sends to that subnet may leave by the other interface", a.Prefix)
			return
		}
	}
}

func (k hostKind) Repair(j *build.Job, d *build.Draft) {
	if !slices.Contains(endAddrs(j), j.HostAddr) {
		k.address(j, d)
	}
}

func (hostKind) Differ(j *build.Job, differ build.Differ) {
	own := j.There.Own
	switch {
	case own == nil:
		differ("kind", j.There.Inner.Kind, hostEnd.Word)
	case own.Name != j.HostIF.Name:
		differ("host interface", own.Name, j.HostIF.Name)
	case j.There.OwnOn != nil:
		differ("bridge", j.There.OwnOn.Name, "none")
	}
	// An address that somebody has deleted is restored. Another in its place contradicts
	// the line.
	if there := endAddrs(j); j.HostAddr.IsValid() && len(there) > 0 && !slices.Contains(there, j.HostAddr) {
		differ("--host-addr", spec.OrNone(spec.Join(there)), j.HostAddr)
	}
}

// endAddrs returns the addresses that the host's end has, of the family of the one that
// is asked for.
func endAddrs(j *build.Job) (out []netip.Prefix) {
	for _, a := range j.There.HostAddrs {
		if own := j.There.Own; own != nil && a.Index == own.Index && a.Prefix.Addr().Is6() == j.HostAddr.Addr().Is6() {
			out = append(out, a.Prefix)
		}
	}
	return out
}

// prober says why nothing can be proven: there is no bridge that a probe port could be in.
func (hostKind) prober(*build.Job) (prober, string) {
	return nil, "a pair without a bridge has no place for a probe port"
}
