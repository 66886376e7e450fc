// Package survey reads what is connected to what on a host, and fills a graph with it.
package survey

import (
	"bytes"
	"cmp"
	"context"
	"os"
	"slices"
	"sync"

	"github.com/gopipework/gopipework/bridge"
	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/graph"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/nsfs"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"golang.org/x/sys/unix"
)

// Read returns what is connected to what: the host's cards, bridges and ports, and the
// guests, whoever made the links. It changes nothing. A guest gets its name from known, by
// its NetNS; dockerutil.Running finds those. Without a name there, it is called by what
// attached it, or by a process in it. hostNS is the host's network namespace; nil: that of
// the calling thread.
func Read(ctx context.Context, known []guests.GuestInfo, hostNS *os.File) (graph.Graph, error) {
	if hostNS == nil {
		var err error
		if hostNS, err = os.Open("/proc/thread-self/ns/net"); err != nil {
			return graph.Graph{}, fault.New(fault.Failed, "open", "this process's network namespace", "%w", err)
		}
		defer hostNS.Close()
	}
	s, err := survey(ctx, hostNS)
	if err != nil {
		return graph.Graph{}, err
	}
	defer s.close()
	s.known = known
	return s.graph(), nil
}

// surveyed is what the kernel says about the host and all namespaces.
type surveyed struct {
	host    *space
	outside uint64   // inode of the namespace that the machine started with, if that is not the host's; 0: it is
	spaces  []*space // all others that could be found
	known   []guests.GuestInfo
	vlans   map[int][]rtnl.PortVLAN // of ports of the host's bridges, by index
	ovs     bridge.OVS
	unseen  map[int]*rtnl.Link // other ends that are in no namespace that was found, by the index of the host's
	warned  []string
}

// space is what there is in one namespace.
type space struct {
	inode  uint64
	pid    int    // of a process in it; 0: it is only a name
	path   string // by which it can be opened again
	runs   string // name of that process
	links  []*rtnl.Link
	addrs  []rtnl.Addr
	routes []rtnl.Route

	file   *os.File           // held open while it is asked for third ones; nil: it knows none
	byID   map[int]*space     // other namespaces, by the ids that this one gave them
	hostID int                // the host's among these; -1: none
	at     map[int]*rtnl.Link // links by index
}

