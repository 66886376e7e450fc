package ours

import (
	"cmp"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/nsfs"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"golang.org/x/sys/unix"
)

var (
	NoAddrs    = []netip.Prefix{}
	NoGateways = []netip.Addr{}
)

// Namespace is a guest's network namespace that was found again from the id
// that the kernel knows it by.
type Namespace struct {
	File   *os.File
	Path   string // by which it can be opened again
	PID    int    // of a process in it; 0 if it is only a name
	by     int    // process that holds it and is not in it; 0: not looked for
	Inode  uint64
	Links  plan.Kernel // opened when first asked
	Locked bool        // by us
}

// Namespaces are by the id that they have on the host.
type Namespaces map[int]*Namespace

func (n Namespaces) Close() {
	for _, ns := range n {
		if ns.Links != nil {
			ns.Links.Close()
		}
		ns.File.Close()
	}
}

// NamedNamespaces are where namespaces without a process have names: those of
// "ip netns add", and the sandboxes of Docker.
var NamedNamespaces = []string{"/run/netns", "/run/docker/netns"}

// FindNamespaces finds the namespaces in which the other ends of links are.
// The kernel has no way from an id to its namespace, so we look at all that can
// be found. A guest that is given is known already.
func FindNamespaces(k plan.Kernel, links []*rtnl.Link, g *guests.Guest) (Namespaces, error) {
	wanted := map[int]bool{}
	for _, l := range links {
		wanted[l.PeerNS] = true
	}
	found := Namespaces{}
	look := func(ns *Namespace) (keep, more bool) {
		id, err := k.NamespaceID(ns.File)
		if err == nil && wanted[id] && found[id] == nil {
			found[id] = ns
			keep = true
		}
		return keep, len(found) < len(wanted)
	}
	if len(wanted) == 0 {
		return found, nil
	}
	if err := WalkNamespaces(g, NamedByPath(links), look); err != nil {
		found.Close()
		return nil, err
	}
	return found, nil
}

// NamedByPath returns the paths by which the guests of links were named.
func NamedByPath(links []*rtnl.Link) (paths []string) {
	for _, l := range links {
		if m, ok := plan.ParseMark(l.Alias); ok && m.Runtime == "path" {
			paths = append(paths, m.Name)
		}
	}
	return paths
}

// EachNamespace calls f for every namespace that can be found, but for the
// host's, with a connection that is inside it.
func EachNamespace(hostNS *os.File, f func(*Namespace, plan.Kernel) error) (err error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(hostNS.Fd()), &st); err != nil {
		return fault.Explain("look at", "the host's namespace", err)
	}
	walked := WalkNamespaces(nil, nil, func(ns *Namespace) (keep, more bool) {
		if ns.Inode == st.Ino {
			return false, true
		}
		c, oerr := rtnl.Open(ns.File)
		if oerr != nil {
			err = fault.Explain("enter", "a namespace", oerr)
			return false, false
		}
		defer c.Close()
		ns.Links = c
		err = f(ns, c)
		return false, err == nil
	})
	return cmp.Or(err, walked)
}

// VisitAll calls f for every namespace that can be found, but for the host's, and for
// those at more paths. It does so for some of them at the same time.
func VisitAll(hostNS *os.File, more []string, f func(*Namespace) error) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(hostNS.Fd()), &st); err != nil {
		return fault.Explain("look at", "the host's namespace", err)
	}
	var visits sync.WaitGroup
	var failed atomic.Pointer[error]
	met := make(chan *Namespace)
	for range visitors {
		visits.Add(1)
		nsfs.Go(func() {
			defer visits.Done()
			for ns := range met {
				if failed.Load() == nil {
					if err := Visit(ns, f); err != nil {
						failed.CompareAndSwap(nil, &err)
					}
				}
				ns.File.Close()
			}
		})
	}
	walked := WalkNamespaces(nil, more, func(ns *Namespace) (keep, goOn bool) {
		if keep = ns.Inode != st.Ino; keep {
			met <- ns
		}
		return keep, failed.Load() == nil
	})
	close(met)
	visits.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return walked
}

// visitors bounds how many namespaces are visited at the same time: more do not go
// faster, because the kernel reads links and queues under one lock.
const visitors = 4

// Visit takes the calling goroutine's own thread into a namespace, and calls f there with
// the frozen kernel of it.
func Visit(ns *Namespace, f func(*Namespace) error) error {
	c, err := rtnl.Visit(ns.File)
	if err != nil {
		return fault.Explain("enter", "a namespace", err)
	}
	defer c.Close()
	ns.Links = Freeze(c)
	return f(ns)
}

// OnThread calls f on a thread that ends with it.
func OnThread(f func() error) error {
	done := make(chan error)
	nsfs.Go(func() { done <- f() })
	return <-done
}

// WalkNamespaces calls look with each namespace that processes are in, and then
// with those that have a name, some of which are given, once each, until it
// wants no more. What it does not keep is closed again. What has ended meanwhile, or is
// no namespace, is passed by; a walk that cannot tell is an error, because what it did
// not meet would be taken for gone.
func WalkNamespaces(first *guests.Guest, more []string, look func(*Namespace) (keep, more bool)) error {
	seen := map[uint64]bool{}
	var starved error
	visit := func(path string, pid int) bool {
		// The first look spares opening what was seen already; only what is open
		// then is believed: the path can come to mean something else in between.
		var st unix.Stat_t
		if unix.Stat(path, &st) != nil || seen[st.Ino] {
			return true
		}
		f, err := nsfs.Open(path, 0)
		if nsfs.Starved(err) {
			starved = fault.Explain("look at", "a namespace", err)
		}
		if err != nil {
			return starved == nil
		}
		if unix.Fstat(int(f.Fd()), &st) != nil || seen[st.Ino] {
			f.Close()
			return true
		}
		seen[st.Ino] = true
		keep, goOn := look(&Namespace{File: f, Path: path, PID: pid, Inode: st.Ino})
		if !keep {
			f.Close()
		}
		return goOn
	}
	if first != nil && !visit("/proc/self/fd/"+strconv.Itoa(int(first.Namespace.Fd())), first.PID) {
		return starved
	}
	pids, err := nsfs.Processes()
	if err != nil {
		return fault.Explain("look for", "processes", err)
	}
	for _, pid := range pids {
		if !visit("/proc/"+strconv.Itoa(pid)+"/ns/net", pid) {
			return starved
		}
	}
	for _, dir := range NamedNamespaces {
		names, err := os.ReadDir(dir)
		if nsfs.Starved(err) {
			return fault.Explain("read", dir, err)
		}
		for _, n := range names {
			more = append(more, filepath.Join(dir, n.Name()))
		}
	}
	for _, p := range more {
		if !visit(p, 0) {
			return starved
		}
	}
	return nil
}

// firstPIDs is the inode of the PID namespace that the kernel started with
// (PROC_PID_INIT_INO): in any other, only the processes below it can be seen.
const firstPIDs = 0xEFFFFFFC

// SeesAll says whether we can see the network namespace of every process, and not
// only of those in a container with us, or of our own user.
func SeesAll() bool {
	var pids, first unix.Stat_t
	return unix.Stat("/proc/self/ns/pid", &pids) == nil && pids.Ino == firstPIDs && unix.Stat("/proc/1/ns/net", &first) == nil
}

// OpenSame opens a namespace again, if the path still leads to it.
func OpenSame(path string, inode uint64) (*os.File, error) {
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
