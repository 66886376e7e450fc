package attach

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"

	"github.com/gopipework/gopipework/bridge/firewall"
	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guestnet"
	"github.com/gopipework/gopipework/internal/hostaccess"
	"github.com/gopipework/gopipework/internal/hostclient"
	"github.com/gopipework/gopipework/internal/kind"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/shell"
	"github.com/gopipework/gopipework/internal/source"
)

// runGC carries out GC.
func runGC(ctx context.Context, hostNS *os.File, opt Options) (Result, error) {
	ctx, _, cancel := opt.bound(ctx)
	defer cancel()
	m, err := plan.Open(ctx, hostNS)
	if err != nil {
		return Result{}, err
	}
	defer m.Close()
	o := gcObserver{ctx: ctx, host: m.Host()}
	defer o.release()
	f, err := o.observe(ctx, m)
	if err != nil {
		return Result{}, m.Cause(ctx, err)
	}
	f.LeaveCables = opt.LeaveCables
	p := planGC(f)
	if opt.DryRun {
		return result(p), nil
	}
	if err := p.Remove(ctx, m, opt.tell); err != nil {
		return result(p, m.Warnings...), err
	}
	return result(p, append(m.Warnings, source.WakeKeepers(ctx, opt.keeper())...)...), fault.Explain("remove", "pid files of DHCP clients", hostclient.Sweep())
}

// gcObserver reads the facts. It also takes the locks of the guests whose links
// are abandoned, which proves that they are.
type gcObserver struct {
	build.Looker
	ctx   context.Context
	host  plan.Kernel
	held  []*plan.Lock
	found ours.Namespaces
	idles map[uint64]bool         // inodes of the namespaces whose locks are held
	going map[uint64]map[int]bool // half-made links in guests, by the namespace's inode and their index
}

// release releases the locks.
func (o *gcObserver) release() {
	for _, l := range o.held {
		l.Release()
		l.NS.Close()
	}
	o.found.Close()
}

// idle takes the lock of a namespace, and reports whether it could: nobody
// works there. It waits a moment for one that only looks.
func (o *gcObserver) idle(ns *ours.Namespace) bool {
	if ns.Locked || o.idles[ns.Inode] {
		return true
	}
	f, err := ours.OpenSame("/proc/self/fd/"+strconv.Itoa(int(ns.File.Fd())), ns.Inode)
	if err != nil {
		return false
	}
	l, err := plan.AcquireIdle(o.ctx, o.host, f)
	if ns.Locked = err == nil; !ns.Locked {
		f.Close()
		return false
	}
	o.held = append(o.held, l)
	if o.idles == nil {
		o.idles = map[uint64]bool{}
	}
	o.idles[ns.Inode] = true
	return true
}

// idleOther is idle for the namespace of a link's other end, if that is another
// guest. What looks like the end of a link may be the port of some other host,
// where an attach is under way that holds the lock of its own guest.
func (o *gcObserver) idleOther(guest plan.Kernel, c child) bool {
	if c.other == nil {
		return true
	}
	found, err := ours.FindNamespaces(guest, []*rtnl.Link{c.Link}, nil)
	if err != nil {
		return false
	}
	defer found.Close()
	ns := found[c.PeerNS]
	return ns != nil && o.idle(ns)
}

func (o *gcObserver) observe(ctx context.Context, m *plan.Machine) (build.GCFacts, error) {
	k := m.Host()
	f := build.GCFacts{Abandoned: map[int]Attachment{}, Users: map[int][]ours.User{}}
	o.Look("links", func() (err error) { f.Links, err = k.Links(); return err })
	o.Look("addresses", func() (err error) { f.Addrs, err = k.Addrs(); return err })
	o.Look("the firewall", func() error {
		return k.Run(func() error {
			fw, err := firewall.ObserveRules(ctx)
			for _, p := range fw.Paths {
				f.Rules = append(f.Rules, p.Ours...)
			}
			return err
		})
	})
	o.Look("pinned guests", func() (err error) { f.Pins, f.Static, err = kind.ReadAllPins(k); return err })
	o.Look("source filters", func() error {
		return k.Run(func() (err error) { f.Filtered, err = firewall.SourceFilters(); return err })
	})
	for _, l := range f.Links {
		if l.Kind == "vlan" && plan.IsOurs(l) {
			o.Look("the users of "+l.Name, func() (err error) {
				f.Users[l.Index], err = ours.ChildrenOf(k, l.Index, m.HostNS, nil)
				return err
			})
		}
	}
	if slices.ContainsFunc(f.Links, kind.TurnedOn) {
		o.Look("the VLANs of bridge ports", func() (err error) { f.VLANs, err = k.PortVLANs(); return err })
	}
	f.OVS = o.OVS(ctx, k)
	o.Look("mirrors", func() (err error) { f.Mirrors, err = kind.ReadMirrors(k, f.OVS); return err })
	o.Look("the host's namespace", func() (err error) { f.HostID, err = kind.HostID(k); return err })
	o.Look("half-made pairs", func() error { return o.pairs(&describer{ctx: ctx, host: k, ovs: &f.OVS}, &f) })
	o.Look("what is in guests", func() error { return o.insides(m, &f) })
	o.Look("the host's own macvlans", func() (err error) {
		f.Ways, err = hostaccess.Ways(k, m.HostNS, nil, func(ns *ours.Namespace, l *rtnl.Link) bool { return o.going[ns.Inode][l.Index] })
		return err
	})
	o.Look("what is noted of guests", func() (err error) { f.Resolvs, err = guestnet.LeftResolvNotes(); return err })
	o.Look("what killed runs have left in "+ours.RunDir, func() (err error) { f.Torn, err = guestnet.Torn(); return err })
	return f, o.Err
}

