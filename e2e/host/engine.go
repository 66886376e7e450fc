//go:build linux

package host

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/gopipework/gopipework/e2e/program"
)

// Image is the one image the engine has: busybox, and a page in /www.
const Image = "box"

// Page is what a web server with root /www answers.
const Page = "it answers\n"

// An Engine is a real dockerd on a host.
type Engine struct {
	*Host
	Socket string
	cmd    *exec.Cmd
	args   []string
	alone  bool
}

// StartEngine starts dockerd with its own data and socket. Containers survive
// its death: they are on the host until they are removed or the host goes.
func (h *Host) StartEngine(args ...string) (*Engine, error) { return h.startEngine(false, args) }

// StartEngineAlone starts dockerd where it sees no process of the machine: it is process 1
// itself, and has the host's network and a copy of its mounts, as init has on a machine. A
// container that shares the host's processes does not see those of the machine then.
func (h *Host) StartEngineAlone(args ...string) (*Engine, error) { return h.startEngine(true, args) }

func (h *Host) startEngine(alone bool, args []string) (*Engine, error) {
	e := &Engine{Host: h, Socket: filepath.Join(h.Dir, "docker.sock"), args: args, alone: alone}
	h.Setenv("DOCKER_HOST", "unix://"+e.Socket)
	if err := e.Start(); err != nil {
		return nil, err
	}
	image, err := image()
	if err != nil {
		return nil, err
	}
	return e, e.RunInput(string(image), "docker", "import", "-", Image).Err()
}

// Start starts the daemon, again or for the first time, and waits until it answers.
// It gives up by itself if its containerd takes more than 15 seconds to start, as on a
// busy machine; then it is started once more, twice at most.
func (e *Engine) Start() (err error) {
	for range 3 {
		if err = e.start(); err == nil || !strings.Contains(err.Error(), "timeout waiting for containerd to start") {
			break
		}
	}
	return err
}

func (e *Engine) start() error {
	dir := func(name string) string { return filepath.Join(e.Dir, name) }
	// What a killed daemon leaves, and would not start with.
	_ = os.Remove(dir("docker.pid"))
	forget(dir("exec/containerd/containerd.pid"))
	words := append([]string{"dockerd",
		"--data-root", dir("data"), "--exec-root", dir("exec"), "--pidfile", dir("docker.pid"),
		"--host", "unix://" + e.Socket,
		"--exec-opt", "native.cgroupdriver=cgroupfs", "--cgroup-parent", cgroupName(e.Dir),
		"--live-restore",
	}, e.args...)
	if e.alone {
		words = append([]string{"unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--"}, words...)
	}
	e.cmd = e.Command(context.Background(), words[0], words[1:]...)
	log, err := os.OpenFile(dir("dockerd.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	before, err := os.ReadFile(log.Name())
	if err != nil {
		return err
	}
	e.cmd.Stdout, e.cmd.Stderr = log, log
	if err := e.cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() { _ = e.cmd.Wait(); close(ended) }()
	up := Poll(Patience, func() bool {
		select {
		case <-ended:
			return true
		default:
		}
		return e.Run("docker", "version").Code == 0
	})
	select {
	case <-ended:
		up = false
	default:
	}
	if !up {
		text, _ := os.ReadFile(log.Name())
		return fmt.Errorf("dockerd does not answer:\n%s", bytes.TrimPrefix(text, before))
	}
	return nil
}

// forget waits for the process in a PID file to end, and removes the file.
// containerd dies with its dockerd; but until somebody has reaped it, a new
// dockerd thinks that it is alive.
func forget(file string) {
	pid, err := os.ReadFile(file)
	if err != nil {
		return
	}
	Poll(Patience, func() bool {
		stat, err := os.ReadFile("/proc/" + strings.TrimSpace(string(pid)) + "/stat")
		return err != nil || strings.Contains(string(stat), ") Z ")
	})
	_ = os.Remove(file)
}

// Signal sends the daemon a signal. After SIGSTOP it waits until it has stopped.
func (e *Engine) Signal(s syscall.Signal) error {
	if s == syscall.SIGSTOP {
		return Stop(e.cmd.Process.Pid)
	}
	return e.cmd.Process.Signal(s)
}

// Stop ends the daemon with SIGTERM or SIGKILL and waits until it is gone.
func (e *Engine) Stop(s syscall.Signal) error {
	if err := e.Signal(s); err != nil {
		return err
	}
	if !Poll(Patience, func() bool { return e.cmd.Process.Signal(syscall.Signal(0)) != nil }) {
		return fmt.Errorf("dockerd does not end on %v", s)
	}
	return nil
}

// Docker runs the docker command and returns what it printed, without the
// white space around it.
func (e *Engine) Docker(args ...string) (string, error) {
	out, err := e.Must("docker", args...)
	return strings.TrimSpace(out), err
}

// PID is a container's process.
func (e *Engine) PID(container string) (int, error) {
	out, err := e.Docker("inspect", "-f", "{{.State.Pid}}", container)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(out)
}

// image is a tar of a root file system with a static busybox.
func image() ([]byte, error) {
	path, err := program.Look("busybox")
	if err != nil {
		return nil, err
	}
	busybox, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	applets, err := program.Command(path, "--list").Output()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	file := func(name string, mode int64, data []byte) {
		_ = w.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: int64(len(data)), Typeflag: tar.TypeReg})
		_, _ = w.Write(data)
	}
	for _, d := range []string{"bin/", "etc/", "tmp/", "www/"} {
		_ = w.WriteHeader(&tar.Header{Name: d, Mode: 0o755, Typeflag: tar.TypeDir})
	}
	file("bin/busybox", 0o755, busybox)
	for _, a := range strings.Fields(string(applets)) {
		if a != "busybox" {
			_ = w.WriteHeader(&tar.Header{Name: "bin/" + a, Linkname: "busybox", Mode: 0o777, Typeflag: tar.TypeSymlink})
		}
	}
	file("etc/passwd", 0o644, []byte("root:x:0:0:root:/:/bin/sh\n"))
	file("www/index.html", 0o644, []byte(Page))
	return b.Bytes(), w.Close()
}
