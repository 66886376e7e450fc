package attach

import (
	"context"
	"slices"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/shell"
)

// BuildGC decides what goes.
func BuildGC(f GCFacts) Plan {
	r, all := &removal{warnings: f.Warnings}, []Attachment{}
	for _, l := range f.Links {
		if a, ok := f.Abandoned[l.Index]; ok {
			all = append(all, a)
			r.links = append(r.links, delLink{l.Name, l.Index})
		}
	}
	for _, h := range f.Inside {
		all = append(all, h.Attachment)
		r.links = append(r.links, delHalf{h.path, h.Guest.NetNS, h.Interface.Name, h.index})
	}
	for _, l := range f.Left {
		r.links = append(r.links, delHalf(l))
	}
	for _, k := range registry {
		k.gc(f, r)
	}
	for _, n := range f.Resolvs {
		r.last = append(r.last, dropNote{n})
	}
	for _, name := range f.Torn {
		r.last = append(r.last, dropTorn{name})
	}
	for _, s := range f.Replies {
		r.last = append(r.last, s)
	}
	return r.order(all)
}

// going reports whether a user is a half-made link that is about to go.
func (f GCFacts) going(u user) bool {
	return slices.ContainsFunc(f.Inside, func(h HalfInside) bool { return h.Guest.NetNS == u.netns && h.index == u.Index })
}

func (f GCFacts) named(name string) *rtnl.Link {
	if i := slices.IndexFunc(f.Links, func(l *rtnl.Link) bool { return l.Name == name }); i >= 0 {
		return f.Links[i]
	}
	return nil
}

// delHalf deletes a half-made link in some guest, whose lock is held.
type delHalf struct {
	path  string // of the guest's namespace
	inode uint64
	name  string
	index int
}

func (s delHalf) Do(_ context.Context, _ *plan.Machine) error {
	ns, err := openSame(s.path, s.inode)
	if err != nil {
		return nil // the guest has gone, and the link with it
	}
	defer ns.Close()
	k, err := rtnl.Open(ns)
	if err != nil {
		return fault.Explain("enter", s.path, err)
	}
	defer k.Close()
	l, err := k.LinkByIndex(s.index)
	if err != nil || !plan.IsOurs(l) {
		return fault.IgnoreAbsent("find", s.name, err)
	}
	return fault.IgnoreAbsent("delete", s.name, deleteLink(k, s.index))
}

func (s delHalf) Undo(context.Context, *plan.Machine) error { return nil }

func (delHalf) Nature() plan.Nature { return plan.Final }

func (s delHalf) String() string {
	return "nsenter --net=" + shell.Quote(s.path) + " ip link del " + s.name
}
