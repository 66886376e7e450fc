package ours

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/nsfs"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/shell"
	"golang.org/x/sys/unix"
)

// A guest may move a card on, and its namespace may outlive it. So a card that is
// neither at home nor in its guest is looked for in every namespace of the
// machine before it is called gone.

// Traced is where such a card was found, or that it is gone.
type Traced struct {
	At    *Namespace // where it is, with a connection; nil: in no namespace that can be entered
	Link  *rtnl.Link // the card there
	Gone  bool       // there is no such card any more
	ended bool       // nor is the guest's namespace
	Maybe string     // what may be the card, and keeps it from being gone; "" for nothing
}

func (t Traced) Close() {
	if t.At != nil {
		Namespaces{0: t.At}.Close()
	}
}

// A look visits one namespace after another, so a guest that keeps moving the card
// can slip past it. It cannot slip past this many.
const (
	traceLooks = 20
	tracePause = 2 * time.Millisecond
)

// Trace looks for a lent card of the host.
func Trace(k plan.Kernel, hostNS *os.File, loan Loan) (t Traced, err error) {
	for look := 0; look < traceLooks && t.At == nil && err == nil; look++ {
		if look > 0 {
			time.Sleep(tracePause)
		}
		if t, err = lookFor(k, hostNS, loan); t.ended {
			break // nobody is left who could move it
		}
	}
	return t, err
}

func lookFor(k plan.Kernel, hostNS *os.File, loan Loan) (Traced, error) {
	s := seeker{host: k, hostNS: hostNS, loan: loan, known: map[int]bool{}, complete: true, ended: true}
	var err error
	if s.others, _, err = ReadLoans(""); err != nil {
		return Traced{}, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(hostNS.Fd()), &st); err != nil {
		return Traced{}, fault.Explain("look at", "the host's namespace", err)
	}
	if id, err := k.NamespaceID(hostNS); err == nil {
		s.known[id] = true
	}
	s.seen = map[uint64]bool{st.Ino: true}
	if err := WalkNamespaces(nil, nil, s.look); err != nil {
		return Traced{}, err
	}
	if s.found.At == nil {
		s.complete = walkHeld(s.look) && s.complete && nsfs.Counts(loan.PIDs)
	}
	if s.found.At != nil {
		return s.found, nil
	}
	if err := s.unreachable(); err != nil {
		return Traced{}, fault.Explain("look for", loan.Card.Name, err)
	}
	t := s.found
	t.ended = s.ended && s.complete
	if t.ended {
		t.Maybe = s.hidden // what looks like it elsewhere was there before
	}
	switch h := loan.Hardware; {
	case !loan.virtual():
		t.Gone = h.unplugged()
	case Paired(h.Kind) && h.PeerNS < 0 && !s.isGone(h.Peer):
		t.Maybe = "its other end is on the host still: ip link | grep " + strconv.Itoa(h.Peer) + ":"
	case onLower(h.Kind) && h.PeerNS < 0 && s.isGone(h.Peer):
		t.Gone = true // it went with what it was on
	default:
		t.Gone = s.complete && t.Maybe == ""
	}
	return t, nil
}

// virtual reports whether the card ends with its namespace. The kernel returns
// those of hardware to the machine's first namespace.
func (l Loan) virtual() bool { return l.Hardware.Kind != "" && l.Hardware.Kind != "can" }

// unplugged reports whether the device that the card is on has left its bus.
func (h hardware) unplugged() bool {
	if h.ParentBus == "" || h.ParentDev == "" || strings.Contains(h.ParentBus+h.ParentDev, "/") {
		return false
	}
	devices := "/sys/bus/" + h.ParentBus + "/devices/"
	_, err := os.Stat(devices)
	_, absent := os.Stat(devices + h.ParentDev)
	return err == nil && errors.Is(absent, fs.ErrNotExist)
}

// seeker is one look for a card.
type seeker struct {
	host   plan.Kernel
	hostNS *os.File
	loan   Loan
	others []Loan          // whose cards are not this one
	seen   map[uint64]bool // inodes of namespaces
	known  map[int]bool    // ids that they have on the host

	found    Traced
	hidden   string // what may be the card in a namespace that cannot be entered
	complete bool   // there was none that could not be looked into
	ended    bool   // the guest's was not met
}

// isGone reports whether the host has no link of the index.
func (s *seeker) isGone(index int) bool {
	_, err := s.host.LinkByIndex(index)
	return errors.Is(err, rtnl.ErrNotFound)
}

