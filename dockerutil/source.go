package dockerutil

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guests"
)

// source is a runtime that can be asked for containers. It is not an interface, because
// an interface that holds a *daemon makes the linker keep every method of the Docker
// client, which is a megabyte of code.
type source struct {
	// inspect asks for the container with that name, ID or ID prefix. The error is a
	// *fault.Error. It wraps errNoContainer if there is no such container.
	inspect func(ctx context.Context, name string) (*found, error)

	// stopped returns an error if the time for the questions is over or the search was
	// cancelled, else nil.
	stopped func(ctx context.Context) error

	dialer *dialer // nil for a runtime that is asked through a command
}

// found is what a runtime says about a container, as far as the search needs it.
type found struct {
	id      string // the runtime's full name for it
	name    string
	pid     int       // 0 unless it runs
	started time.Time // zero if the runtime does not say
	sandbox string    // path of its namespace on the daemon's machine, or ""
	shares  string    // the container of "--network container:X"
	onHost  bool      // --network host; if we are in a container, only Docker can tell
	public  bool      // Docker publishes a port of it to other machines
	joined  bool      // Docker connects it to networks, and may connect it to more

	// local says that the runtime is in our PID namespace, so its PIDs are ours.
	local bool
	// unit is the systemd unit that contains only this container's processes. If it is
	// "", the process is recognized by the ID in its cgroup's path.
	unit string

	idle     string // why it has no process; "" if it has one, or needs none
	comingUp bool   // the runtime is about to start a process
	hint     string // what to do if it is not
}

// bounded limits the time for all questions to one runtime.
func (f *finder) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return f.within(ctx, f.bound)
}

// expired is bounded where that time is over already.
func (f *finder) expired(ctx context.Context) (context.Context, context.CancelFunc) {
	return f.within(ctx, 0)
}

func (f *finder) within(ctx context.Context, t time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, t, fmt.Errorf("no answer within %v", f.bound))
}

// take asks s for a container and opens its namespace.
func (f *finder) take(ctx context.Context, r wordRef, s source, runtime string) (*Guest, error) {
	c, err := f.running(ctx, r, s)
	if err != nil {
		return nil, err
	}
	if c.onHost {
		return nil, r.refuseHost()
	}
	g, err := f.pin(ctx, r, s, c, runtime)
	if err == nil && s.dialer != nil && !onHostOf(cmp.Or(g.Path, c.sandbox)) {
		g.Doubts = append(g.Doubts, s.dialer.elsewhere(title(runtime))...)
	}
	return g, err
}

// tooShort reports whether a runtime has taken for the beginning of an ID what is too short
// for one.
func (f *finder) tooShort(word string, c *found, err error) bool {
	if len(word) >= f.prefix {
		return false
	}
	return errors.Is(err, errAmbiguous) || err == nil && c.name != word && c.id != word && strings.HasPrefix(c.id, word)
}

// running asks for the container until it has a process. It waits only while the runtime
// itself is about to start one. A container that was created or has exited has to be
// started by the user.
func (f *finder) running(ctx context.Context, r wordRef, s source) (*found, error) {
	giveUp := time.Now().Add(f.patience)
	for {
		c, err := s.inspect(ctx, r.Name)
		if f.tooShort(r.Name, c, err) {
			return nil, r.noName(c, f.prefix)
		}
		if err != nil || c.pid > 0 || c.idle == "" {
			return c, err
		}
		if !c.comingUp || time.Now().After(giveUp) {
			return nil, r.fault(fault.Gone, "%s", c.idle).WithHint("%s", c.hint)
		}
		if err := sleep(ctx, s, f.pause); err != nil {
			return nil, err
		}
	}
}

// pin opens c's process and namespace. If the path of the process's cgroup contains the
// ID, the PID means the same here as to the runtime. If not, the container may have
// ended meanwhile, the engine may not use cgroups, or the daemon may be in another PID
// namespace; the runtime is then asked again. If the daemon itself cannot be seen from this
// PID namespace, its PIDs mean nothing here, and the namespace is opened by its path.
func (f *finder) pin(ctx context.Context, r wordRef, s source, c *found, runtime string) (*Guest, error) {
	guest := guests.GuestInfo{Runtime: runtime, ID: c.id, Name: c.name, Shares: c.shares, Published: c.public, Joined: c.joined}
	if c.pid == 0 || s.dialer.hidden() {
		return f.findSandbox(ctx, r, s, c, guest)
	}
	p, err := openProcess(c.pid)
	kin := stranger
	if err == nil {
		kin, err = p.kinTo(c, f.proc)
	} else if errors.Is(err, errNoProcess) || errors.Is(err, errThread) {
		err = nil
	}
	if err == nil && kin != ours {
		err = f.unchanged(ctx, r, s, c, kin)
	}
	switch {
	case err != nil:
		p.close()
		return nil, r.wrap(err)
	case kin == ours, kin == silent && (c.local || p.isIn(c, f.proc)):
		return r.hold(p, guest)
	}
	p.close()
	return f.findSandbox(ctx, r, s, c, guest)
}

// unchanged asks again, and returns nil if the runtime still says the same about c. A
// runtime notices the end of a process some milliseconds after the kernel, so if the
// process is missing, unchanged asks until the runtime must have noticed.
func (f *finder) unchanged(ctx context.Context, r wordRef, s source, c *found, kin kinship) error {
	settled := time.Now().Add(f.settle)
	for {
		again, err := s.inspect(ctx, c.id)
		switch {
		case errors.Is(err, errNoContainer):
			return r.fault(fault.Gone, "it was removed meanwhile")
		case err != nil:
			return err
		case again.pid != c.pid || !again.started.Equal(c.started):
			return r.fault(fault.Gone, "it ended or restarted meanwhile").
				WithHint("if it is up again, the same line works")
		case kin == silent || time.Now().After(settled):
			return nil
		}
		if err := sleep(ctx, s, min(f.pause, f.settle/6)); err != nil {
			return err
		}
	}
}

// sleep waits for t, or until the time for questions to s is over.
func sleep(ctx context.Context, s source, t time.Duration) error {
	select {
	case <-ctx.Done():
		return s.stopped(ctx)
	case <-time.After(t):
		return nil
	}
}
