//go:build linux

package host

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// An LXC makes busybox containers in LXC's own directory, which is part of what
// their names mean.
type LXC struct {
	place Place
	dir   string // LXC's directory, as this program sees it
	group string // the control group of its containers
	names []string
}

const lxcDir = "/var/lib/lxc"

// StartLXC gives the host an LXC with a directory of its own.
func (h *Host) StartLXC() (*LXC, error) {
	if _, err := h.Must("sh", "-ec", "mkdir -p "+lxcDir+"; mount -t tmpfs -o mode=755 lxc "+lxcDir); err != nil {
		return nil, err
	}
	// The host's root, as seen from outside (proc_pid_root(5)).
	root := fmt.Sprintf("/proc/%d/root", h.holder.Process.Pid)
	return &LXC{place: h, dir: root + lxcDir, group: cgroupName(h.Dir) + "/lxc"}, nil
}

// NewLXC uses the machine's own directory: names have to be the caller's alone.
func NewLXC() *LXC {
	return &LXC{place: Machine{}, dir: lxcDir, group: "gopipework-lxc-" + strconv.FormatUint(rand.Uint64(), 36)}
}

// Start makes a container and starts it, in a network namespace with nothing in
// it. Never with "none", the host's own: the template's rcS runs a DHCP client,
// which would delete the host's addresses.
func (l *LXC) Start(name string) (pid int, err error) {
	l.names = append(l.names, name)
	if _, err := l.LXC("create", name, "-t", "busybox"); err != nil {
		return 0, err
	}
	path := filepath.Join(l.dir, name, "config")
	config, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	var kept strings.Builder
	for line := range strings.Lines(string(config)) {
		if !strings.HasPrefix(line, "lxc.net.") {
			kept.WriteString(line)
		}
	}
	fmt.Fprintf(&kept, "lxc.net.0.type = empty\nlxc.cgroup.dir = %s/%s\n", l.group, name)
	if err := os.WriteFile(path, []byte(kept.String()), 0o644); err != nil {
		return 0, err
	}
	if _, err := l.LXC("start", name); err != nil {
		return 0, err
	}
	return askPID(l.place, nil, "lxc-info", "-n", name, "-pH")
}

// LXC runs one of LXC's commands on a container: create, start, stop, info ...
func (l *LXC) LXC(verb, name string, args ...string) (string, error) {
	return ask(l.place, nil, "lxc-"+verb, append([]string{"-n", name}, args...)...)
}

// Close ends and removes every container.
func (l *LXC) Close() error {
	// LXC leaves the pivot, empty.
	defer func() { RemoveCgroup(l.group); RemoveCgroup("lxc.pivot") }()
	var all error
	for _, name := range l.names {
		_, _ = l.LXC("stop", name, "-k")
		if _, err := l.LXC("destroy", name); err != nil {
			all = errors.Join(all, err)
		}
	}
	return all
}
