package attach

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/gopipework/gopipework/bridge/firewall"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"golang.org/x/sys/unix"
)

// runList returns the attachments that List does.
func runList(ctx context.Context, hostNS *os.File, g *guests.Guest) ([]Attachment, error) {
	r, err := runListAll(ctx, hostNS, g)
	return r.Attachments, err
}

// runListAll carries out List.
func runListAll(ctx context.Context, hostNS *os.File, g *guests.Guest) (Result, error) {
	if g != nil {
		g = &guests.Guest{GuestInfo: guests.Short(g.GuestInfo), Namespace: g.Namespace}
	}
	k, err := rtnl.Open(hostNS)
	if err != nil {
		return Result{}, fault.Explain("enter", "host", err)
	}
	defer k.Close()
	o := newLister(ctx, k, hostNS)
	if err := o.look(g); err != nil {
		return Result{}, err
	}
	list := o.list
	if err := markCut(ctx, o.host, list); err != nil {
		return Result{}, err
	}
	hide(list)
	slices.SortFunc(list, func(a, b Attachment) int {
		return cmp.Or(cmp.Compare(a.Host.Name, b.Host.Name), cmp.Compare(a.Host.Port, b.Host.Port),
			cmp.Compare(a.Guest.Name, b.Guest.Name), cmp.Compare(a.Interface.Name, b.Interface.Name))
	})
	r := Result{Attachments: list}
	if g == nil {
		r.Bridges, err = listBridges(ctx, o.host)
	}
	return r, err
}

// lister collects what there is of our attachments. It visits each namespace once.
type lister struct {
	describer
	beyond
	hostNS *os.File
	every  bool // namespace is visited, and not one guest's alone

	mu   sync.Mutex           // for what is below
	ends map[int][]*rtnl.Link // of pairs whose other end was not met yet, by the id of its namespace
	lent []ours.Lent
	met  map[string]bool // loans whose guest was met, by their file
	list []Attachment
}

func newLister(ctx context.Context, k plan.Kernel, hostNS *os.File) *lister {
	return &lister{
		describer: describer{ctx: ctx, host: ours.Freeze(k)},
		beyond:    newBeyond(),
		hostNS:    hostNS,
		ends:      map[int][]*rtnl.Link{},
		met:       map[string]bool{},
		list:      []Attachment{},
	}
}

// look visits the namespace of g, or, if that is nil, every one that can be found.
func (o *lister) look(g *guests.Guest) error {
	ends, err := ourEnds(o.host, g)
	if err != nil {
		return err
	}
	for _, l := range ends {
		o.ends[l.PeerNS] = append(o.ends[l.PeerNS], l)
	}
	if o.lent, _, err = ours.LentBy(o.host); err != nil {
		return err
	}
	if o.every = g == nil; o.every {
		err = ours.VisitAll(o.hostNS, ours.NamedByPath(ends), func(ns *ours.Namespace) error { return o.visit(ns, true) })
	} else {
		err = o.only(g, ours.NamedByPath(ends))
	}
	if err != nil {
		return err
	}
	for _, ends := range o.ends { // what has them in it could not be found
		for _, l := range ends {
			if err := o.add(o.describe(l, nil)); err != nil {
				return err
			}
		}
	}
	for _, l := range o.lent {
		if !o.every || o.met[l.File()] {
			continue
		}
		if err := o.add(describe(l, nil)); err != nil {
			return err
		}
	}
	return nil
}

// only visits g, and others only if g has moved ends of its pairs there.
func (o *lister) only(g *guests.Guest, paths []string) error {
	var its unix.Stat_t
	if err := unix.Fstat(int(g.Namespace.Fd()), &its); err != nil {
		return fault.Explain("look at", "the namespace of "+g.Name, err)
	}
	var err error
	walked := ours.WalkNamespaces(g, paths, func(ns *ours.Namespace) (keep, more bool) {
		if is := ns.Inode == its.Ino; is || o.awaits(ns) {
			err = ours.OnThread(func() error { return ours.Visit(ns, func(ns *ours.Namespace) error { return o.visit(ns, is) }) })
		}
		return false, err == nil && len(o.ends) > 0
	})
	return cmp.Or(err, walked)
}

// awaits reports whether there are ends whose other ends are in the namespace.
func (o *lister) awaits(ns *ours.Namespace) bool {
	id, err := o.host.NamespaceID(ns.File)
	return err == nil && o.ends[id] != nil
}

// visit describes what of ours is in a namespace: the pairs whose other end is on the
// host and, if all is set, also what has no end there. It may be called for several
// namespaces at the same time.
func (o *lister) visit(ns *ours.Namespace, all bool) error {
	id, err := o.host.NamespaceID(ns.File)
	if err != nil {
		return fault.Explain("find", "the namespace "+ns.Path, err)
	}
	o.mu.Lock()
	ends := o.ends[id]
	delete(o.ends, id)
	o.mu.Unlock()
	for _, l := range ends {
		a, err := o.describe(l, ns)
		if err == nil {
			err = o.more(ns, &a, l.Peer, l)
		}
		if err := o.add(a, err); err != nil {
			return err
		}
	}
	if !all {
		return nil
	}
	return o.inside(ns, id, ends)
}

