package dockerutil

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/notify"
	"github.com/gopipework/gopipework/internal/nsfs"
	"golang.org/x/sys/unix"
)

// Await is Find for a guest that may not run yet: it returns the guest as soon as it runs.
// If the deadline of ctx passes first, the error has the code Timeout and says what was
// missing. Errors that waiting does not mend are returned at once.
//
// It does not poll. It listens for the events of Docker, and of podman if that has a
// socket; it is told when something is mounted, as a named namespace is, and when a file
// comes to be, such as the socket of an engine that has not started yet. A bare word is
// waited for in all these places. The other runtimes tell nobody when a guest starts: a
// word that names one of them is refused with the code Unsupported, and a process, which
// has no number before it runs, with the code Usage.
//
// Only an engine that is there and fails is asked again without an event. A part of an ID
// stands for it from 12 bytes on, as for FindAll.
func Await(ctx context.Context, word string) (*Guest, error) {
	r, err := parseWord(word)
	if err == nil {
		err = r.awaitable()
	}
	if err != nil {
		return nil, err
	}
	f := newFinder()
	f.patience = 0 // an event tells when it has started
	f.prefix = printedPrefix
	return f.await(ctx, r)
}

// awaitable refuses a word whose guest cannot be waited for.
func (r wordRef) awaitable() error {
	const op = "wait for guest"
	untold := map[string]string{
		RuntimeContainerd: "ctr events shows when it starts",
		RuntimeCRI:        "crictl events shows when it starts",
		RuntimeLXC:        "the container's lxc.hook.start-host runs a command when it starts",
		RuntimeIncus:      "incus monitor --type=lifecycle shows when it starts",
	}
	switch hint, is := untold[r.Runtime]; {
	case is:
		return fault.New(fault.Unsupported, op, `"`+r.String()+`"`, "%s does not tell gopipework when a guest starts", title(r.Runtime)).WithHint("%s", hint)
	case r.Runtime == RuntimePID, r.Runtime == RuntimePath && strings.HasPrefix(r.Name, "/proc/"):
		return fault.New(fault.Usage, op, `"`+r.String()+`"`, "a process has no number before it runs").WithHint("leave the wait out")
	}
	return nil
}

// alarm wakes whoever waits. A wake that nobody has heard yet stands for all that follow.
type alarm chan struct{}

func (a alarm) ring() {
	select {
	case a <- struct{}{}:
	default:
	}
}

// await looks, and looks again after each event that may concern the guest. It listens for
// them before the first look, so that nothing is missed in between.
func (f *finder) await(ctx context.Context, r wordRef) (*Guest, error) {
	woken, refused := make(alarm, 1), make(chan error, 1)
	stop, err := f.listen(ctx, r, woken, refused)
	if err != nil {
		return nil, r.explain(err)
	}
	defer stop()
	var last error
	again := f.pause // until an engine that fails is asked again
	told := false    // an event led to this look
	for {
		g, err := f.find(ctx, r)
		if err == nil {
			return g, nil
		}
		if ctx.Err() == nil || last == nil {
			last = err
		}
		if ctx.Err() != nil {
			return nil, r.late(ctx, last)
		}
		if !mends(err) {
			return nil, err
		}
		// An engine may announce a start a moment before its own answers show it.
		var echo, retry <-chan time.Time
		if told {
			echo = time.After(f.pause)
		}
		if code := fault.CodeOf(err); !unknown(err) && (code == fault.Runtime || code == fault.Timeout) {
			retry = time.After(again)
			again = min(2*again, 10*time.Second)
		}
		select {
		case <-ctx.Done():
			return nil, r.late(ctx, last)
		case err := <-refused:
			return nil, err
		case <-woken:
			told = true
		case <-echo:
			told = false
		case <-retry:
			told = false
		}
	}
}

// mends reports whether the reason that a guest was not found can pass.
func mends(err error) bool {
	switch fault.CodeOf(err) {
	case fault.NotFound, fault.Gone, fault.Timeout:
		return true
	case fault.Runtime:
		return !errors.Is(err, errElsewhere)
	}
	return false
}

// late returns the error for a wait that ctx ended; err is why the guest was not found.
func (r wordRef) late(ctx context.Context, err error) error {
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return r.stopped(ctx, "", "")
	}
	var e *fault.Error
	if !errors.As(err, &e) {
		e = &fault.Error{Err: err}
	}
	late := fault.New(fault.Timeout, "wait for guest", `"`+r.String()+`"`, "it does not run yet: %w", e.Err)
	if r.Runtime == RuntimePodman {
		return late.WithHint("podman announces a start only on its socket: systemctl start podman.socket")
	}
	return late.WithHint("%s", e.Hint)
}

