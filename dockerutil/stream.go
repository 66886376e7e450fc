package dockerutil

import (
	"context"
	"errors"
	"io/fs"
	"strconv"
	"strings"
	"sync"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/notify"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/client"
	"golang.org/x/sys/unix"
)

// stream follows the events of an engine that speaks Docker's API, also over its restarts.
type stream struct {
	ctx     context.Context
	ref     wordRef
	brand   brand
	host    string
	began   time.Time // what happened since then is of interest
	woken   alarm
	refused chan<- error // takes one
	socket  *notify.Path // of the engine's socket; nil for one that is no file
}

// newStream prepares to follow an engine. One that is not there is waited for.
func newStream(ctx context.Context, r wordRef, b brand, host string, woken alarm, refused chan<- error) (*stream, error) {
	s := &stream{ctx: ctx, ref: r, brand: b, host: host, began: time.Now(), woken: woken, refused: refused}
	path, is := strings.CutPrefix(host, "unix://")
	if !is || !strings.HasPrefix(path, "/") {
		return s, nil
	}
	var err error
	s.socket, err = notify.NewAppearance(path)
	return s, err
}

// The pauses between two tries to connect. A socket is there a moment before its engine
// listens; after a few tries only an event says that it may listen now.
const (
	firstPause = 10 * time.Millisecond
	lastPause  = time.Second
)

// follow rings for each event that may concern the guest, until ctx is done.
func (s *stream) follow() {
	var appears alarm
	var watching sync.WaitGroup
	defer watching.Wait()
	if s.socket != nil {
		appears = make(alarm, 1)
		watching.Go(func() { s.socket.Follow(s.ctx, appears.ring) })
	}
	pause, since := firstPause, s.began
	for again := false; s.ctx.Err() == nil; again = true {
		heard, err := s.read(since, again)
		if heard {
			pause, since = firstPause, time.Now()
		}
		if deaf(err) {
			select {
			case s.refused <- err:
			default:
			}
			return
		}
		var timer <-chan time.Time
		if pause < lastPause || s.socket == nil || !nobodyListens(err) {
			timer = time.After(pause)
			pause = min(2*pause, lastPause)
		}
		select {
		case <-s.ctx.Done():
		case <-appears:
			pause = firstPause
		case <-timer:
		}
	}
}

// deaf reports whether an engine, or a proxy before it, refuses to announce its events.
func deaf(err error) bool {
	return cerrdefs.IsPermissionDenied(err) || cerrdefs.IsUnauthorized(err) || cerrdefs.IsNotFound(err) || cerrdefs.IsNotImplemented(err)
}

func nobodyListens(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.ENOTDIR)
}

// read reads the events since a time, until the engine ends them or fails. heard: the
// engine was there and has answered. With again it also rings once: an engine that was
// started meanwhile does not know what happened before.
func (s *stream) read(since time.Time, again bool) (heard bool, err error) {
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	d, err := daemonAt(ctx, s.ref, s.brand, s.host)
	if err != nil {
		return false, err
	}
	defer func() { d.close() }()
	for {
		heard, err = s.drain(ctx, d, since, again)
		if !cerrdefs.IsInvalidArgument(err) || d.settled {
			break
		}
		if err := d.negotiate(); err != nil { // see inspect
			return heard, err
		}
	}
	switch dialErr := d.dialer.failure(); {
	case dialErr != nil:
		return heard, dialErr
	case deaf(err):
		err = fault.New(fault.Runtime, "wait for guest", `"`+s.ref.String()+`"`, "%s does not let gopipework follow its events: %w", d.place(), clipped{err}).
			WithHint("a proxy before it has to allow /events")
	}
	return heard, err
}

// drain rings for what one stream says.
func (s *stream) drain(ctx context.Context, d *daemon, since time.Time, again bool) (heard bool, err error) {
	told := d.client.Events(ctx, client.EventsListOptions{
		Since:   strconv.FormatInt(since.Unix(), 10) + "." + strconv.Itoa(1e9 + since.Nanosecond())[1:],
		Filters: client.Filters{}.Add("type", string(events.ContainerEventType)).Add("event", string(events.ActionStart), string(events.ActionRename)),
	})
	select {
	case err := <-told.Err:
		return false, err
	default:
	}
	if again {
		s.woken.ring()
	}
	for {
		select {
		case e := <-told.Messages:
			if s.ref.maybe(e.Actor) {
				s.woken.ring()
			}
		case err := <-told.Err:
			return true, err
		}
	}
}

// maybe reports whether an event can concern the container that the word names.
func (r wordRef) maybe(a events.Actor) bool {
	if r.Runtime == RuntimeCompose {
		return r.isOf(a.Attributes)
	}
	return a.Attributes["name"] == r.Name || strings.HasPrefix(a.ID, r.Name)
}
