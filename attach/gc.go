package attach

import (
	"context"
	"errors"
	"os"
	"slices"

	"github.com/gopipework/gopipework/bridge"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/hostclient"
	"github.com/gopipework/gopipework/internal/nsfs"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/shell"
	"golang.org/x/sys/unix"
)

// GCFacts are what planning a clean-up must know.
type GCFacts struct {
	Links     []*rtnl.Link            // the host's
	VLANs     map[int][]rtnl.PortVLAN // of its bridge ports; looked at only if it matters
	Addrs     []rtnl.Addr
	Rules     []bridge.Rule      // ours, of any bridge
	Abandoned map[int]Attachment // half-made pairs that nobody works on, by their end's index
	Inside    []HalfInside       // half-made links that are in a guest alone, and that nobody works on
	Left      []LeftInbound      // ifbs in guests that nobody works on
	OVS       bridge.OVS
	HostID    string  // of this host, as in hostKey
	Strays    []Stray // cards that are lent to nobody any more
	Warnings  []string
	Users     map[int][]user // links on our VLAN sub-interfaces, by the index of those
	Ways      []Way          // of the host to macvlans
	Resolvs   []resolvNote   // of resolv.confs of guests that have ended
	Torn      []string       // files in /run/gopipework that a killed run was writing
	Replies   []delRepliesIn // source routing that stands for nothing, in guests that nobody works on
}

// LeftInbound is an ifb of ours in a guest that nothing is sent to, or only what
// comes in by a link that goes.
type LeftInbound struct {
	path  string // of the guest's namespace
	inode uint64
	name  string
	index int
}

// HalfInside is a link of ours that a killed run has left in a guest.
type HalfInside struct {
	Attachment
	path  string // of the guest's namespace
	index int
}

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
	p := BuildGC(f)
	if opt.DryRun {
		return p.result(), nil
	}
	if err := p.Remove(ctx, m, opt.tell); err != nil {
		return p.result(m.Warnings...), err
	}
	return p.result(append(m.Warnings, wakeKeepers(ctx, opt.Keeper)...)...), fault.Explain("remove", "pid files of DHCP clients", hostclient.Sweep())
}

// gcObserver reads the facts. It also takes the locks of the guests whose links
// are abandoned, which proves that they are.
type gcObserver struct {
	looker
	ctx   context.Context
	host  plan.Kernel
	held  []*plan.Lock
	found namespaces
	idles map[uint64]bool         // inodes of the namespaces whose locks are held
	going map[uint64]map[int]bool // half-made links in guests, by the namespace's inode and their index
}

// release gives the locks back.
func (o *gcObserver) release() {
	for _, l := range o.held {
		l.Release()
		l.NS.Close()
	}
	o.found.close()
}

// idle takes the lock of a namespace, and reports whether it could: nobody
// works there. It waits a moment for one that only looks.
func (o *gcObserver) idle(ns *namespace) bool {
	if ns.locked || o.idles[ns.inode] {
		return true
	}
	f, err := openSame("/proc/self/fd/"+itoa(int(ns.file.Fd())), ns.inode)
	if err != nil {
		return false
	}
	l, err := plan.AcquireIdle(o.ctx, o.host, f)
	if ns.locked = err == nil; !ns.locked {
		f.Close()
		return false
	}
	o.held = append(o.held, l)
	if o.idles == nil {
		o.idles = map[uint64]bool{}
	}
	o.idles[ns.inode] = true
	return true
}

// idleOther is idle for the namespace of a link's other end, if that is another
// guest. What looks like the end of a link may be the port of some other host,
// where an attach is under way that holds the lock of its own guest.
func (o *gcObserver) idleOther(guest plan.Kernel, c child) bool {
	if c.other == nil {
		return true
	}
	found := findNamespaces(guest, []*rtnl.Link{c.Link}, nil)
	defer found.close()
	ns := found[c.PeerNS]
	return ns != nil && o.idle(ns)
}

// openSame opens a namespace again, if the path still leads to it.
func openSame(path string, inode uint64) (*os.File, error) {
	f, err := nsfs.Open(path, 0)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil || st.Ino != inode {
		f.Close()
		return nil, errors.Join(err, unix.ENOENT)
	}
	return f, nil
}

func (o *gcObserver) observe(ctx context.Context, m *plan.Machine) (GCFacts, error) {
	k := m.Host()
	f := GCFacts{Abandoned: map[int]Attachment{}, Users: map[int][]user{}}
	o.look("links", func() (err error) { f.Links, err = k.Links(); return err })
	o.look("addresses", func() (err error) { f.Addrs, err = k.Addrs(); return err })
	o.look("the firewall", func() error {
		return k.Run(func() error {
			fw, err := bridge.ObserveRules(ctx)
			for _, p := range fw.Paths {
				f.Rules = append(f.Rules, p.Ours...)
			}
			return err
		})
	})
	for _, l := range f.Links {
		if l.Kind == "vlan" && plan.IsOurs(l) {
			o.look("the users of "+l.Name, func() (err error) {
				f.Users[l.Index], err = childrenOf(k, l.Index, m.HostNS, nil)
				return err
			})
		}
	}
	if slices.ContainsFunc(f.Links, turnedOn) {
		o.look("the VLANs of bridge ports", func() (err error) { f.VLANs, err = k.PortVLANs(); return err })
	}
	f.OVS = o.ovs(ctx, k)
	o.look("the host's namespace", func() (err error) { f.HostID, err = hostID(k); return err })
	o.look("half-made pairs", func() error { return o.pairs(&describer{ctx: ctx, host: k, ovs: &f.OVS}, &f) })
	o.look("what is in guests", func() error { return o.insides(m, &f) })
	o.look("the host's own macvlans", func() (err error) {
		f.Ways, err = ways(k, m.HostNS, nil, func(ns *namespace, l *rtnl.Link) bool { return o.going[ns.inode][l.Index] })
		return err
	})
	o.look("what is noted of guests", func() (err error) { f.Resolvs, err = leftResolvNotes(); return err })
	o.look("what killed runs have left in "+runDir, func() (err error) { f.Torn, err = torn(); return err })
	return f, o.err
}

