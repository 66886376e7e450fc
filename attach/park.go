package attach

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guestnet"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/kind"
	"github.com/gopipework/gopipework/internal/nsfs"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"golang.org/x/sys/unix"
)

// Parking is where the guests' ends of pairs wait while their guests are away, so that the
// ports on the host live on: a network namespace that has no name and no process, and ends
// with this process. Close it when done.
type Parking struct {
	place kind.ParkingPlace
	close sync.Once

	mu    sync.Mutex
	ports map[int]plan.Mark // what is parked, by the port's index
}

type parkingKey struct{}

// NewParking returns an empty one.
func NewParking() (*Parking, error) {
	ns, err := nsfs.New()
	if err != nil {
		return nil, fault.Explain("make", "a network namespace", err)
	}
	k, err := rtnl.Open(ns)
	if err != nil {
		ns.Close()
		return nil, fault.Explain("enter", "a network namespace", err)
	}
	return &Parking{place: kind.ParkingPlace{Kernel: k, NS: ns}, ports: map[int]plan.Mark{}}, nil
}

// Close deletes what is parked. LetGo, before it, also deletes what stood for it.
func (p *Parking) Close() {
	p.close.Do(func() {
		p.place.Kernel.Close()
		p.place.NS.Close()
	})
}

// path is where a person finds the namespace.
func (p *Parking) path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), p.place.NS.Fd()) }

// Park parks the pairs of a guest that has ended, and whose namespace g still holds: those
// that want says are to be parked. Until the guest runs again, and Attach takes them, they
// are neither its nor anybody's. A namespace that some process is still in is left alone:
// what is attached there works. It returns how many it has parked.
func (p *Parking) Park(ctx context.Context, g *Guest, want func(g GuestInfo, ifName string, by Origin) bool, opt Options) (parked int, err error) {
	used, err := inhabited(ctx, g.NetNS)
	if used || err != nil {
		return 0, err
	}
	_, err = opt.in(func(hostNS *os.File) (Result, error) {
		m, err := plan.Open(ctx, hostNS, *g)
		if err != nil {
			return Result{}, err
		}
		defer m.Close()
		m.Remember(kind.ParkingKey{}, p.place)
		f, err := observePark(m, want)
		if err != nil {
			return Result{}, err
		}
		f.To = p.path()
		err = kind.PlanPark(f).Remove(ctx, m, opt.tell)
		for _, pair := range f.Pairs {
			if p.holds(m.Host(), pair.Port.Index) {
				p.note(pair.Port.Index, pair.Mark)
				parked++
			}
		}
		return Result{}, err
	})
	return parked, err
}

// observePark reads what pairs the guest has.
func observePark(m *plan.Machine, want func(GuestInfo, string, Origin) bool) (build.ParkFacts, error) {
	g := m.Guests[plan.InGuest]
	f := build.ParkFacts{Guest: g.GuestInfo}
	ends, err := ourEnds(m.Host(), &g)
	if err != nil {
		return f, err
	}
	id, err := m.Host().NamespaceID(g.Namespace)
	if err != nil {
		return f, fault.Explain("find", "the namespace of "+g.Name, err)
	}
	for _, l := range ends {
		mark, complete := plan.ParseMark(l.Alias)
		if !complete || l.PeerNS != id || !want(mark.Guest(), mark.IfName, mark.Origin) {
			continue
		}
		inner, err := m.In(plan.InGuest).LinkByIndex(l.Peer)
		if err := ours.UnlessNotFound(err); err != nil {
			return f, fault.Explain("find", mark.IfName, err)
		}
		f.Pairs = append(f.Pairs, build.Parking{Mark: mark, Port: l, Inner: inner})
	}
	return f, nil
}

