package ours

import (
	"os"
	"slices"
	"sync"

	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
)

// Memory is what a kernel has answered about the links and addresses of the host, for as
// long as nothing has changed since before the first answer. So the host can be read
// before its lock is held: an answer that is remembered later is the one that the kernel
// would give then. It remembers nothing once it has met a link that is down, because much
// of that changes unannounced. Its methods may be called from any goroutine.
type Memory struct {
	conn    *rtnl.Conn
	changes *rtnl.Changes

	mu       sync.Mutex
	outdated bool // something has changed, or may unannounced, and everything is forgotten
	byName   map[string]*rtnl.Link
	byIndex  map[int]*rtnl.Link
	ports    map[int][]*rtnl.Link
	in       map[linkIn]*rtnl.Link
	addrsIn  map[linkIn][]rtnl.Addr
	addrs    map[struct{}][]rtnl.Addr
	vlans    map[struct{}]map[int][]rtnl.PortVLAN
}

// linkIn is a link in another namespace.
type linkIn struct{ nsid, index int }

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
	return &Memory{
		conn: conn, changes: changes,
		byName: map[string]*rtnl.Link{}, byIndex: map[int]*rtnl.Link{}, ports: map[int][]*rtnl.Link{},
		in: map[linkIn]*rtnl.Link{}, addrsIn: map[linkIn][]rtnl.Addr{},
		addrs: map[struct{}][]rtnl.Addr{}, vlans: map[struct{}]map[int][]rtnl.PortVLAN{},
	}, nil
}

// Close closes what it listens and asks by.
func (m *Memory) Close() error {
	m.conn.Close()
	return m.changes.Close()
}

// Own is the Memory's own kernel, for what is read ahead.
func (m *Memory) Own() plan.Kernel { return m.Before(m.conn) }

// Before returns the kernel k, which is asked only what is not remembered.
func (m *Memory) Before(k plan.Kernel) plan.Kernel { return remembering{k, m} }

// remembering is a kernel before which a Memory is asked.
type remembering struct {
	plan.Kernel
	of *Memory
}

// remember returns what is remembered under key, or else asks, and remembers the answer.
// An error is not remembered.
func remember[K comparable, V any](m *Memory, answers map[K]V, key K, ask func() (V, error)) (V, error) {
	if v, ok := recall(m, answers, key); ok {
		return v, nil
	}
	v, err := ask()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.outdated = m.outdated || unannounced(v)
	if err == nil && !m.outdated {
		answers[key] = v
	}
	return v, err
}

// unannounced reports whether what an answer is about can change without a notification:
// the kernel sends none for most settings of a link that is down, such as its alias, and
// the spanning tree and default VLAN of a bridge (net/core/dev.c, netdev_state_change).
func unannounced(answer any) bool {
	switch a := answer.(type) {
	case *rtnl.Link:
		return a != nil && !a.Up
	case []*rtnl.Link:
		return slices.ContainsFunc(a, func(l *rtnl.Link) bool { return !l.Up })
	}
	return false
}

func recall[K comparable, V any](m *Memory, answers map[K]V, key K) (v V, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.outdated = m.outdated || m.changes.Any()
	if m.outdated {
		return v, false
	}
	v, ok = answers[key]
	return v, ok
}

func (r remembering) LinkByName(name string) (*rtnl.Link, error) {
	return remember(r.of, r.of.byName, name, func() (*rtnl.Link, error) { return r.Kernel.LinkByName(name) })
}

func (r remembering) LinkByIndex(index int) (*rtnl.Link, error) {
	return remember(r.of, r.of.byIndex, index, func() (*rtnl.Link, error) { return r.Kernel.LinkByIndex(index) })
}

func (r remembering) Ports(master int) ([]*rtnl.Link, error) {
	all, err := remember(r.of, r.of.ports, master, func() ([]*rtnl.Link, error) { return r.Kernel.Ports(master) })
	return slices.Clone(all), err // a caller may sort out its own
}

func (r remembering) LinkIn(nsid, index int) (*rtnl.Link, error) {
	return remember(r.of, r.of.in, linkIn{nsid, index}, func() (*rtnl.Link, error) { return r.Kernel.LinkIn(nsid, index) })
}

func (r remembering) AddrsIn(nsid, index int) ([]rtnl.Addr, error) {
	all, err := remember(r.of, r.of.addrsIn, linkIn{nsid, index}, func() ([]rtnl.Addr, error) { return r.Kernel.AddrsIn(nsid, index) })
	return slices.Clone(all), err
}

func (r remembering) Addrs() ([]rtnl.Addr, error) {
	all, err := remember(r.of, r.of.addrs, struct{}{}, r.Kernel.Addrs)
	return slices.Clone(all), err
}

func (r remembering) PortVLANs() (map[int][]rtnl.PortVLAN, error) {
	return remember(r.of, r.of.vlans, struct{}{}, r.Kernel.PortVLANs)
}