// look looks into one namespace.
func (s *seeker) look(ns *Namespace) (keep, more bool) {
	if s.seen[ns.Inode] {
		return false, true
	}
	s.seen[ns.Inode] = true
	if id, err := s.host.NamespaceID(ns.File); err == nil {
		s.known[id] = true
	}
	c, err := rtnl.Open(ns.File)
	if err != nil {
		s.complete = false
		return false, true
	}
	ns.Links = c
	keep, err = s.into(ns)
	if err != nil {
		s.complete = false
	}
	if !keep {
		c.Close()
	}
	return keep, !keep
}

func (s *seeker) into(ns *Namespace) (bool, error) {
	cookie, err := ns.Links.Cookie()
	if err != nil {
		return false, err
	}
	links, err := ns.Links.Links()
	if err != nil {
		return false, err
	}
	l := s.loan.elsewhere(ns.Links, links)
	if cookie == s.loan.GuestNS {
		s.ended = false
		l = s.loan.Away(ns.Links, links)
	}
	if l != nil {
		if is, err := Genuine(s.host, Away{ns.Links, ns.File}, l, s.hostNS, s.loan); is || err != nil {
			s.found.At, s.found.Link = ns, l
			return is, err
		}
	}
	for _, l := range links {
		if s.loan.maybe(l, cookie) && !s.anothers(ns.Links, l, cookie, links) {
			s.found.Maybe = fmt.Sprintf("%s of the namespace of %s", shell.Quote(l.Name), ns.Holder())
		}
	}
	return false, nil
}

// anothers reports whether a link is the card of another loan.
func (s *seeker) anothers(k plan.Reader, l *rtnl.Link, cookie uint64, links []*rtnl.Link) bool {
	return slices.ContainsFunc(s.others, func(o Loan) bool {
		return o.GuestNS == cookie && o.File() != s.loan.File() && o.Away(k, links) == l
	})
}

// unreachable looks into namespaces that have an id on the host, and that nothing
// else leads to.
func (s *seeker) unreachable() error {
	ids, err := s.host.NamespaceIDs()
	for _, id := range ids {
		if s.known[id] {
			continue
		}
		links, err := s.host.LinksIn(id)
		if errors.Is(err, rtnl.ErrNotFound) {
			continue // it ended meanwhile
		}
		if err != nil {
			return err
		}
		for _, l := range links {
			if s.loan.Hardware.is(l) {
				s.hidden = fmt.Sprintf("%s of a namespace that nothing leads to (ip netns list-id: %d)", shell.Quote(l.Name), id)
				s.found.Maybe = s.hidden
			}
		}
	}
	return err
}

// maybe reports whether a link of the namespace with the cookie could be the card,
// after its guest has changed everything that a guest can change. Two veths whose
// peers are both away from this host differ only in their MAC addresses.
func (l Loan) maybe(link *rtnl.Link, cookie uint64) bool {
	_, complete := plan.ParseMark(link.Alias)
	switch {
	case !l.Hardware.is(link), l.Hardware.Node != 0, plan.IsOurs(link) && complete:
		return false // with a node it was told for certain
	case Paired(link.Kind):
		return link.PeerNS >= 0 && (cookie == l.GuestNS || link.MAC.String() == l.Card.MAC)
	}
	return link.PeerNS >= 0 || !onLower(link.Kind)
}

// Holder names the process that keeps a namespace.
func (ns *Namespace) Holder() string {
	pid := cmp.Or(ns.PID, ns.by)
	if pid == 0 {
		return ns.Path
	}
	return fmt.Sprintf("process %d (%s)", pid, shell.Quote(nsfs.Command(pid)))
}

// Word is a word of the command line that names the namespace as a guest.
func (ns *Namespace) Word() string {
	if ns.PID == 0 {
		return ns.Path
	}
	return "pid:" + strconv.Itoa(ns.PID)
}

// walkHeld calls look with every namespace that a thread is in, that a descriptor or
// a socket of a process holds, or that is mounted somewhere, until look wants no
// more. It may pass a namespace more than once. It reports whether it could see all
// of them.
func walkHeld(look func(*Namespace) (keep, more bool)) (complete bool) {
	visit := func(f *os.File, path string, pid, by int) (more bool) {
		var st unix.Stat_t
		keep, more := false, true
		if unix.Fstat(int(f.Fd()), &st) == nil {
			keep, more = look(&Namespace{File: f, Path: path, PID: pid, by: by, Inode: st.Ino})
		}
		if !keep {
			f.Close()
		}
		return more
	}
	self, mounts := os.Getpid(), map[string]bool{}
	pids, err := nsfs.Processes()
	complete = err == nil
	for _, pid := range pids {
		dir := "/proc/" + strconv.Itoa(pid)
		paths, _ := globAll(dir+"/task", "/ns/net")
		held, err := heldBy(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ESRCH) {
			complete = false
		}
		if mnt, _ := os.Readlink(dir + "/ns/mnt"); !mounts[mnt] {
			mounts[mnt] = true
			held = append(held, mountedFor(dir)...)
		}
		for _, p := range append(paths, held...) {
			f, err := os.Open(p)
			if err != nil {
				complete = complete && !nsfs.Starved(err)
				continue
			}
			if is, err := isNamespace(f); !is || err != nil {
				f.Close()
				continue
			}
			in := 0
			if strings.HasPrefix(p, dir+"/task/") {
				in = pid
			}
			if !visit(f, p, in, pid) {
				return complete
			}
		}
		if pid == self {
			continue
		}
		for _, f := range socketsOf(dir, pid) {
			if !visit(f, dir+"/fd", 0, pid) {
				return complete
			}
		}
	}
	return complete
}

