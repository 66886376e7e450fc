package dockerutil

import (
	"context"
	"errors"
	"os"
	"strings"
	"time"

	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/notify"
	"golang.org/x/sys/unix"
)

type (
	// Event is what became of a guest.
	Event = guests.Event

	// Happening is what an Event is about. As text it is a word, such as "started".
	Happening = guests.Happening
)

// Follow tells what becomes of the guests of this machine, until ctx is done: of the
// containers of Docker, and of podman if that has a socket, of network namespaces that have
// a name, and of machines. An engine that is not there is waited for. It does not poll.
//
// What happens after it has returned is told, so look then.
//
// told is called from several goroutines, and has to return soon. An event is a reason to
// look, and no more: by the time that it comes, the guest may have changed again.
func Follow(ctx context.Context, told func(Event)) error { return newFinder().follow(ctx, told) }

func (f *finder) follow(ctx context.Context, told func(Event)) error {
	engine := func(runtime, host string) error {
		s, err := newStream(ctx, runtime, host, told)
		if err == nil {
			go s.follow()
		}
		return err
	}
	host, err := dockerHost()
	if err == nil {
		err = engine(RuntimeDocker, host)
	} else {
		told(Event{What: guests.Deaf, Runtime: RuntimeDocker, Engine: "Docker", Err: wordRef{}.misconfigured(err)})
		err = nil
	}
	for _, host := range f.podmanHosts() {
		if !strings.HasPrefix(host, "ssh://") { // podman is elsewhere, and so are its guests
			err = errors.Join(err, engine(RuntimePodman, host))
		}
	}
	mounts, mountsErr := notify.NewMounts()
	if mountsErr == nil {
		names := f.names()
		go mounts.Follow(ctx, func() { names = f.tellNames(names, told) })
	}
	err = errors.Join(err, mountsErr)
	if f.machines != "" {
		machines, machinesErr := notify.NewDirectory(f.machines)
		if machinesErr == nil {
			go machines.Follow(ctx, func() { told(Event{What: guests.Changed, Runtime: RuntimeMachine}) })
		}
		err = errors.Join(err, machinesErr)
	}
	return err
}

// named is a namespace that has a name. The time is when the kernel made its inode, whose
// number may be used again.
type named struct {
	inode uint64
	since time.Time
}

// names returns the network namespaces that have a name, by their names.
func (f *finder) names() map[string]named {
	all := map[string]named{}
	for _, dir := range f.named {
		entries, _ := os.ReadDir(dir) // none, if it is not there
		for _, e := range entries {
			var st unix.Stat_t
			var in unix.Statfs_t
			path := dir + "/" + e.Name()
			if _, twice := all[e.Name()]; twice || unix.Lstat(path, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
				continue
			}
			if unix.Statfs(path, &in) == nil && in.Type == unix.NSFS_MAGIC {
				all[e.Name()] = named{st.Ino, time.Unix(st.Ctim.Unix())}
			}
		}
	}
	return all
}

// tellNames tells how the names differ from those before, and returns them. A mount may
// also be that of a namespace that somebody names by its path.
func (f *finder) tellNames(before map[string]named, told func(Event)) map[string]named {
	now := f.names()
	tell := func(what guests.Happening, name string) {
		told(Event{What: what, Runtime: RuntimeNetNS, ID: name, Name: name})
	}
	for name, ns := range before {
		if now[name] != ns {
			tell(guests.Ended, name)
		}
	}
	for name, ns := range now {
		if before[name] != ns {
			tell(guests.Started, name)
		}
	}
	told(Event{What: guests.Changed, Runtime: RuntimePath})
	return now
}

// Concerns reports whether an event can be about the guest that a word names.
func Concerns(e Event, word string) bool {
	r, err := parseWord(word)
	switch {
	case err != nil:
		return false
	case e.Runtime == "" && e.ID == "" && e.Name == "": // a link without a mark: nobody knows whose it was
		return true
	case r.Runtime == RuntimeCompose && e.What == guests.Unplugged: // a mark has no labels
		return e.Runtime != RuntimeNetNS
	case r.Runtime == RuntimeCompose:
		return e.Runtime != RuntimeNetNS && e.Labels != nil && r.maybe(e)
	case r.Runtime != "" && r.Runtime != e.Runtime || e.Runtime == RuntimePath && r.Runtime == "":
		return false
	}
	return e.Name == "" && e.ID == "" || r.maybe(e)
}

// maybe reports whether an event can concern the guest that the word names.
func (r wordRef) maybe(e Event) bool {
	if r.Runtime == RuntimeCompose {
		return r.isOf(e.Labels)
	}
	return e.Name == r.Name || strings.HasPrefix(e.ID, r.Name)
}

// Announced reports whether Follow tells when the guest starts that a word names.
func Announced(word string) bool {
	r, err := parseWord(word)
	return err == nil && r.awaitable() == nil
}