// survey reads all of it, with one visit to each namespace.
func survey(ctx context.Context, hostNS *os.File) (*surveyed, error) {
	k, err := rtnl.Open(hostNS)
	if err != nil {
		return nil, fault.Explain("enter", "host", err)
	}
	defer k.Close()
	s := &surveyed{unseen: map[int]*rtnl.Link{}}
	host := ours.Freeze(k)
	if s.host, err = readSpace(host); err != nil {
		return nil, err
	}
	if s.vlans, err = host.PortVLANs(); err != nil {
		return nil, fault.Explain("read", "the VLANs of bridge ports", err)
	}
	var o build.Looker
	if s.ovs = o.OVS(ctx, host); o.Err != nil {
		s.warned = append(s.warned, o.Err.Error()) // the rest is right without it
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(hostNS.Fd()), &st); err != nil {
		return nil, fault.Explain("look at", "the host's namespace", err)
	}
	s.host.inode = st.Ino
	if unix.Stat(nsfs.OfProcess(1), &st) == nil && st.Ino != s.host.inode {
		s.outside = st.Ino
	}
	var mu sync.Mutex
	err = ours.VisitAll(hostNS, ours.NamedByPath(s.host.links), func(ns *ours.Namespace) error {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		in, err := visitSpace(ns, hostNS)
		if err != nil || in == nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		s.spaces = append(s.spaces, in)
		return nil
	})
	if err == nil {
		slices.SortFunc(s.spaces, func(a, b *space) int { return cmp.Compare(a.inode, b.inode) })
		err = s.joinSpaces()
	}
	if err == nil {
		err = s.lookBeyond(k)
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// visitSpace reads a namespace that the calling thread is in.
func visitSpace(ns *ours.Namespace, hostNS *os.File) (*space, error) {
	in, err := readSpace(ns.Links)
	if err != nil {
		return nil, err
	}
	in.inode, in.pid, in.path = ns.Inode, ns.PID, ns.Path
	if in.pid != 0 {
		in.runs = nsfs.Command(in.pid)
	}
	if !slices.ContainsFunc(in.links, func(l *rtnl.Link) bool { return l.PeerNS >= 0 }) {
		return in, nil
	}
	if in.hostID, err = ns.Links.NamespaceID(hostNS); err != nil {
		return nil, fault.Explain("find", "the host's namespace", err)
	}
	if slices.ContainsFunc(in.links, in.third) {
		if in.file, err = nsfs.Reopen(ns.File); err != nil {
			return nil, fault.Explain("open", "a namespace", err)
		}
	}
	return in, nil
}

// readSpace reads what there is in a namespace.
func readSpace(k plan.Kernel) (in *space, err error) {
	in = &space{hostID: -1, byID: map[int]*space{}, at: map[int]*rtnl.Link{}}
	if in.links, err = k.Links(); err != nil {
		return nil, fault.Explain("list", "links", err)
	}
	for _, l := range in.links {
		in.at[l.Index] = l
	}
	if len(in.links) < 2 { // lo, which tells nothing
		return in, nil
	}
	if in.addrs, err = k.Addrs(); err != nil {
		return nil, fault.Explain("list", "addresses", err)
	}
	if in.routes, err = k.Routes(); err != nil {
		return nil, fault.Explain("list", "routes", err)
	}
	return in, nil
}

// third reports whether the other end of a link, or what it is on, is neither here nor on
// the host.
func (in *space) third(l *rtnl.Link) bool { return l.PeerNS >= 0 && l.PeerNS != in.hostID }

// joinSpaces finds the namespaces that others lead to. An id means something only in the
// namespace that gave it, and there is no way from it to what it stands for: each namespace
// in which the other end could be has to be asked for.
func (s *surveyed) joinSpaces() error {
	for _, in := range s.spaces {
		if in.file == nil {
			continue
		}
		if err := ours.OnThread(func() error { return s.resolve(in) }); err != nil {
			return fault.Explain("look at", "a namespace", err)
		}
	}
	return nil
}

// resolve fills in the namespaces that a space leads to.
func (s *surveyed) resolve(in *space) error {
	k, err := rtnl.Visit(in.file)
	if err != nil {
		return err
	}
	defer k.Close()
	for _, l := range in.links {
		if !in.third(l) || in.byID[l.PeerNS] != nil {
			continue
		}
		far, err := k.LinkIn(l.PeerNS, l.Peer)
		if err != nil {
			continue // gone
		}
		for _, other := range s.spaces {
			if other == in || !other.has(far) {
				continue
			}
			id, err := other.idIn(k)
			if err != nil {
				continue // it has ended
			}
			if id >= 0 {
				in.byID[id] = other
			}
			if id == l.PeerNS {
				break
			}
		}
	}
	return nil
}

// has reports whether a link may be one of this namespace's: its MAC address spares asking
// hundreds of namespaces that have links of the same index and name.
func (in *space) has(far *rtnl.Link) bool {
	l := in.at[far.Index]
	return l != nil && l.Name == far.Name && l.Kind == far.Kind && bytes.Equal(l.MAC, far.MAC)
}

// idIn returns the id of the namespace in that of k.
func (in *space) idIn(k *rtnl.Conn) (int, error) {
	f := in.file
	if f == nil {
		var err error
		if f, err = ours.OpenSame(in.path, in.inode); err != nil {
			return -1, err
		}
		defer f.Close()
	}
	return k.NamespaceID(f)
}

// lookBeyond asks for the other ends of the host's pairs whose namespaces were not found.
func (s *surveyed) lookBeyond(k *rtnl.Conn) error {
	met := map[int]bool{}
	for _, in := range s.spaces {
		for _, l := range in.links {
			if l.PeerNS >= 0 && l.PeerNS == in.hostID {
				met[l.Peer] = true
			}
		}
	}
	for _, l := range s.host.links {
		if l.PeerNS < 0 || met[l.Index] || !paired(l) {
			continue
		}
		other, err := k.LinkIn(l.PeerNS, l.Peer)
		if ours.UnlessNotFound(err) != nil {
			return fault.Explain("find the other end of", l.Name, err)
		}
		if err == nil {
			s.unseen[l.Index] = other
		}
	}
	return nil
}

func (s *surveyed) close() {
	for _, in := range s.spaces {
		if in.file != nil {
			in.file.Close()
		}
	}
}