// pairs finds the half-made ones.
func (o *gcObserver) pairs(d *describer, f *build.GCFacts) error {
	half := slices.DeleteFunc(slices.Clone(f.Links), func(l *rtnl.Link) bool { return !halfPair(l) })
	var err error
	if o.found, err = ours.FindNamespaces(d.host, half, nil); err != nil {
		return err
	}
	for _, l := range half {
		ns := o.found[l.PeerNS]
		if ns == nil || !o.idle(ns) {
			continue // whoever holds the namespace open is at work, or it is about to go
		}
		// Its attach may have come to its end before the lock was free.
		if now, err := d.host.LinkByIndex(l.Index); err != nil || !halfPair(now) {
			continue
		}
		if a, err := d.describe(l, ns); err == nil {
			f.Abandoned[l.Index] = a
			o.goes(ns, l.Peer)
		}
	}
	return nil
}

// halfPair reports whether a link is the host's end of a pair that is half made.
func halfPair(l *rtnl.Link) bool {
	_, complete := plan.ParseMark(l.Alias)
	return plan.IsOurs(l) && !complete && l.Kind == "veth" && l.PeerNS >= 0
}

// insides finds the half-made links that have no end on the host, and the cards
// that were lent and are to be returned.
func (o *gcObserver) insides(m *plan.Machine, f *build.GCFacts) error {
	all, unread, err := ours.LentBy(m.Host())
	if err != nil {
		return err
	}
	f.Warnings = append(f.Warnings, unread...)
	met := map[string]bool{} // loans, by their files
	err = ours.EachNamespace(m.HostNS, func(ns *ours.Namespace, guest plan.Kernel) error {
		here, err := ours.LentTo(guest, all)
		if err != nil {
			return err
		}
		for _, l := range here {
			if l.Link != nil {
				met[l.File()] = true
				o.stray(m, l, ns, f)
			}
		}
		if err := o.children(m, ns, guest, f); err != nil {
			return err
		}
		if err := o.replies(m, ns, guest, f); err != nil {
			return err
		}
		return o.unused(m, ns, guest, f)
	})
	for _, l := range all {
		if err == nil && !met[l.File()] {
			o.stray(m, l, nil, f)
		}
	}
	return err
}

// children finds those of a guest that are half made. It looks again when it has the
// guest's lock: an attach may have come to its end meanwhile.
func (o *gcObserver) children(m *plan.Machine, ns *ours.Namespace, guest plan.Kernel, f *build.GCFacts) error {
	id, err := m.Host().NamespaceID(ns.File)
	if err != nil {
		return err
	}
	idle := map[int]bool{}
	for _, last := range []bool{false, true} {
		all, err := childrenIn(guest, m.HostNS, nil, id >= 0)
		if err != nil {
			return err
		}
		for _, c := range owned(id, all) {
			a, err := describeChild(m.Host(), c, ns)
			switch {
			case err != nil || a.State != Half:
			case !last:
				idle[c.Index] = o.idle(ns) && o.idleOther(guest, c)
			case idle[c.Index]:
				f.Inside = append(f.Inside, build.HalfInside{Attachment: a, Path: ns.Path, Index: c.Index})
				o.goes(ns, c.Index)
			}
		}
		if len(idle) == 0 {
			return nil
		}
	}
	return nil
}

// goes notes that a link in a guest goes.
func (o *gcObserver) goes(ns *ours.Namespace, index int) {
	if o.going == nil {
		o.going = map[uint64]map[int]bool{}
	}
	if o.going[ns.Inode] == nil {
		o.going[ns.Inode] = map[int]bool{}
	}
	o.going[ns.Inode][index] = true
}

// isAnothers reports whether a guest is another host's: this host has never had a link with
// it. Either then has no id for the other, and an id outlives the link that it was given for.
func isAnothers(m *plan.Machine, ns *ours.Namespace, guest plan.Kernel) (bool, error) {
	id, err := m.Host().NamespaceID(ns.File)
	if err == nil && id < 0 {
		id, err = guest.NamespaceID(m.HostNS)
	}
	return id < 0, err
}

