//go:build linux

package host

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/gopipework/gopipework/e2e/program"
)

// A Place is where a container runtime is started: a Host, or the Machine.
type Place interface {
	Command(ctx context.Context, name string, args ...string) *exec.Cmd
}

// Machine is the machine itself, with the environment of this program.
type Machine struct{}

// Command prepares a command.
func (Machine) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := program.CommandContext(ctx, name, args...)
	cmd.WaitDelay = time.Second // what it leaves running may hold its output
	return cmd
}

var _, _ Place = (*Host)(nil), Machine{}

// ask runs a command, a minute at most, and returns what it printed without
// the white space around it. Env is added to the place's own.
func ask(p Place, env []string, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := p.Command(ctx, name, args...)
	cmd.Env = append(cmd.Environ(), env...)
	r := Finish(cmd, append([]string{name}, args...))
	return strings.TrimSpace(r.Stdout), r.Err()
}

// askPID is ask for a process ID.
func askPID(p Place, env []string, name string, args ...string) (int, error) {
	out, err := ask(p, env, name, args...)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(out)
}

// A daemon is a process that runs until it is stopped.
type daemon struct {
	cmd   *exec.Cmd
	log   string // the file of what it says
	ended chan struct{}
}

// startDaemon starts one, and waits until it is up.
func startDaemon(p Place, log string, up func() bool, name string, args ...string) (*daemon, error) {
	f, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	d := &daemon{cmd: p.Command(context.Background(), name, args...), log: log, ended: make(chan struct{})}
	d.cmd.Stdout, d.cmd.Stderr = f, f
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for the test
	if err := d.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { _ = d.cmd.Wait(); close(d.ended) }()
	if !Poll(Patience, func() bool { return d.over() || up() }) || d.over() {
		d.stop()
		said, _ := os.ReadFile(log)
		return nil, fmt.Errorf("%s does not come up:\n%s", name, said[max(0, len(said)-4096):])
	}
	return d, nil
}

func (d *daemon) over() bool {
	select {
	case <-d.ended:
		return true
	default:
		return false
	}
}

// stop ends the daemon, with force after half a minute.
func (d *daemon) stop() {
	_ = d.cmd.Process.Signal(syscall.SIGTERM)
	timer := time.AfterFunc(30*time.Second, func() { _ = d.cmd.Process.Kill() })
	<-d.ended
	timer.Stop()
}

// kill ends the daemon at once.
func (d *daemon) kill() error {
	err := d.cmd.Process.Kill()
	<-d.ended
	return err
}

// Stop stops a process with SIGSTOP, and waits until every thread of it has stopped:
// those that run on another processor still do some work after the signal was sent.
func Stop(pid int) error {
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		return err
	}
	stopped := func() bool {
		threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		for _, file := range threads {
			if stat, err := os.ReadFile(file); err == nil && !strings.Contains(string(stat), ") T ") {
				return false
			}
		}
		return len(threads) > 0
	}
	if !Poll(Patience, stopped) {
		return fmt.Errorf("process %d does not stop", pid)
	}
	return nil
}

// Dead reports whether a process has ended, with all that it held: the name and the
// command line are gone before its files are closed, and its first thread may be a
// zombie while others still have them.
func Dead(pid int) bool {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	for _, file := range threads {
		if stat, err := os.ReadFile(file); err == nil && !strings.Contains(string(stat), ") Z ") && !strings.Contains(string(stat), ") X ") {
			return false
		}
	}
	return len(threads) <= 1
}

// accepts reports whether somebody accepts connections to a unix socket. The file is
// there from bind(2) on; until listen(2) a connection is refused.
func accepts(socket string) bool {
	c, err := net.Dial("unix", socket)
	if err != nil {
		return false
	}
	_ = c.Close()
	return true
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// Rootfs makes a root file system, in a new directory, that can sleep.
func Rootfs(dir string) error {
	for _, d := range []string{"bin", "proc", "sys", "dev", "etc", "tmp", "run", "usr"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return err
		}
	}
	path, err := program.Look("busybox")
	if err != nil {
		return err
	}
	program, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "bin/busybox"), program, 0o755); err != nil {
		return err
	}
	for _, applet := range []string{"sleep", "sh"} {
		if err := os.Symlink("busybox", filepath.Join(dir, "bin", applet)); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(dir, "etc/os-release"), []byte("ID=test\n"), 0o644)
}

// writeFiles writes files under a directory, whose own directories it makes.
func writeFiles(dir string, files map[string]string) error {
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		mode := os.FileMode(0o644)
		if strings.HasPrefix(text, "#!") {
			mode = 0o755
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			return err
		}
	}
	return nil
}

// RemoveCgroup removes what a runtime leaves of a control group, in every
// hierarchy, as far as nothing is in it.
func RemoveCgroup(name string) {
	for _, hierarchy := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/*"} {
		paths, _ := filepath.Glob(filepath.Join(hierarchy, name))
		for _, path := range paths {
			var dirs []string
			_ = filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
				if err == nil && d.IsDir() {
					dirs = append(dirs, p)
				}
				return nil
			})
			for _, dir := range slices.Backward(dirs) {
				_ = syscall.Rmdir(dir)
			}
		}
	}
}
