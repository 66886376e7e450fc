package attach

import (
	"context"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guestnet"
	"github.com/gopipework/gopipework/internal/kind"
	"github.com/gopipework/gopipework/internal/nsfs"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/shell"
)

// planGC decides what goes.
func planGC(f build.GCFacts) build.Plan {
	r, all := &build.Removal{Warnings: f.Warnings}, []Attachment{}
	for _, l := range f.Links {
		if a, ok := f.Abandoned[l.Index]; ok {
			all = append(all, a)
			r.Links = append(r.Links, ours.DelLink{Name: l.Name, Index: l.Index})
		}
	}
	for _, h := range f.Inside {
		all = append(all, h.Attachment)
		r.Links = append(r.Links, delHalf{h.Path, h.Guest.NetNS, h.Interface.Name, h.Index})
	}
	for _, l := range f.Left {
		r.Links = append(r.Links, delHalf{l.Path, l.Inode, l.Name, l.Index})
	}
	kind.GCMirrors(f, r)
	for _, k := range kind.Registry {
		k.GC(f, r)
	}
	kind.GCCables(f, r)
	for _, n := range f.Resolvs {
		r.Last = append(r.Last, guestnet.DropNote{Note: n})
	}
	for _, name := range f.Torn {
		r.Last = append(r.Last, guestnet.DropTorn{Name: name})
	}
	r.Last = append(r.Last, f.Replies...)
	return r.Order(all)
}

// delHalf deletes a half-made link in some guest, whose lock is held.
type delHalf struct {
	path  string // of the guest's namespace
	inode uint64
	name  string
	index int
}

func (s delHalf) Do(_ context.Context, _ *plan.Machine) error {
	ns, err := ours.OpenSame(s.path, s.inode)
	if nsfs.Starved(err) {
		return fault.Explain("enter", s.path, err)
	}
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
	if guestnet.IsVRF(l) {
		return fault.IgnoreAbsent("delete", s.name, guestnet.DeleteVRF(k, s.index))
	}
	return fault.IgnoreAbsent("delete", s.name, ours.DeleteLink(k, s.index))
}

func (s delHalf) Undo(context.Context, *plan.Machine) error { return nil }

func (delHalf) Nature() plan.Nature { return plan.Final }

func (s delHalf) String() string {
	return "nsenter --net=" + shell.Quote(s.path) + " ip link del " + s.name
}
