package dockerutil

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/nsfs"
)

// source is a runtime that is asked for containers. It is no interface: one that
// holds a *daemon would make the linker keep all that the Docker client can do, a
// megabyte of it.
type source struct {
	// inspect asks for the container of that name, ID or prefix. The error is
	// a *fault.Error, and wraps errNoContainer where there is none.
	inspect func(ctx context.Context, name string) (*found, error)

	// stopped returns the error of a question that ran out of time or was
	// called off, nil if neither happened.
	stopped func(ctx context.Context) error

	dialer *dialer // nil for a runtime that is asked by a command
}

// found is what a runtime says about a container, as far as it matters here.
type found struct {
	id      string // what the runtime calls it, in full
	name    string
	pid     int       // 0 unless it runs
	started time.Time // zero where the runtime does not say
	sandbox string    // path of its namespace where the daemon runs; may be ""
	shares  string    // the container of "--network container:X"
	onHost  bool      // --network host; seen from a container only Docker can tell
	public  bool      // Docker publishes a port of it to more than this machine
	joined  bool      // Docker connects it to networks, and may to more

	// local: the runtime was seen to number processes as this process does.
	local bool
	// unit is the systemd unit that holds the process and nobody else's; ""
	// where the ID in the cgroup's path has to tell.
	unit string

	idle     string // why it has no process; "" if it has, or needs none
	comingUp bool   // it will have one without anybody's help
	hint     string // what to do where it will not
}

// bounded limits the time for all that one runtime is asked.
func (f *finder) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, f.bound, fmt.Errorf("no answer within %v", f.bound))
}

// take asks s for a container and takes hold of its namespace.
func (f *finder) take(ctx context.Context, r wordRef, s source, runtime string) (*Guest, error) {
	c, err := f.running(ctx, r, s)
	if err != nil {
		return nil, err
	}
	if c.onHost {
		return nil, r.refuseHost()
	}
	g, err := f.pin(ctx, r, s, c, runtime)
	if err == nil && s.dialer != nil {
		g.Doubts = append(g.Doubts, s.dialer.elsewhere(title(runtime))...)
	}
	return g, err
}

// running asks for the container until it has a process. It waits only while
// the runtime itself is about to start one; created and exited wait for a person.
func (f *finder) running(ctx context.Context, r wordRef, s source) (*found, error) {
	giveUp := time.Now().Add(f.patience)
	for {
		c, err := s.inspect(ctx, r.Name)
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

// pin takes hold of c's process and namespace. The cgroup's path shows that the
// PID means the same here as to the runtime, and needs no second question. Where
// it does not, the container may have ended meanwhile, the engine may use no
// cgroups, or the daemon counts processes elsewhere.
func (f *finder) pin(ctx context.Context, r wordRef, s source, c *found, runtime string) (*Guest, error) {
	guest := guests.GuestInfo{Runtime: runtime, ID: c.id, Name: c.name, Shares: c.shares, Published: c.public, Joined: c.joined}
	if c.pid == 0 { // a pod that is a namespace and no process
		return f.findSandbox(r, c, guest)
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
	case kin == ours, kin == silent && (c.local || p.startedAt(c.started, f.proc)):
		return r.hold(p, guest)
	}
	p.close()
	return f.findSandbox(r, c, guest)
}

// unchanged asks again, and returns nil when the runtime still says the same of
// c. It hears of a death some milliseconds after the kernel, so a process that
// is missing is asked for until the runtime must have heard.
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
		if err := sleep(ctx, s, f.settle/6); err != nil {
			return err
		}
	}
}

// findSandbox takes the namespace by the path where the runtime mounts it. That is
// the way in where the daemon's processes cannot be seen, as from a container
// that has only Docker's socket and /run/docker/netns.
func (f *finder) findSandbox(r wordRef, c *found, g guests.GuestInfo) (*Guest, error) {
	ref, err := parseWord(c.sandbox)
	if err == nil && ref.Runtime == RuntimePath {
		g.Path = ref.Name
		if ns, err := nsfs.Open(g.Path, 0); err == nil {
			return r.admit(g, ns, nil)
		}
	}
	if c.pid == 0 {
		return nil, r.fault(fault.Runtime, "it has no process, and no namespace that can be opened here").
			WithHint("run gopipework where %s runs", title(g.Runtime))
	}
	return nil, r.fault(fault.Runtime, "process %d here is not this container's: %w, or not in this PID namespace", c.pid, errElsewhere).
		WithHint("run gopipework where %s runs, or name a process that is here: pid:N", title(g.Runtime))
}

// sleep waits for t, or until the time to ask s is over.
func sleep(ctx context.Context, s source, t time.Duration) error {
	select {
	case <-ctx.Done():
		return s.stopped(ctx)
	case <-time.After(t):
		return nil
	}
}
