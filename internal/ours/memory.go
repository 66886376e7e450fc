package ours

import (
	"cmp"
	"maps"
	"os"
	"slices"
	"sync"

	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
)

// Memory is what a kernel has answered about the links and addresses of the host, each for
// as long as what it is about has not changed. So the host can be read before its lock is
// held, and once for many attaches: an answer that is remembered is the one that the
// kernel would give now. Of a link that is down, much changes unannounced, and it is asked
// for each time. Its methods may be called from any goroutine.
type Memory struct {
	conn    *rtnl.Conn
	changes *rtnl.Changes

	mu      sync.Mutex // held also while the kernel is asked
	byIndex map[int]*rtnl.Link
	byName  map[string]*rtnl.Link
	ports   map[int]*ports
	in      map[rtnl.Changed]*rtnl.Link  // links in other namespaces
	addrsIn map[rtnl.Changed][]rtnl.Addr // their addresses
	addrs   []rtnl.Addr                  // nil: not known
	vlans   map[int][]rtnl.PortVLAN      // nil: not known
}

// ports are the links in a bridge.
type ports struct {
	all  map[int]*rtnl.Link // by their index
	open map[int]bool       // the indexes of those that may have come, changed or gone
}

// Remember begins to listen for changes in the namespace ns of the host, and returns an
// empty Memory. Close it when done.
func Remember(ns *os.File) (*Memory, error) {
	conn, err := rtnl.Open(ns)
	if err != nil {
		return nil, err
	}
	changes, err := conn.Changes()
	if err != nil {
		conn.Close()
		return nil, err
	}
	m := &Memory{conn: conn, changes: changes}
	m.forget()
	return m, nil
}

// forget forgets everything.
func (m *Memory) forget() {
	m.byIndex, m.byName, m.ports = map[int]*rtnl.Link{}, map[string]*rtnl.Link{}, map[int]*ports{}
	m.in, m.addrsIn = map[rtnl.Changed]*rtnl.Link{}, map[rtnl.Changed][]rtnl.Addr{}
	m.addrs, m.vlans = nil, nil
}

// Close closes what it listens and asks by.
func (m *Memory) Close() error {
	m.conn.Close()
	return m.changes.Close()
}

// Own is the Memory's own kernel, for what is read ahead.
func (m *Memory) Own() plan.Kernel { return m.Before(m.conn) }

// Before returns the kernel k, which is asked only what is not remembered. What changes
// from now on may be told as it is now.
func (m *Memory) Before(k plan.Kernel) plan.Kernel {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.catchUp()
	return remembering{k, m}
}

// remembering is a kernel before which a Memory is asked.
type remembering struct {
	plan.Kernel
	of *Memory
}

// catchUp forgets what has changed. The caller must hold m.mu.
func (m *Memory) catchUp() {
	all, lost := m.changes.Next()
	if lost {
		m.forget()
		return
	}
	for _, c := range all {
		if c.NSID >= 0 {
			same := func(at rtnl.Changed) bool { return at == c || c.Index == 0 && at.NSID == c.NSID }
			maps.DeleteFunc(m.in, func(at rtnl.Changed, _ *rtnl.Link) bool { return same(at) })
			maps.DeleteFunc(m.addrsIn, func(at rtnl.Changed, _ []rtnl.Addr) bool { return same(at) })
			continue
		}
		if l := m.byIndex[c.Index]; l != nil {
			delete(m.byIndex, c.Index)
			delete(m.byName, l.Name)
		}
		for _, p := range m.ports {
			p.open[c.Index] = true
		}
		m.addrs, m.vlans = nil, nil
	}
}

// link remembers a link of the host, and returns it.
func (m *Memory) link(l *rtnl.Link, err error) (*rtnl.Link, error) {
	if err == nil && l.Up {
		if was := m.byIndex[l.Index]; was != nil {
			delete(m.byName, was.Name) // it may have been renamed
		}
		m.byIndex[l.Index], m.byName[l.Name] = l, l
	}
	return l, err
}

func (r remembering) LinkByName(name string) (*rtnl.Link, error) {
	r.of.mu.Lock()
	defer r.of.mu.Unlock()
	if l := r.of.byName[name]; l != nil {
		return l, nil
	}
	return r.of.link(r.Kernel.LinkByName(name))
}

func (r remembering) LinkByIndex(index int) (*rtnl.Link, error) {
	r.of.mu.Lock()
	defer r.of.mu.Unlock()
	return r.byIndex(index)
}

// byIndex is LinkByIndex; the caller must hold the Memory's lock.
func (r remembering) byIndex(index int) (*rtnl.Link, error) {
	if l := r.of.byIndex[index]; l != nil {
		return l, nil
	}
	return r.of.link(r.Kernel.LinkByIndex(index))
}

// Ports asks again only for those of which something was heard. The order is that of
// their indexes.
func (r remembering) Ports(master int) ([]*rtnl.Link, error) {
	r.of.mu.Lock()
	defer r.of.mu.Unlock()
	p := r.of.ports[master]
	if p == nil {
		all, err := r.Kernel.Ports(master)
		if err != nil {
			return nil, err
		}
		p = &ports{all: map[int]*rtnl.Link{}, open: map[int]bool{}}
		for _, l := range all {
			p.put(l)
		}
		r.of.ports[master] = p
		return all, nil
	}
	for index := range p.open {
		delete(p.open, index)
		delete(p.all, index)
		switch l, err := r.byIndex(index); {
		case err == nil && l.Master == master:
			p.put(l)
		case UnlessNotFound(err) != nil:
			delete(r.of.ports, master)
			return nil, err
		}
	}
	return slices.SortedFunc(maps.Values(p.all), func(a, b *rtnl.Link) int { return cmp.Compare(a.Index, b.Index) }), nil
}

// put takes in a link that is a port.
func (p *ports) put(l *rtnl.Link) {
	p.all[l.Index] = l
	if !l.Up {
		p.open[l.Index] = true
	}
}

func (r remembering) LinkIn(nsid, index int) (*rtnl.Link, error) {
	r.of.mu.Lock()
	defer r.of.mu.Unlock()
	at := rtnl.Changed{NSID: nsid, Index: index}
	if l := r.of.in[at]; l != nil {
		return l, nil
	}
	l, err := r.Kernel.LinkIn(nsid, index)
	if err == nil && l.Up {
		r.of.in[at] = l
	}
	return l, err
}

func (r remembering) AddrsIn(nsid, index int) ([]rtnl.Addr, error) {
	r.of.mu.Lock()
	defer r.of.mu.Unlock()
	at := rtnl.Changed{NSID: nsid, Index: index}
	if all, ok := r.of.addrsIn[at]; ok {
		return slices.Clone(all), nil
	}
	all, err := r.Kernel.AddrsIn(nsid, index)
	if err == nil {
		r.of.addrsIn[at] = all
	}
	return slices.Clone(all), err // a caller may sort out its own
}

func (r remembering) Addrs() ([]rtnl.Addr, error) {
	r.of.mu.Lock()
	defer r.of.mu.Unlock()
	if r.of.addrs == nil {
		all, err := r.Kernel.Addrs()
		if err != nil {
			return nil, err
		}
		r.of.addrs = all
	}
	return slices.Clone(r.of.addrs), nil
}

func (r remembering) PortVLANs() (map[int][]rtnl.PortVLAN, error) {
	r.of.mu.Lock()
	defer r.of.mu.Unlock()
	if r.of.vlans == nil {
		all, err := r.Kernel.PortVLANs()
		if err != nil {
			return nil, err
		}
		r.of.vlans = all
	}
	return r.of.vlans, nil
}