// inhabited reports whether a process is in the namespace. It waits a moment for one that
// only looks: processes of a container all end before its first one does.
func inhabited(ctx context.Context, inode uint64) (bool, error) {
	const tries, pause = 5, 20 * time.Millisecond
	for try := 0; ; try++ {
		pids, err := nsfs.Processes()
		if err != nil {
			return true, fault.Explain("look for", "processes", err)
		}
		in := slices.ContainsFunc(pids, func(pid int) bool {
			var st unix.Stat_t
			return unix.Stat(nsfs.OfProcess(pid), &st) == nil && st.Ino == inode
		})
		if !in || try == tries {
			return in, nil
		}
		select {
		case <-ctx.Done():
			return true, context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

func (p *Parking) note(port int, m plan.Mark) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ports[port] = m
}

func (p *Parking) forget(port int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.ports, port)
}

// find returns the index of the port that is parked for an interface of a guest; 0: none.
// A container that is made anew under its name has another ID, and is the same guest.
func (p *Parking) find(g guests.GuestInfo, ifName string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	for port, m := range p.ports {
		if m.IfName == ifName && m.Runtime == g.Runtime && (m.ID == g.ID || m.Name == g.Name) {
			return port
		}
	}
	return 0
}

// holds reports whether a port's other end is parked here.
func (p *Parking) holds(host plan.Kernel, port int) bool {
	l, err := host.LinkByIndex(port)
	if err != nil || l.Kind != "veth" || !plan.IsOurs(l) {
		return false
	}
	_, parked := plan.ParseParked(l.Alias)
	id, err := host.NamespaceID(p.place.NS)
	return parked && err == nil && id >= 0 && l.PeerNS == id
}

// observeParked reads what is parked for the interface; nil: nothing.
func observeParked(o *build.Looker, m *plan.Machine, n build.Names) (found *build.Parked) {
	p, _ := m.Remembered(parkingKey{}).(*Parking)
	if p == nil {
		return nil
	}
	host := m.Host() // what is remembered of a port does not tell where its other end is now
	index := p.find(m.Guests[plan.InGuest].GuestInfo, n.Inner)
	if index == 0 {
		return nil
	}
	if !p.holds(host, index) {
		p.forget(index)
		return nil
	}
	o.Look("the parked port", func() error {
		port, err := host.LinkByIndex(index)
		if err != nil {
			return ours.UnlessNotFound(err)
		}
		end, err := p.place.LinkByIndex(port.Peer)
		if err != nil {
			return ours.UnlessNotFound(err)
		}
		found = &build.Parked{Port: port, Name: end.Name, Enter: "nsenter --net=" + p.path() + " "}
		if guestnet.HasQueue(port) {
			all, err := host.Qdiscs()
			if err != nil {
				return err
			}
			found.Queues = guestnet.QdiscsOf(index, all)
		}
		addrs, err := host.Addrs()
		found.Addrs = ours.AddressesOf(port, addrs)
		if err != nil || port.Master == 0 {
			return err
		}
		if found.On, err = host.LinkByIndex(port.Master); err != nil || !found.On.VLANFiltering {
			return ours.UnlessNotFound(err)
		}
		vlans, err := host.PortVLANs()
		found.VLANs = vlans[index]
		return err
	})
	return found
}

// LetGo deletes the pairs that are parked and that keep says nobody waits for, and what
// stood for them on the host, as GC does.
func (p *Parking) LetGo(ctx context.Context, keep func(g GuestInfo, ifName string, by Origin) bool, opt Options) error {
	p.mu.Lock()
	var gone []int
	for port, m := range p.ports {
		if !keep(m.Guest(), m.IfName, m.Origin) {
			gone = append(gone, port)
		}
	}
	p.mu.Unlock()
	if len(gone) == 0 {
		return nil
	}
	_, err := opt.in(func(hostNS *os.File) (Result, error) {
		m, err := plan.Open(ctx, hostNS)
		if err != nil {
			return Result{}, err
		}
		defer m.Close()
		for _, port := range gone {
			if p.holds(m.Host(), port) {
				if err := fault.IgnoreAbsent("delete", "a parked port", ours.DeleteLink(m.Host(), port)); err != nil {
					return Result{}, err
				}
			}
			p.forget(port)
		}
		return Result{}, nil
	})
	if err != nil {
		return err
	}
	_, err = GC(ctx, opt)
	return err
}
