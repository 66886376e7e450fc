package attach

import (
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/nsfs"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"golang.org/x/sys/unix"
)

var (
	noAddrs    = []netip.Prefix{}
	noGateways = []netip.Addr{}
)

// namespace is a guest's network namespace that was found again from the id
// that the kernel knows it by.
type namespace struct {
	file   *os.File
	path   string // by which it can be opened again
	pid    int    // of a process in it; 0 if it is only a name
	by     int    // process that holds it and is not in it; 0: not looked for
	inode  uint64
	links  plan.Kernel // opened when first asked
	locked bool        // by us
}

// namespaces are by the id that they have on the host.
type namespaces map[int]*namespace

func (n namespaces) close() {
	for _, ns := range n {
		if ns.links != nil {
			ns.links.Close()
		}
		ns.file.Close()
	}
}

// namedNamespaces are where namespaces without a process have names: those of
// "ip netns add", and the sandboxes of Docker.
var namedNamespaces = []string{"/run/netns/*", "/run/docker/netns/*"}

// findNamespaces finds the namespaces in which the other ends of links are.
// The kernel has no way from an id to its namespace, so we look at all that can
// be found. A guest that is given is known already.
func findNamespaces(k plan.Kernel, links []*rtnl.Link, g *Guest) namespaces {
	wanted := map[int]bool{}
	for _, l := range links {
		wanted[l.PeerNS] = true
	}
	found := namespaces{}
	look := func(ns *namespace) (keep, more bool) {
		id, err := k.NamespaceID(ns.file)
		if err == nil && wanted[id] && found[id] == nil {
			found[id] = ns
			keep = true
		}
		return keep, len(found) < len(wanted)
	}
	if len(wanted) > 0 {
		walkNamespaces(g, namedByPath(links), look)
	}
	return found
}

// namedByPath returns the paths by which the guests of links were named.
func namedByPath(links []*rtnl.Link) (paths []string) {
	for _, l := range links {
		if m, ok := plan.ParseMark(l.Alias); ok && m.Runtime == "path" {
			paths = append(paths, m.Name)
		}
	}
	return paths
}

// eachNamespace calls f for every namespace that can be found, but for the
// host's, with a connection that is inside it.
func eachNamespace(hostNS *os.File, f func(*namespace, plan.Kernel) error) (err error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(hostNS.Fd()), &st); err != nil {
		return fault.Explain("look at", "the host's namespace", err)
	}
	walkNamespaces(nil, nil, func(ns *namespace) (keep, more bool) {
		if ns.inode == st.Ino {
			return false, true
		}
		c, oerr := rtnl.Open(ns.file)
		if oerr != nil {
			err = fault.Explain("enter", "a namespace", oerr)
			return false, false
		}
		defer c.Close()
		ns.links = c
		err = f(ns, c)
		return false, err == nil
	})
	return err
}

// visitAll calls f for every namespace that can be found, but for the host's, and for
// those at more paths. It does so for some of them at the same time.
func visitAll(hostNS *os.File, more []string, f func(*namespace) error) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(hostNS.Fd()), &st); err != nil {
		return fault.Explain("look at", "the host's namespace", err)
	}
	var visits sync.WaitGroup
	var failed atomic.Pointer[error]
	met := make(chan *namespace)
	for range visitors {
		visits.Go(func() {
			for ns := range met {
				if failed.Load() == nil {
					if err := visit(ns, f); err != nil {
						failed.CompareAndSwap(nil, &err)
					}
				}
				ns.file.Close()
			}
		})
	}
	walkNamespaces(nil, more, func(ns *namespace) (keep, goOn bool) {
		if keep = ns.inode != st.Ino; keep {
			met <- ns
		}
		return keep, failed.Load() == nil
	})
	close(met)
	visits.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

// visitors bounds how many namespaces are visited at the same time: more do not go
// faster, because the kernel reads links and queues under one lock.
const visitors = 4

// visit calls f for a namespace, and gives it the frozen kernel of it.
func visit(ns *namespace, f func(*namespace) error) error {
	c, err := rtnl.Open(ns.file)
	if err != nil {
		return fault.Explain("enter", "a namespace", err)
	}
	defer c.Close()
	ns.links = freeze(c)
	return f(ns)
}

// walkNamespaces calls look with each namespace that processes are in, and then
// with those that have a name, some of which are given, once each, until it
// wants no more. What it does not keep is closed again.
func walkNamespaces(first *Guest, more []string, look func(*namespace) (keep, more bool)) {
	seen := map[uint64]bool{}
	visit := func(path string, pid int) bool {
		// The first look spares opening what was seen already; only what is open
		// then is believed: the path can come to mean something else in between.
		var st unix.Stat_t
		if unix.Stat(path, &st) != nil || seen[st.Ino] {
			return true
		}
		f, err := nsfs.Open(path, 0)
		if err != nil {
			return true
		}
		if unix.Fstat(int(f.Fd()), &st) != nil || seen[st.Ino] {
			f.Close()
			return true
		}
		seen[st.Ino] = true
		keep, goOn := look(&namespace{file: f, path: path, pid: pid, inode: st.Ino})
		if !keep {
			f.Close()
		}
		return goOn
	}
	if first != nil && !visit("/proc/self/fd/"+itoa(int(first.Namespace.Fd())), first.PID) {
		return
	}
	for _, pid := range nsfs.Processes() {
		if !visit("/proc/"+itoa(pid)+"/ns/net", pid) {
			return
		}
	}
	for _, pattern := range namedNamespaces {
		paths, _ := filepath.Glob(pattern)
		more = append(more, paths...)
	}
	for _, p := range more {
		if !visit(p, 0) {
			return
		}
	}
}

// firstPIDs is the inode of the PID namespace that the kernel started with
// (PROC_PID_INIT_INO): in any other, only the processes below it can be seen.
const firstPIDs = 0xEFFFFFFC

// seesAll says whether we can see the network namespace of every process, and not
// only of those in a container with us, or of our own user.
func seesAll() bool {
	var pids, first unix.Stat_t
	return unix.Stat("/proc/self/ns/pid", &pids) == nil && pids.Ino == firstPIDs && unix.Stat("/proc/1/ns/net", &first) == nil
}

// read fills in the guest's side of an attachment.
func (ns *namespace) read(a *Attachment, index int) error {
	if ns.links == nil {
		c, err := rtnl.Open(ns.file)
		if err != nil {
			return fault.Explain("enter", "the namespace of "+a.Guest.Name, err)
		}
		ns.links = c
	}
	l, err := ns.links.LinkByIndex(index)
	if err != nil {
		return err
	}
	addrs, err := ns.links.Addrs()
	if err != nil {
		return fault.Explain("read addresses of", l.Name, err)
	}
	routes, err := ns.links.Routes()
	if err != nil {
		return fault.Explain("read routes of", l.Name, err)
	}
	shaped, err := readShaped(ns.links, index)
	if err != nil {
		return fault.Explain("read queues of", l.Name, err)
	}
	a.Shaping = shapingOrNil(shaped.shaping())
	a.Interface = Interface{
		Name: l.Name, Kind: l.Kind, MAC: l.MAC.String(), MTU: l.MTU,
		Addresses: addressesIn(l, addrs), Gateway: gatewaysIn(index, routes),
	}
	a.Lease = leaseState(ns.links, index)
	return nil
}
