package ours

import (
	"slices"
	"sync"

	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
)

// frozen is a kernel that reads the links, the addresses, the routes and the queues of
// a namespace once each, and a link in another one and its addresses, when it is first
// asked for them, and answers from that.
// It is for whoever describes a namespace as it was at one moment.
type frozen struct {
	plan.Kernel
	links   func() ([]*rtnl.Link, error)
	byIndex func() (map[int]*rtnl.Link, error) // the same, by their indexes
	addrs   func() ([]rtnl.Addr, error)
	routes  func() ([]rtnl.Route, error)
	qdiscs  func() ([]rtnl.Qdisc, error)
	vlans   func() (map[int][]rtnl.PortVLAN, error)
	linkIn  answers[*rtnl.Link]
	addrsIn answers[[]rtnl.Addr]
}

// answers are those about links in other namespaces: there may be a thousand on a bridge.
type answers[T any] struct {
	mu  sync.Mutex
	got map[rtnl.Changed]func() (T, error)
}

func (a *answers[T]) about(nsid, index int, ask func(nsid, index int) (T, error)) (T, error) {
	at := rtnl.Changed{NSID: nsid, Index: index}
	a.mu.Lock()
	answer := a.got[at]
	if answer == nil {
		answer = sync.OnceValues(func() (T, error) { return ask(nsid, index) })
		if a.got == nil {
			a.got = map[rtnl.Changed]func() (T, error){}
		}
		a.got[at] = answer
	}
	a.mu.Unlock()
	return answer()
}

func Freeze(k plan.Kernel) *frozen {
	links := sync.OnceValues(k.Links)
	return &frozen{
		Kernel: k,
		links:  links,
		byIndex: sync.OnceValues(func() (map[int]*rtnl.Link, error) {
			all, err := links()
			of := make(map[int]*rtnl.Link, len(all))
			for _, l := range all {
				of[l.Index] = l
			}
			return of, err
		}),
		addrs:  sync.OnceValues(k.Addrs),
		routes: sync.OnceValues(k.AllRoutes),
		qdiscs: sync.OnceValues(k.Qdiscs),
		vlans:  sync.OnceValues(k.PortVLANs),
	}
}

// Now returns the kernel that a frozen one was read from, for a question about this moment.
func Now(k plan.Kernel) plan.Kernel {
	if f, ok := k.(*frozen); ok {
		return f.Kernel
	}
	return k
}

func (f *frozen) Links() ([]*rtnl.Link, error) {
	all, err := f.links()
	return slices.Clone(all), err
}

func (f *frozen) LinkByIndex(index int) (*rtnl.Link, error) {
	all, err := f.byIndex()
	if l := all[index]; l != nil {
		return l, nil
	}
	if err == nil {
		err = rtnl.ErrNotFound
	}
	return nil, err
}

// LinkIn gives everybody the same link, as LinkByIndex does: nobody may write to it.
func (f *frozen) LinkIn(nsid, index int) (*rtnl.Link, error) {
	return f.linkIn.about(nsid, index, f.Kernel.LinkIn)
}

func (f *frozen) AddrsIn(nsid, index int) ([]rtnl.Addr, error) {
	all, err := f.addrsIn.about(nsid, index, f.Kernel.AddrsIn)
	return slices.Clone(all), err
}

func (f *frozen) Ports(master int) ([]*rtnl.Link, error) {
	all, err := f.Links()
	return slices.DeleteFunc(all, func(l *rtnl.Link) bool { return l.Master != master }), err
}

func (f *frozen) Addrs() ([]rtnl.Addr, error) {
	all, err := f.addrs()
	return slices.Clone(all), err
}

func (f *frozen) AllRoutes() ([]rtnl.Route, error) {
	all, err := f.routes()
	return slices.Clone(all), err
}

func (f *frozen) Routes() ([]rtnl.Route, error) {
	all, err := f.routes()
	main, _ := Split(all)
	return main, err
}

func (f *frozen) Qdiscs() ([]rtnl.Qdisc, error) {
	all, err := f.qdiscs()
	return slices.Clone(all), err
}

func (f *frozen) PortVLANs() (map[int][]rtnl.PortVLAN, error) { return f.vlans() }
