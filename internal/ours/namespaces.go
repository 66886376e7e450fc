package ours

import (
	"cmp"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"

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
		if m, ok := plan.ParseMark(l.Alias); ok && m.Guest().ByPath() {
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
	w := newWalk(nil, more)
	var mu sync.Mutex // for w and failed
	var failed error
	next := func() *Namespace {
		mu.Lock()
		defer mu.Unlock()
		for failed == nil {
			var ns *Namespace
			if ns, failed = w.next(); ns == nil || ns.Inode != st.Ino {
				return ns
			}
			ns.File.Close()
		}
		return nil
	}
	var visits sync.WaitGroup
	for range min(visitors, runtime.GOMAXPROCS(0)) {
		visits.Add(1)
		nsfs.Go(func() {
			defer visits.Done()
			for ns := next(); ns != nil; ns = next() {
				err := Visit(ns, f)
				ns.File.Close()
				if err != nil {
					mu.Lock()
					failed = cmp.Or(failed, err)
					mu.Unlock()
				}
			}
		})
	}
	visits.Wait()
	return failed
}

// visitors bounds how many namespaces are visited at the same time: more do not go
// faster, because the kernel reads links and queues under one lock. There is one for each
// processor, and each looks for its next namespace itself: to wake a goroutine that is
// locked to its thread takes Go longer than a part of a visit.
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
// wants no more. What it does not keep is closed again.
func WalkNamespaces(first *guests.Guest, more []string, look func(*Namespace) (keep, more bool)) error {
	w := newWalk(first, more)
	for {
		ns, err := w.next()
		if ns == nil {
			return err
		}
		keep, goOn := look(ns)
		if !keep {
			ns.File.Close()
		}
		if !goOn {
			return nil
		}
	}
}

// walk finds namespaces, once each. What has ended meanwhile, or is no namespace, is
// passed by; a walk that cannot tell is an error, because what it did not meet would be
// taken for gone.
type walk struct {
	seen  map[uint64]bool
	ahead []place                   // not looked at yet
	then  []func() ([]place, error) // where more of them come from
}

// place is where a namespace can be.
type place struct {
	path string
	pid  int // of the process whose it is; 0: it is only a name
}

func newWalk(first *guests.Guest, more []string) *walk {
	w := &walk{seen: map[uint64]bool{}, then: []func() ([]place, error){placesOfProcesses, func() ([]place, error) { return namedPlaces(more) }}}
	if first != nil {
		w.ahead = []place{{"/proc/self/fd/" + strconv.Itoa(int(first.Namespace.Fd())), first.PID}}
	}
	return w
}

func placesOfProcesses() (out []place, err error) {
	pids, err := nsfs.Processes()
	if err != nil {
		return nil, fault.Explain("look for", "processes", err)
	}
	for _, pid := range pids {
		out = append(out, place{"/proc/" + strconv.Itoa(pid) + "/ns/net", pid})
	}
	return out, nil
}

func namedPlaces(more []string) (out []place, err error) {
	for _, path := range more {
		out = append(out, place{path: path})
	}
	for _, dir := range NamedNamespaces {
		names, err := os.ReadDir(dir)
		if nsfs.Starved(err) {
			return nil, fault.Explain("read", dir, err)
		}
		for _, n := range names {
			out = append(out, place{path: filepath.Join(dir, n.Name())})
		}
	}
	if !SeesAll() { // an engine may have mounted them elsewhere
		for _, path := range mountedIn("/proc/self") {
			out = append(out, place{path: path})
		}
	}
	return out, nil
}

// next returns the next namespace, or nil at the end of the walk.
func (w *walk) next() (*Namespace, error) {
	for {
		for len(w.ahead) > 0 {
			at := w.ahead[0]
			w.ahead = w.ahead[1:]
			if ns, err := w.open(at); ns != nil || err != nil {
				return ns, err
			}
		}
		if len(w.then) == 0 {
			return nil, nil
		}
		var err error
		if w.ahead, err = w.then[0](); err != nil {
			return nil, err
		}
		w.then = w.then[1:]
	}
}

// open returns nil for what is no namespace, or was seen before.
func (w *walk) open(at place) (*Namespace, error) {
	// The first look spares opening what was seen already; only what is open
	// then is believed: the path can come to mean something else in between.
	var st unix.Stat_t
	if unix.Stat(at.path, &st) != nil || w.seen[st.Ino] {
		return nil, nil
	}
	f, err := nsfs.Open(at.path, 0)
	if nsfs.Starved(err) {
		return nil, fault.Explain("look at", "a namespace", err)
	}
	if err != nil {
		return nil, nil
	}
	if unix.Fstat(int(f.Fd()), &st) != nil || w.seen[st.Ino] {
		f.Close()
		return nil, nil
	}
	w.seen[st.Ino] = true
	return &Namespace{File: f, Path: at.path, PID: at.pid, Inode: st.Ino}, nil
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

// Reopen opens the guest that an attachment was listed in, by its process or its name, if
// these still lead to the same namespace.
func Reopen(g guests.GuestInfo) (*guests.Guest, error) {
	if g.PID != 0 {
		if f, err := OpenSame("/proc/"+strconv.Itoa(g.PID)+"/ns/net", g.NetNS); err == nil {
			return guests.New(g, f, nil), nil
		}
	}
	var paths []string
	if filepath.IsAbs(g.Name) {
		paths = append(paths, g.Name)
	}
	for _, dir := range NamedNamespaces {
		paths = append(paths, filepath.Join(dir, g.Name))
	}
	for _, p := range paths {
		if f, err := OpenSame(p, g.NetNS); err == nil {
			g.PID, g.Path = 0, p
			return guests.New(g, f, nil), nil
		}
	}
	return nil, fault.New(fault.Gone, "enter", g.Word(), "its network namespace is not there any more").
		WithHint("gopipework gc cleans up what may remain on the host")
}

// IndexIn returns the index of a link in a network namespace, by which it is found again when
// it has another name.
func IndexIn(ns *os.File, name string) (index int, err error) {
	err = linkIn(ns, func(k *rtnl.Conn) (*rtnl.Link, error) { return k.LinkByName(name) }, func(l *rtnl.Link) { index = l.Index })
	return index, err
}

// NameIn returns the name that the link of an index has in a network namespace now.
func NameIn(ns *os.File, index int) (name string, err error) {
	err = linkIn(ns, func(k *rtnl.Conn) (*rtnl.Link, error) { return k.LinkByIndex(index) }, func(l *rtnl.Link) { name = l.Name })
	return name, err
}

func linkIn(ns *os.File, find func(*rtnl.Conn) (*rtnl.Link, error), found func(*rtnl.Link)) error {
	k, err := rtnl.Open(ns)
	if err != nil {
		return err
	}
	defer k.Close()
	l, err := find(k)
	if err == nil {
		found(l)
	}
	return err
}