// listener rings when a guest may have started.
type listener struct {
	*finder
	ctx     context.Context
	ref     wordRef
	woken   alarm
	refused chan<- error
	all     sync.WaitGroup // what it follows
}

// listen sets up what rings when the guest may have started. An engine that refuses to
// tell is an error on refused. stop ends it.
func (f *finder) listen(ctx context.Context, r wordRef, woken alarm, refused chan<- error) (stop func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	l := &listener{finder: f, ctx: ctx, ref: r, woken: woken, refused: refused}
	stop = func() { cancel(); l.all.Wait() }
	runtimes := []string{r.Runtime}
	switch r.Runtime {
	case RuntimeCompose:
		runtimes = []string{RuntimeDocker, RuntimePodman}
	case "":
		runtimes = []string{RuntimeDocker, RuntimePodman, RuntimeNetNS, RuntimeMachine}
	}
	for _, runtime := range runtimes {
		err = errors.Join(err, l.listenTo(runtime))
	}
	if err != nil {
		stop()
		return nil, err
	}
	return stop, nil
}

func (l *listener) listenTo(runtime string) (err error) {
	switch runtime {
	case RuntimeDocker:
		if host, misconfigured := dockerHost(); misconfigured == nil { // else the first look fails
			return l.engine(RuntimeDocker, host)
		}
	case RuntimePodman:
		for _, host := range l.podmanHosts() {
			err = errors.Join(err, l.engine(RuntimePodman, host))
		}
	case RuntimeNetNS:
		return l.mounted()
	case RuntimePath: // it may be a symbolic link
		return errors.Join(l.mounted(), l.appears(l.ref.Name))
	case RuntimeMachine:
		if l.machines != "" {
			return l.appears(l.machines + "/" + l.ref.Name)
		}
	}
	return err
}

// engine follows the events of an engine.
func (l *listener) engine(runtime, host string) error {
	s, err := newStream(l.ctx, runtime, host, l.told)
	if err == nil {
		l.all.Go(s.follow)
	}
	return err
}

// told rings for an event that may concern the guest. An engine that was started meanwhile
// does not know what happened before: that it is followed may concern it too.
func (l *listener) told(e Event) {
	switch {
	case e.What == guests.Followed, (e.What == guests.Started || e.What == guests.Renamed) && l.ref.maybe(e):
		l.woken.ring()
	case e.What == guests.Deaf && refuses(e.Err):
		err := fault.New(fault.Runtime, "wait for guest", `"`+l.ref.String()+`"`, "%s does not let gopipework follow its events: %w", e.Engine, clipped{e.Err}).
			WithHint("a proxy before it has to allow /events")
		select {
		case l.refused <- err:
		default:
		}
	}
}

// mounted follows what is mounted, as a named namespace is.
func (l *listener) mounted() error {
	m, err := notify.NewMounts()
	if err == nil {
		l.all.Go(func() {
			m.Follow(l.ctx, func() {
				if l.isMounted(l.ref) {
					l.woken.ring()
				}
			})
		})
	}
	return err
}

// appears follows whether a file comes to be.
func (l *listener) appears(path string) error {
	a, err := notify.NewAppearance(path)
	if err == nil {
		l.all.Go(func() { a.Follow(l.ctx, l.woken.ring) })
	}
	return err
}

// podmanHosts returns where podman listens, or will.
func (f *finder) podmanHosts() (hosts []string) {
	if f.podmanHost != "" {
		return []string{f.podmanHost}
	}
	for _, socket := range []string{f.podmanOwn, f.podmanOther} {
		if socket != "" {
			hosts = append(hosts, "unix://"+socket)
		}
	}
	return hosts
}

// isMounted reports whether there is a namespace by that name or path. Mounts are many,
// and few of them are of namespaces.
func (f *finder) isMounted(r wordRef) bool {
	paths, flags := []string{r.Name}, 0
	if r.Runtime != RuntimePath {
		paths, flags = nil, unix.O_NOFOLLOW
		for _, dir := range f.named {
			paths = append(paths, dir+"/"+r.Name)
		}
	}
	for _, path := range paths {
		if ns, err := nsfs.Open(path, flags); err == nil {
			ns.Close()
			return true
		}
	}
	return false
}
