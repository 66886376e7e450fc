package watch

import (
	"cmp"
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/nsfs"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/reconcile"
	"github.com/gopipework/gopipework/internal/report"
	"github.com/gopipework/gopipework/internal/spec"
	"github.com/gopipework/gopipework/internal/topology"
	"golang.org/x/sys/unix"
)

// forgiven is how long nobody may know a guest that is parked: a container that is made
// anew comes back under its name. Tests are impatient.
var forgiven = 5 * time.Second

// parker keeps the ports of guests on the host while the guests are away. It holds the
// namespace of each guest that runs and that something is wanted for. When the guest ends,
// its ends of pairs are parked (attach.Parking) and the namespace is let go, which takes
// with it what else was there. A nil parker keeps none.
type parker struct {
	opt   attach.Options       // Parking among them
	ended func(words []string) // told of guests that have ended
	warn  func(error)
	ends  *ends
	stop  func() // ends what ends told to begin

	mu   sync.Mutex                 // held also while ports are parked, which may have to wait
	held map[uint64]*heldGuest      // by the inode of the namespace
	last map[string]reconcile.Guest // what was found for a word
	away map[guestKey]*absence

	told sync.Mutex // held for a moment only: the loop waits for it
	want []reconcile.Wanted
	deaf map[string]bool // engines that do not answer: their guests may be there
}

// heldGuest is a guest that runs, or did so when it was last looked at.
type heldGuest struct {
	*attach.Guest
	words []string // that name it
	pidfd int      // of its process; -1: it is what has a name
	path  string   // of that
}

// guestKey is a guest that may be away.
type guestKey struct{ runtime, id string }

// absence is what is known of a guest that was parked.
type absence struct {
	words []string
	lost  time.Time // since when there is no such guest; zero: there is one
}

// newParker returns one that holds nothing. opt are those of what is attached, with the
// Parking.
func newParker(opt attach.Options, ended func(words []string), warn func(error)) (*parker, error) {
	p := &parker{opt: opt, ended: ended, warn: warn, held: map[uint64]*heldGuest{}, last: map[string]reconcile.Guest{}, away: map[guestKey]*absence{}, deaf: map[string]bool{}}
	ctx, stop := context.WithCancel(context.Background())
	p.stop = stop
	var err error
	p.ends, err = watchEnds(func() { p.park(ctx) })
	return p, err
}

// parking has the ports of guests kept while the guests are away, if there is a place.
func (w *Watcher) parking() error {
	if w.Host.Options.Parking == nil {
		return nil
	}
	ended := func(words []string) {
		w.turn(func() {
			w.clean()
			for _, word := range words {
				if g := w.guests[word]; g != nil && g.timer == nil {
					w.checkAfter(settled, word, g)
				}
			}
		})
	}
	p, err := newParker(w.Host.Options, ended, func(err error) { w.tell(report.Event{Kind: report.Warning}, err) })
	if err != nil {
		return fault.Explain("follow", "the ends of guests", err)
	}
	w.parks = p
	return nil
}

// close lets go of all guests, and of what is parked.
func (p *parker) close() {
	if p == nil {
		return
	}
	p.stop()
	p.ends.close()
	p.mu.Lock()
	defer p.mu.Unlock()
	for inode := range p.held {
		p.drop(inode)
	}
	nobody := func(attach.GuestInfo, string, attach.Origin) bool { return false }
	if err := p.opt.Parking.LetGo(context.Background(), nobody, p.opt); err != nil {
		p.warn(err)
	}
}

// wants says what is wanted now.
func (p *parker) wants(want []reconcile.Wanted) {
	if p == nil {
		return
	}
	p.told.Lock()
	defer p.told.Unlock()
	p.want = want
}

// wanted is what wants has said last.
func (p *parker) wanted() []reconcile.Wanted {
	p.told.Lock()
	defer p.told.Unlock()
	return p.want
}

