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
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/notify"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/client"
	"golang.org/x/sys/unix"
)

// stream follows the events of an engine that speaks Docker's API, also over its restarts.
type stream struct {
	ctx     context.Context
	runtime string
	brand   brand
	host    string
	began   time.Time // what happened since then is of interest
	told    func(Event)
	socket  *notify.Path // of the engine's socket; nil for one that is no file
}

// newStream prepares to follow an engine. One that is not there is waited for.
func newStream(ctx context.Context, runtime string, host string, told func(Event)) (*stream, error) {
	s := &stream{ctx: ctx, runtime: runtime, brand: dockerBrand, host: host, began: time.Now(), told: told}
	if runtime == RuntimePodman {
		s.brand = podmanBrand
	}
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

// follow tells each event, until ctx is done. For an engine that has refused to tell them,
// it waits until its socket is another one.
func (s *stream) follow() {
	var appears alarm
	var watching sync.WaitGroup
	defer watching.Wait()
	if s.socket != nil {
		appears = make(alarm, 1)
		watching.Go(func() { s.socket.Follow(s.ctx, appears.ring) })
	}
	pause, since, told := firstPause, s.began, false
	for s.ctx.Err() == nil {
		heard, err := s.read(since)
		if heard {
			pause, since, told = firstPause, time.Now(), false
		}
		shut := errors.Is(err, fs.ErrPermission) // tried again without an end, and told once
		if shut {
			err = wordRef{Runtime: s.runtime}.unreachable(err, s.brand.title, s.host, s.brand.none, s.brand.start, "")
		}
		if s.ctx.Err() == nil && (heard || refuses(err) || shut && !told) {
			s.tell(guests.Deaf, err)
			told = true
		}
		var timer <-chan time.Time
		if !refuses(err) && (pause < lastPause || s.socket == nil || !nobodyListens(err)) {
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

// tell tells whether the engine is followed.
func (s *stream) tell(what guests.Happening, err error) {
	s.told(Event{What: what, Runtime: s.runtime, Engine: s.brand.title + " at " + s.host, Err: err})
}

// refuses reports whether an engine, or a proxy before it, does not let its events be
// followed.
func refuses(err error) bool {
	return cerrdefs.IsPermissionDenied(err) || cerrdefs.IsUnauthorized(err) || cerrdefs.IsNotFound(err) || cerrdefs.IsNotImplemented(err)
}

func nobodyListens(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.ENOTDIR)
}

// read tells the events since a time, until the engine ends them or fails. heard: the
// engine was there and has answered.
func (s *stream) read(since time.Time) (heard bool, err error) {
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	d, err := daemonAt(ctx, wordRef{Runtime: s.runtime}, s.brand, s.host)
	if err != nil {
		return false, err
	}
	defer func() { d.close() }()
	for {
		heard, err = s.drain(ctx, d, since)
		if !cerrdefs.IsInvalidArgument(err) || d.settled {
			break
		}
		if err := d.negotiate(); err != nil { // see inspect
			return heard, err
		}
	}
	if dialErr := d.dialer.failure(); dialErr != nil {
		return heard, dialErr
	}
	return heard, err
}

// happening returns what an event of an engine is about; 0: something else.
func happening(a events.Action) guests.Happening {
	switch a {
	case events.ActionStart:
		return guests.Started
	case events.ActionDie:
		return guests.Ended
	case events.ActionRename:
		return guests.Renamed
	case events.ActionDestroy, events.ActionRemove: // podman has the second
		return guests.Removed
	}
	return 0
}

// drain tells what one stream says.
func (s *stream) drain(ctx context.Context, d *daemon, since time.Time) (heard bool, err error) {
	filters := client.Filters{}.Add("type", string(events.ContainerEventType))
	for _, a := range []events.Action{events.ActionStart, events.ActionDie, events.ActionRename, events.ActionDestroy, events.ActionRemove} {
		filters.Add("event", string(a))
	}
	told := d.client.Events(ctx, client.EventsListOptions{
		Since:   strconv.FormatInt(since.Unix(), 10) + "." + strconv.Itoa(1e9 + since.Nanosecond())[1:],
		Filters: filters,
	})
	if !d.dialer.follows() {
		return false, <-told.Err
	}
	s.tell(guests.Followed, nil)
	for {
		select {
		case e := <-told.Messages:
			d.dialer.goOn()
			if what := happening(e.Action); what != 0 {
				s.told(Event{What: what, Runtime: s.runtime, ID: e.Actor.ID, Name: e.Actor.Attributes["name"], Labels: e.Actor.Attributes})
			}
		case err := <-told.Err:
			return true, err
		}
	}
}