// add takes what a description came to.
func (o *lister) add(a Attachment, err error) error {
	if errors.Is(err, rtnl.ErrNotFound) {
		return nil // detached while we looked
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.list = append(o.list, a)
	return err
}

// hide tells what is an orphan from what only cannot be seen from here: a guest
// may be one of the processes that are hidden from us. Its mark is all that says
// how far its attach has come.
func hide(list []Attachment) {
	orphan := func(a Attachment) bool { return a.State == Orphan }
	if !slices.ContainsFunc(list, orphan) || ours.SeesAll() {
		return
	}
	for i, a := range list {
		if orphan(a) {
			list[i].Hidden, list[i].State = true, Complete
			if a.Guest.Runtime == "" {
				list[i].State = Half
			}
		}
	}
}

// markCut says what of the host's firewall cuts off an attachment to a Linux
// bridge.
func markCut(ctx context.Context, k plan.Kernel, list []Attachment) error {
	var queries []firewall.Query
	var at []int
	links := map[string]*rtnl.Link{}
	for i, a := range list {
		if a.Host.Kind != string(KindBridge) || a.Host.Name == "" || a.State != Complete {
			continue
		}
		l, ok := links[a.Host.Name]
		if !ok {
			var err error
			if l, err = k.LinkByName(a.Host.Name); ours.UnlessNotFound(err) != nil {
				return fault.Explain("find", a.Host.Name, err)
			}
			links[a.Host.Name] = l
		}
		if l == nil {
			continue // deleted while we looked
		}
		q := firewall.Query{Bridge: l.Name, Port: a.Host.Port, CallsIPv4: l.NFCallIPv4, CallsIPv6: l.NFCallIPv6}
		for _, p := range a.Interface.Addresses {
			family := firewall.IPv4
			if p.Addr().Is6() {
				family = firewall.IPv6
			}
			if q.Addresses = append(q.Addresses, p); !slices.Contains(q.Families, family) {
				q.Families = append(q.Families, family)
			}
		}
		queries, at = append(queries, q), append(at, i)
	}
	if queries == nil {
		return nil
	}
	// A list is right without it: a firewall that cannot be read cuts nobody.
	return k.Run(func() error {
		all, err := firewall.ObserveAll(ctx, queries)
		if err != nil {
			return context.Cause(ctx)
		}
		for i, fw := range all {
			q := queries[i]
			port := q.Port
			if plan.IsOurs(links[q.Bridge]) {
				port = ""
			}
			list[at[i]].Cut = append(list[at[i]].Cut, fw.Cut(q.Bridge, port)...)
		}
		return nil
	})
}

// ourEnds returns the host's ends of our pairs; of those to g, if not nil. A
// pair is g's if its other end is there, or if our mark says so: g may have
// moved its end away.
func ourEnds(k plan.Kernel, g *guests.Guest) ([]*rtnl.Link, error) {
	nsid := -1
	if g != nil {
		var err error
		if nsid, err = k.NamespaceID(g.Namespace); err != nil {
			return nil, fault.Explain("find", "the namespace of "+g.Name, err)
		}
	}
	all, err := k.Links()
	if err != nil {
		return nil, fault.Explain("list", "links", err)
	}
	return slices.DeleteFunc(all, func(l *rtnl.Link) bool {
		return !plan.IsOurs(l) || l.Kind != "veth" || l.PeerNS < 0 || g != nil && l.PeerNS != nsid && !bearsMarkOf(g, l)
	}), nil
}

// bearsMarkOf reports whether the mark of a link of ours says that it is g's.
func bearsMarkOf(g *guests.Guest, l *rtnl.Link) bool {
	m, ok := plan.ParseMark(l.Alias)
	return ok && m.Names(g.GuestInfo)
}

// WhereLent tells what has become of the cards that were lent to a guest which is
// not there any more, by a word of the command line that named it: "" if there
// is nothing to tell. It is advice for somebody who wanted one back.
func WhereLent(word string, opt Options) (where string) {
	_, _ = opt.in(func(hostNS *os.File) (Result, error) {
		where = whereLent(hostNS, word)
		return Result{}, nil
	})
	return where
}

func whereLent(hostNS *os.File, word string) string {
	k, err := rtnl.Open(hostNS)
	if err != nil {
		return ""
	}
	defer k.Close()
	all, _, err := ours.LentBy(k)
	if err != nil {
		return ""
	}
	var lines []string
	for _, l := range all {
		if !ours.AnswersTo(l.To, word) || l.Home != nil {
			continue
		}
		if t, err := ours.Trace(k, hostNS, l.Loan); err == nil && t.At != nil {
			lines = append(lines, fmt.Sprintf("%s keeps %s: gopipework detach %s %s", t.At.Holder(), l.Card.Name, t.At.Word(), l.IfName))
			t.Close()
		}
	}
	return strings.Join(lines, "; ")
}