// replies finds the source routing in a guest that stands for nothing. It looks
// again when it has the guest's lock: a run may have ended meanwhile.
func (o *gcObserver) replies(m *plan.Machine, ns *ours.Namespace, guest plan.Kernel, f *build.GCFacts) error {
	if anothers, err := isAnothers(m, ns, guest); anothers || err != nil {
		return err
	}
	for _, last := range []bool{false, true} {
		r, err := guestnet.ObserveRouting(guest)
		if err != nil {
			return err
		}
		enter := "nsenter --net=" + shell.Quote(ns.Path) + " "
		l := guestnet.ObsoleteIn(r, enter, func(index int) bool { return o.going[ns.Inode][index] })
		switch {
		case l.Empty() || !o.idle(ns):
			return nil
		case last:
			f.Replies = append(f.Replies, guestnet.DelRepliesIn{Path: ns.Path, Inode: ns.Inode, Obsolete: l})
		}
	}
	return nil
}

// unused finds the ifbs and VRFs in a guest that have nothing to do, or will have when
// half-made links have gone. It looks again when it has the guest's lock, as replies does.
func (o *gcObserver) unused(m *plan.Machine, ns *ours.Namespace, guest plan.Kernel, f *build.GCFacts) error {
	if anothers, err := isAnothers(m, ns, guest); anothers || err != nil {
		return err
	}
	for _, last := range []bool{false, true} {
		left, err := unusedIn(m, ns, guest, f)
		switch {
		case err != nil:
			return err
		case len(left) == 0 || !o.idle(ns):
			return nil
		case last:
			for _, l := range left {
				f.Left = append(f.Left, build.LeftInside{Path: ns.Path, Inode: ns.Inode, Name: l.Name, Index: l.Index})
			}
		}
	}
	return nil
}

func unusedIn(m *plan.Machine, ns *ours.Namespace, guest plan.Kernel, f *build.GCFacts) ([]*rtnl.Link, error) {
	links, err := guest.Links()
	if err != nil {
		return nil, err
	}
	found, err := guestnet.FindInbounds(guest, links)
	vrfs := guestnet.VRFs(links)
	if err != nil || len(found.Left)+len(found.Of)+len(vrfs) == 0 {
		return nil, err
	}
	hostNS, err := guest.NamespaceID(m.HostNS)
	if err != nil {
		return nil, err
	}
	goes := func(l *rtnl.Link) bool {
		_, abandoned := f.Abandoned[l.Peer]
		return abandoned && plan.IsOurs(l) && l.Kind == "veth" && l.PeerNS == hostNS || f.Going(ours.User{Link: l, Netns: ns.Inode})
	}
	for _, l := range links {
		if ifb := found.Of[l.Index]; ifb != nil && goes(l) {
			found.Left = append(found.Left, ifb)
		}
	}
	return append(found.Left, guestnet.IdleVRFs(vrfs, goes)...), nil
}

// stray judges a loan for gc. ns is the namespace in which the card was found; nil if
// it was not found.
func (o *gcObserver) stray(m *plan.Machine, l ours.Lent, ns *ours.Namespace, f *build.GCFacts) {
	o.Look("lent cards", func() error {
		if l.Home != nil {
			f.Strays = append(f.Strays, ours.Stray{Lent: l})
			return nil
		}
		if ns == nil {
			t, err := ours.Trace(m.Host(), m.HostNS, l.Loan)
			if err != nil {
				t.Close()
				return err
			}
			defer t.Close()
			switch {
			case t.Gone:
				f.Strays = append(f.Strays, ours.Stray{Lent: l, Gone: true})
				return nil
			case l.Owed(): // somebody has moved it away since it was returned
				return nil
			case t.At == nil:
				f.Warnings = append(f.Warnings, kind.Lost(l.Loan, t).Error())
				return nil
			}
			ns, l.Link = t.At, t.Link
		}
		switch {
		case l.Complete && ns.PID == 0 && l.HasLeft(ns) && !l.Moved, !l.Complete:
			if !o.idle(ns) {
				return nil
			}
			// Its attach may have come to its end before the lock was free.
			now, _, err := ours.ReadLoans(l.File())
			if err != nil || len(now) != 1 || now[0].Complete != l.Complete {
				return err
			}
			f.Strays = append(f.Strays, ours.Stray{Lent: l, Path: ns.Path, Inode: ns.Inode})
			o.goes(ns, l.Link.Index)
		case l.Moved, l.HasLeft(ns):
			f.Warnings = append(f.Warnings, fmt.Sprintf("%s, which was lent to %s, is in the namespace of %s, as %s: gopipework detach %s %s returns it",
				l.Card.Name, l.To.Name, ns.Holder(), shell.Quote(l.Link.Name), ns.Word(), l.IfName))
		}
		return nil
	})
}