func isNamespace(f *os.File) (bool, error) {
	t, err := unix.IoctlRetInt(int(f.Fd()), unix.NS_GET_NSTYPE)
	return t == unix.CLONE_NEWNET, err
}

func globAll(dir, rest string) (paths []string, err error) {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		paths = append(paths, dir+"/"+e.Name()+rest)
	}
	return paths, err
}

// heldBy returns the descriptors of a process that are namespaces.
func heldBy(dir string) ([]string, error) {
	all, err := globAll(dir+"/fd", "")
	return slices.DeleteFunc(all, func(p string) bool {
		to, _ := os.Readlink(p)
		return !strings.HasPrefix(to, "net:[")
	}), err
}

// mountedFor returns the namespaces that are mounted where a process sees them.
func mountedFor(dir string) (paths []string) {
	for _, path := range mountedIn(dir) {
		paths = append(paths, dir+"/root"+path)
	}
	return paths
}

// mountedIn returns their paths as the process itself has them.
func mountedIn(dir string) (paths []string) {
	b, _ := os.ReadFile(dir + "/mountinfo")
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[3], "net:[") {
			paths = append(paths, f[4])
		}
	}
	return paths
}

// socketsOf opens the namespaces that the sockets of a process are in.
func socketsOf(dir string, pid int) (files []*os.File) {
	all, err := globAll(dir+"/fd", "")
	if err != nil {
		return nil
	}
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(pidfd)
	seen := map[uint64]bool{}
	for _, p := range all {
		to, _ := os.Readlink(p)
		if !strings.HasPrefix(to, "socket:[") && to != "/dev/net/tun" {
			continue
		}
		var n int
		if _, err := fmt.Sscanf(p[strings.LastIndexByte(p, '/')+1:], "%d", &n); err != nil {
			continue
		}
		fd, err := unix.PidfdGetfd(pidfd, n, 0)
		if err != nil {
			continue
		}
		ns, err := unix.IoctlRetInt(fd, unix.SIOCGSKNS)
		unix.Close(fd)
		if err != nil {
			continue
		}
		unix.CloseOnExec(ns)
		var st unix.Stat_t
		if unix.Fstat(ns, &st) != nil || seen[st.Ino] {
			unix.Close(ns)
			continue
		}
		seen[st.Ino] = true
		files = append(files, os.NewFile(uintptr(ns), dir+"/fd"))
	}
	return files
}

// Away is where a card is lent to: nothing, if there is no guest any more.
type Away struct {
	plan.Kernel
	NS *os.File
}

// Genuine reports whether the peer of a link, or what it is on, is still what the
// card has. A guest can delete a lent veth and make one of its own with the same
// numbers, whose other end would then be in the guest; what is outside the guest
// it cannot forge.
func Genuine(host plan.Kernel, from Away, l *rtnl.Link, hostNS *os.File, loan Loan) (bool, error) {
	h := loan.Hardware
	switch {
	case h.Node != 0:
		return true, nil // nothing is like it
	case l.PeerNS < 0 && !Paired(h.Kind) && !onLower(h.Kind):
		return true, nil // it shows nothing outside
	case h.PeerNS < 0: // it was on the host
		id, err := from.NamespaceID(hostNS)
		return err == nil && id >= 0 && l.PeerNS == id, err
	case !Paired(h.Kind):
		return true, nil
	}
	peer, err := host.LinkIn(h.PeerNS, l.Peer)
	if err != nil {
		return false, UnlessNotFound(err)
	}
	return peer.Kind == l.Kind && peer.Peer == l.Index, nil
}

// Named returns the link that has the name, be it an alternative one; nil: none.
func Named(links []*rtnl.Link, name string) *rtnl.Link {
	for _, l := range links {
		if l.Name == name || slices.Contains(l.AltNames, name) {
			return l
		}
	}
	return nil
}
