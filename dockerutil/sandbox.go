package dockerutil

import (
	"cmp"
	"context"
	"os"
	"path/filepath"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/nsfs"
)

// Namespaces by the paths where runtimes have mounted them, such as Docker's SandboxKey. A
// container that has only Docker's socket and /run/docker/netns finds guests by them.

// findSandbox opens the namespace of c by its path. A path is used for one start of a
// container only, and is unmounted when that ends.
func (f *finder) findSandbox(ctx context.Context, r wordRef, s source, c *found, g guests.GuestInfo) (*Guest, error) {
	path := c.sandbox
	if path == "" && c.shares != "" { // Docker says it of the container whose namespace it is
		if other, err := s.inspect(ctx, c.shares); err == nil {
			path = other.sandbox
		}
	}
	ns, err := openSandbox(path)
	if err == nil {
		g.Path = path
		return r.admit(g, ns, nil)
	}
	if nsfs.Starved(err) {
		return nil, r.explain(err)
	}
	if c.pid != 0 {
		if err := f.unchanged(ctx, r, s, c, silent); err != nil {
			return nil, r.wrap(err)
		}
	}
	switch where := title(g.Runtime); {
	case c.pid == 0:
		return nil, r.fault(fault.Runtime, "it has no process, and no namespace that can be opened here").
			WithHint("run gopipework where %s runs", where)
	case path != "" && s.dialer.hidden():
		return nil, r.fault(fault.Runtime, "its process is not in this PID namespace, and its network namespace cannot be opened: %w", err).
			WithHint("in a container, mount the directory from the host, with what is mounted there later: -v %[1]s:%[1]s:rslave", filepath.Dir(path))
	default:
		return nil, r.fault(fault.Runtime, "process %d here is not this container's: %w, or not in this PID namespace", c.pid, errElsewhere).
			WithHint("run gopipework where %s runs, or name a process that is here: pid:N", where)
	}
}

// openSandbox opens a namespace by the path that a runtime gives.
func openSandbox(path string) (*os.File, error) {
	if r, err := parseWord(path); err != nil || r.Runtime != RuntimePath {
		return nil, os.ErrNotExist
	}
	return nsfs.Open(path, 0)
}

// isIn reports whether p, about which its cgroup says nothing, is c's. If the namespace that
// the runtime has mounted can be opened, p is in it or is not c's; otherwise p is taken for
// c's if it started when the runtime says.
func (p *process) isIn(c *found, proc string) bool {
	ns, err := openSandbox(c.sandbox)
	if err != nil {
		return p.startedAt(c.started, proc)
	}
	defer ns.Close()
	own, err := p.netns()
	if err != nil {
		return false
	}
	defer own.Close()
	return sameNamespace(own, ns)
}

// onHostOf reports whether this process is in the network namespace of the Docker that has
// mounted a sandbox. Docker mounts its own beside those of its containers once one of them
// shares it, as a container does that gopipework runs in.
func onHostOf(sandbox string) bool {
	ns, err := openSandbox(filepath.Join(filepath.Dir(cmp.Or(sandbox, "/")), "default"))
	if err != nil {
		return false
	}
	defer ns.Close()
	return nsfs.Is(ns, "/proc/thread-self/ns/net")
}

func sameNamespace(a, b *os.File) bool {
	first, err := a.Stat()
	if err != nil {
		return false
	}
	second, err := b.Stat()
	return err == nil && os.SameFile(first, second)
}
