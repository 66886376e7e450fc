//go:build linux

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gopipework/gopipework/e2e/host"
	"github.com/gopipework/gopipework/e2e/program"
)

// stage is the host that everything is measured on. This process's one thread is
// in its network and mount namespaces: what it starts begins there, without the
// cost of entering them.
type stage struct {
	e        *host.Engine
	env      []string
	out      *os.File // what the program that runs now prints
	pid      int      // of the container web
	kernel   *kernel
	programs map[string]*placed
	docker   dockerWay
	mounts   *os.File // the mount namespace that this thread came from
}

func newStage(h *host.Host) (*stage, error) {
	bin := h.Dir + "/bin"
	if err := os.Mkdir(bin, 0o755); err != nil {
		return nil, err
	}
	programs, err := placePrograms(bin)
	if err != nil {
		return nil, err
	}
	h.Path = bin
	e, err := h.StartEngine()
	if err != nil {
		return nil, err
	}
	s := &stage{e: e, env: e.Command(context.Background(), "true").Env, programs: programs}
	if err := s.populate(); err != nil {
		return nil, err
	}
	fd, err := unix.MemfdCreate("output", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	s.out = os.NewFile(uintptr(fd), "output")
	if err := s.enter(); err != nil {
		return nil, err
	}
	s.kernel, err = newKernel(fmt.Sprintf("/proc/%d/ns/net", s.pid))
	return s, err
}

// populate starts the guests, and makes the bridge and the rule, which then are
// there and stay.
func (s *stage) populate() (err error) {
	for _, name := range []string{"web", "keeper"} {
		if _, err := s.e.Docker("run", "-d", "--name", name, host.Image, "sleep", "86400"); err != nil {
			return err
		}
	}
	if s.pid, err = s.e.PID("web"); err != nil {
		return err
	}
	return s.e.Run("gopipework", "brbench", "keeper", "10.0.0.1/24").Err()
}

// enter takes this thread into the host's namespaces, and never unlocks it.
func (s *stage) enter() (err error) {
	runtime.LockOSThread()
	if s.mounts, err = os.Open("/proc/thread-self/ns/mnt"); err != nil {
		return err
	}
	net, err := os.Open(s.e.Namespace())
	if err != nil {
		return err
	}
	defer net.Close()
	mnt, err := os.Open(strings.TrimSuffix(s.e.Namespace(), "net") + "mnt")
	if err != nil {
		return err
	}
	defer mnt.Close()
	err = cmp.Or(unix.Unshare(unix.CLONE_FS), unix.Setns(int(net.Fd()), unix.CLONE_NEWNET), unix.Setns(int(mnt.Fd()), unix.CLONE_NEWNS))
	if err != nil {
		return fmt.Errorf("enter the host: %w", err)
	}
	return nil
}

// leave must come before the host is closed: that ends all that sees its mounts.
func (s *stage) leave() error { return unix.Setns(int(s.mounts.Fd()), unix.CLONE_NEWNS) }

// find returns the path of a program as the host's PATH has it, so that no search
// is part of what is timed.
func (s *stage) find(name string) (string, error) {
	if strings.HasPrefix(name, "/") {
		return name, nil
	}
	if p := s.programs[name]; p != nil {
		return p.best(), nil
	}
	return program.Look(name)
}

// command prepares one process; it may be run again and again, and has to succeed.
func (s *stage) command(args ...string) (run func() error, err error) {
	path, err := s.find(args[0])
	if err != nil {
		return nil, err
	}
	program.Check(path)
	return func() error {
		if _, err := s.out.Seek(0, io.SeekStart); err != nil {
			return err
		}
		if err := s.out.Truncate(0); err != nil {
			return err
		}
		cmd := exec.Cmd{Path: path, Args: args, Env: s.env, Stdout: s.out, Stderr: s.out}
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, s.printed())
		}
		return nil
	}, nil
}

// printed is what the last program printed.
func (s *stage) printed() string {
	text := make([]byte, 4096)
	n, _ := s.out.ReadAt(text, 0)
	return strings.TrimSpace(string(text[:n]))
}

// commands prepares processes that run one after the other.
func (s *stage) commands(lines ...[]string) (run func() error, err error) {
	var all []func() error
	for _, line := range lines {
		one, err := s.command(line...)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return func() error {
		for _, one := range all {
			if err := one(); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

// attached looks whether the container has what was asked for.
func (s *stage) attached(who string) error {
	links, err := s.e.GuestOf(s.pid).Links()
	if err != nil {
		return err
	}
	for name, l := range links {
		for _, a := range l.Addrs {
			if strings.HasPrefix(name, "eth") && name != "eth0" && l.State == "UP" && strings.Contains(a.Local, ".") {
				return nil
			}
		}
	}
	return errors.Join(fmt.Errorf("%s did not do the job", who), fmt.Errorf("%+v", links))
}