// pairs finds the half-made ones.
func (o *gcObserver) pairs(d *describer, f *GCFacts) error {
	half := slices.DeleteFunc(slices.Clone(f.Links), func(l *rtnl.Link) bool {
		_, complete := plan.ParseMark(l.Alias)
		return !plan.IsOurs(l) || complete || l.Kind != "veth" || l.PeerNS < 0
	})
	o.found = findNamespaces(d.host, half, nil)
	for _, l := range half {
		ns := o.found[l.PeerNS]
		if ns == nil || !o.idle(ns) {
			continue // whoever holds the namespace open is at work, or it is about to go
		}
		if a, err := d.describe(l, ns); err == nil {
			f.Abandoned[l.Index] = a
			o.goes(ns, l.Peer)
		}
	}
	return nil
}

// insides finds the half-made links that have no end on the host, and the cards
// that were lent and are to come home.
func (o *gcObserver) insides(m *plan.Machine, f *GCFacts) error {
	all, unread, err := lentBy(m.Host())
	if err != nil {
		return err
	}
	f.Warnings = append(f.Warnings, unread...)
	met := map[string]bool{} // loans, by their files
	err = eachNamespace(m.HostNS, func(ns *namespace, guest plan.Kernel) error {
		here, err := lentTo(guest, all)
		if err != nil {
			return err
		}
		for _, l := range here {
			if l.Link != nil {
				met[l.file()] = true
				o.stray(m, l, ns, f)
			}
		}
		if err := o.children(m, ns, guest, f); err != nil {
			return err
		}
		if err := o.replies(m, ns, guest, f); err != nil {
			return err
		}
		return o.inbounds(m, ns, guest, f)
	})
	for _, l := range all {
		if err == nil && !met[l.file()] {
			o.stray(m, l, nil, f)
		}
	}
	return err
}

// children finds those of a guest that are half made.
func (o *gcObserver) children(m *plan.Machine, ns *namespace, guest plan.Kernel, f *GCFacts) error {
	all, err := childrenIn(guest, m.HostNS)
	if err != nil {
		return err
	}
	id, err := m.Host().NamespaceID(ns.file)
	if err != nil {
		return err
	}
	for _, c := range owned(id, all) {
		a, err := describeChild(m.Host(), c, ns)
		if err == nil && a.State == Half && o.idle(ns) && o.idleOther(guest, c) {
			f.Inside = append(f.Inside, HalfInside{a, ns.path, c.Index})
			o.goes(ns, c.Index)
		}
	}
	return nil
}

// goes notes that a link in a guest goes.
func (o *gcObserver) goes(ns *namespace, index int) {
	if o.going == nil {
		o.going = map[uint64]map[int]bool{}
	}
	if o.going[ns.inode] == nil {
		o.going[ns.inode] = map[int]bool{}
	}
	o.going[ns.inode][index] = true
}

// replies finds the source routing in a guest that stands for nothing. It looks
// again when it has the guest's lock: a run may have ended meanwhile. A guest
// that this host has never had a link with is another host's: either has no id
// for the other, and an id outlives the link that it was given for.
func (o *gcObserver) replies(m *plan.Machine, ns *namespace, guest plan.Kernel, f *GCFacts) error {
	id, err := m.Host().NamespaceID(ns.file)
	if err == nil && id < 0 {
		id, err = guest.NamespaceID(m.HostNS)
	}
	if err != nil || id < 0 {
		return err
	}
	for _, last := range []bool{false, true} {
		r, err := observeRouting(guest)
		if err != nil {
			return err
		}
		enter := "nsenter --net=" + shell.Quote(ns.path) + " "
		l := r.leftover(enter, func(index int) bool { return o.going[ns.inode][index] })
		switch {
		case l.empty() || !o.idle(ns):
			return nil
		case last:
			f.Replies = append(f.Replies, delRepliesIn{ns.path, ns.inode, l})
		}
	}
	return nil
}

// inbounds finds the ifbs in a guest that have nothing to do, or will have when
// half-made links have gone.
func (o *gcObserver) inbounds(m *plan.Machine, ns *namespace, guest plan.Kernel, f *GCFacts) error {
	links, err := guest.Links()
	if err != nil {
		return err
	}
	found, err := findInbounds(guest, links)
	if err != nil || len(found.left)+len(found.of) == 0 {
		return err
	}
	hostNS, err := guest.NamespaceID(m.HostNS)
	if err != nil {
		return err
	}
	for _, l := range links {
		_, abandoned := f.Abandoned[l.Peer]
		goes := abandoned && plan.IsOurs(l) && l.Kind == "veth" && l.PeerNS == hostNS || f.going(user{l, ns.inode})
		if ifb := found.of[l.Index]; ifb != nil && goes {
			found.left = append(found.left, ifb)
		}
	}
	for _, l := range found.left {
		if o.idle(ns) {
			f.Left = append(f.Left, LeftInbound{ns.path, ns.inode, l.Name, l.Index})
		}
	}
	return nil
}