// tidy lets go of guests that nothing is wanted for. The caller must hold p.mu.
func (p *parker) tidy() {
	words := map[string]bool{}
	for _, w := range p.wanted() {
		for _, word := range reconcile.Words(w.Entries) {
			words[word] = true
		}
	}
	unwanted := func(word string) bool { return !words[word] }
	for inode, h := range p.held {
		if h.words = slices.DeleteFunc(h.words, unwanted); len(h.words) == 0 && h.lives() {
			p.drop(inode)
		}
	}
	maps.DeleteFunc(p.last, func(word string, _ reconcile.Guest) bool { return !words[word] })
}

// hears says whether an engine answers.
func (p *parker) hears(engine string, answers bool) {
	if p == nil {
		return
	}
	p.told.Lock()
	defer p.told.Unlock()
	if delete(p.deaf, engine); !answers {
		p.deaf[engine] = true
	}
}

// isDeaf reports whether some engine does not answer.
func (p *parker) isDeaf() bool {
	p.told.Lock()
	defer p.told.Unlock()
	return len(p.deaf) > 0
}

// found holds the guests that were found and run. What has ended before is parked first, so
// that each of them can be attached then.
func (p *parker) found(ctx context.Context, guests map[string]reconcile.Guest) {
	if p == nil {
		return
	}
	p.park(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tidy()
	for word, g := range guests {
		before := p.held[p.last[word].NetNS]
		if p.last[word] = g; g.Err != nil {
			continue
		}
		if before != nil && before.NetNS != g.NetNS { // the name is another guest's now
			before.words = slices.DeleteFunc(before.words, func(w string) bool { return w == word })
		}
		h := p.held[g.NetNS]
		if h == nil {
			if h = open(g.GuestInfo); h == nil {
				continue
			}
			p.held[g.NetNS] = h
			p.ends.add(h.pidfd)
		}
		if !slices.Contains(h.words, word) {
			h.words = append(h.words, word)
		}
	}
}

// open opens a guest that was found; nil: it has ended since, or cannot be held.
func open(g attach.GuestInfo) *heldGuest {
	h := &heldGuest{pidfd: -1, path: nsfs.OfProcess(g.PID)}
	switch {
	case g.Runtime == "netns":
		h.path = filepath.Join(ours.NamedNamespaces[0], g.Name)
	case g.PID == 0:
		h.path = g.Path
	default:
		var err error
		if h.pidfd, err = unix.PidfdOpen(g.PID, unix.PIDFD_NONBLOCK); err != nil {
			return nil
		}
	}
	ns, err := ours.OpenSame(h.path, g.NetNS)
	if err != nil {
		if h.pidfd >= 0 {
			unix.Close(h.pidfd)
		}
		return nil
	}
	h.Guest = guests.New(g, ns, nil)
	return h
}

// lives reports whether the guest has not ended. Its process, or its name, is what it is:
// what else holds the namespace does not make it one.
func (h *heldGuest) lives() bool {
	if h.pidfd < 0 {
		return nsfs.Is(h.Namespace, h.path)
	}
	fds := []unix.PollFd{{Fd: int32(h.pidfd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return n == 0 || err != nil
}

// drop lets go of a guest. The caller must hold p.mu.
func (p *parker) drop(inode uint64) {
	h := p.held[inode]
	delete(p.held, inode)
	h.Guest.Close()
	if h.pidfd >= 0 {
		unix.Close(h.pidfd)
	}
}

// park parks what guests have left that have ended, and lets them go.
func (p *parker) park(ctx context.Context) {
	if p == nil {
		return
	}
	p.mu.Lock()
	var words []string
	for inode, h := range p.held {
		if h.lives() {
			continue
		}
		_, err := p.opt.Parking.Park(ctx, h.Guest, func(g attach.GuestInfo, ifName string, by attach.Origin) bool {
			gone := &absence{words: h.words}
			if !p.waits(gone, ifName, by) {
				return false
			}
			p.away[guestKey{g.Runtime, g.ID}] = gone
			return true
		}, p.opt)
		if err != nil && ctx.Err() == nil {
			p.warn(err)
		}
		words = append(words, h.words...)
		p.drop(inode)
	}
	p.mu.Unlock()
	if len(words) > 0 {
		p.ended(words)
	}
}

// waits reports whether an entry waits for an interface of a guest that has gone. The
// caller must hold p.mu.
func (p *parker) waits(gone *absence, ifName string, by attach.Origin) bool {
	asks := func(s spec.Spec) bool {
		return cmp.Or(s.IfName, spec.UsualIfName) == ifName && slices.Contains(gone.words, s.Guest)
	}
	return slices.ContainsFunc(p.wanted(), func(w reconcile.Wanted) bool {
		return w.Origin == by && slices.ContainsFunc(w.Entries, func(e topology.Entry) bool { return slices.ContainsFunc(reconcile.Ends(e), asks) })
	})
}

// settle lets go of what nobody waits for any more: its entry has gone, its guest has been
// attached in another way, as there shows, or there is no such guest.
func (p *parker) settle(ctx context.Context, there []attach.Attachment) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tidy()
	parked := map[guestKey]*absence{}
	err := p.opt.Parking.LetGo(ctx, func(g attach.GuestInfo, ifName string, by attach.Origin) bool {
		key := guestKey{g.Runtime, g.ID}
		gone := p.away[key]
		if gone == nil || !p.waits(gone, ifName, by) || p.attached(gone, ifName, there) || p.lost(gone) {
			return false
		}
		parked[key] = gone
		return true
	}, p.opt)
	p.away = parked
	if err != nil {
		p.warn(err)
	}
}

// attached reports whether the guest is back and has the interface.
func (p *parker) attached(gone *absence, ifName string, there []attach.Attachment) bool {
	return slices.ContainsFunc(gone.words, func(word string) bool {
		g, known := p.last[word]
		return known && g.Err == nil && slices.ContainsFunc(there, func(a attach.Attachment) bool {
			return a.Guest.NetNS == g.NetNS && a.Interface.Name == ifName && a.State == attach.Complete
		})
	})
}

// lost reports whether there has been no such guest for longer than is forgiven. If not, it
// has the guest looked at again when that time is over.
func (p *parker) lost(gone *absence) bool {
	found := func(word string) bool { return fault.CodeOf(p.last[word].Err) != fault.NotFound }
	switch words := slices.Clone(gone.words); {
	case slices.ContainsFunc(words, found), p.isDeaf():
		gone.lost = time.Time{}
	case gone.lost.IsZero():
		gone.lost = time.Now()
		time.AfterFunc(forgiven, func() { p.ended(words) })
	}
	return !gone.lost.IsZero() && time.Since(gone.lost) >= forgiven
}

// ends tells when processes end.
type ends struct {
	epoll int
	stop  *os.File
	done  chan struct{}
}

// watchEnds calls told after each end of a process that was added.
func watchEnds(told func()) (*ends, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		unix.Close(epoll)
		return nil, err
	}
	e := &ends{epoll: epoll, stop: w, done: make(chan struct{})}
	stop := int(r.Fd())
	e.add(stop)
	go func() {
		defer close(e.done)
		defer unix.Close(epoll)
		defer r.Close()
		events := make([]unix.EpollEvent, 64)
		for {
			n, err := unix.EpollWait(epoll, events, -1)
			if err != nil && err != unix.EINTR {
				return
			}
			for _, ev := range events[:max(n, 0)] {
				if int(ev.Fd) == stop {
					return
				}
			}
			if n > 0 {
				told()
			}
		}
	}()
	return e, nil
}

// add adds a process by its pidfd. It is told of once, and forgotten when that is closed.
func (e *ends) add(pidfd int) {
	if pidfd >= 0 {
		_ = unix.EpollCtl(e.epoll, unix.EPOLL_CTL_ADD, pidfd, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLONESHOT, Fd: int32(pidfd)})
	}
}

func (e *ends) close() {
	e.stop.Close()
	<-e.done
}
