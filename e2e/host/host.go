//go:build linux

// Package host plays a machine: a network namespace and a mount namespace of
// its own, with its own /run, its own Docker Engine if asked for, and guests.
//
//	host.go    Host: start it, run commands on it, stop it
//	hold.go    the process that holds the namespaces, and sweeps up after them
//	guest.go   guests that need no container engine: bare network namespaces
//	engine.go  a real dockerd on the host, and containers
//	ovs.go     a real Open vSwitch on the host
//	place.go   what all other runtimes need; each has a file of its own:
//	           podman.go, lxc.go, containerd.go, machined.go
//	image.go   the image of pods
//	pod.go     pods, which the CRI of containerd runs
//	dnsmasq.go a real DHCP server in a guest; dhcpd.go, one that answers what a test likes
//	dhcp6d.go  a DHCPv6 server that answers what a test likes
//	frr.go     a real routing daemon of the host
//	radvd.go   a real router in a guest, that advertises itself
//	state.go   what the host's network looks like, as text that can be compared
//	stepper.go a command stopped at its n-th system call, and killed or refused there
//	namespace.go a network namespace alone, for a test that needs no host
//	squat.go   a process that takes abstract addresses of unix sockets
//	wire.go    sockets for whole frames on a guest's interface
//	need.go    what a test cannot run without
//	requests.go what a command asked of the kernel and of daemons
//	peak.go    the most memory that a process has had
//	build.go   the program itself, built as it is shipped
//
// A Host leaves nothing behind, however the program that made it ends: the
// holder notices when its standard input closes, ends every process of the
// host and takes its mounts, directories and control groups away.
package host

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
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

// A Host is one machine to play with. It is not the machine the program runs
// on: nothing done on a Host can be seen from there.
type Host struct {
	// Dir is a scratch directory, seen under the same path from the host and
	// from outside; it goes with the host.
	Dir string
	// Path comes first in the PATH of everything that runs on the host.
	Path string

	holder *exec.Cmd
	stdin  io.Closer // closing it ends the holder, and with it the host
	env    []string
}

// Start makes a host with lo up and nothing else. It needs root.
func Start() (*Host, error) {
	dir, err := os.MkdirTemp("", "gopipework-host-")
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	h := &Host{Dir: dir}
	h.holder = program.Command("/proc/self/exe")
	h.holder.Env = append(os.Environ(), holdVariable+"="+dir)
	h.holder.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS,
		// Ctrl-C is for the test; the holder must outlive it.
		Setsid: true,
	}
	h.stdin, err = h.holder.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := h.holder.StdoutPipe()
	if err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(dir, "holder.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	h.holder.Stderr = log
	if err := h.holder.Start(); err != nil {
		os.RemoveAll(dir)
		return nil, fmt.Errorf("start a host: %w", err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "ready\n" {
		text, _ := os.ReadFile(log.Name())
		return nil, errors.Join(fmt.Errorf("start a host: %s", text), h.Close())
	}
	if err := h.ownPodman(); err != nil {
		return nil, errors.Join(fmt.Errorf("start a host: %w", err), h.Close())
	}
	return h, nil
}

// Close ends everything on the host and removes it.
func (h *Host) Close() error {
	h.stdin.Close()
	if err := h.holder.Wait(); err != nil {
		text, _ := os.ReadFile(filepath.Join(h.Dir, "holder.log"))
		return fmt.Errorf("stop the host: %w: %s", err, text)
	}
	return nil
}

// Setenv sets a variable for everything that runs on the host.
func (h *Host) Setenv(name, value string) {
	kept := h.env[:0]
	for _, e := range h.env {
		if !strings.HasPrefix(e, name+"=") {
			kept = append(kept, e)
		}
	}
	h.env = append(kept, name+"="+value)
}

// Command prepares a command on the host. The process it starts is the
// command itself, so that a signal reaches it.
func (h *Host) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	if !slices.ContainsFunc(filepath.SplitList(h.Path), func(dir string) bool { return exists(filepath.Join(dir, name)) }) {
		program.Check(name)
	}
	ns := "/proc/" + strconv.Itoa(h.holder.Process.Pid) + "/ns/"
	args = append([]string{"--net=" + ns + "net", "--mount=" + ns + "mnt", "--wd=/", "--", name}, args...)
	cmd := program.CommandContext(ctx, "nsenter", args...)
	cmd.Env = append(program.Env(h.Path), "HOME="+h.Dir, "LC_ALL=C", "DOCKER_CONFIG="+h.Dir)
	cmd.Env = append(cmd.Env, h.env...)
	cmd.WaitDelay = 2 * time.Second
	return cmd
}

// A Result is what a finished command said.
type Result struct {
	Args   []string
	Stdout string
	Stderr string
	Code   int // exit code; 128 + the signal that ended it, as a shell says it
	Time   time.Duration
}

// Err is nil if the command succeeded.
func (r Result) Err() error {
	if r.Code == 0 {
		return nil
	}
	return fmt.Errorf("%s: exit %d: %s", strings.Join(r.Args, " "), r.Code, strings.TrimSpace(r.Stdout+r.Stderr))
}

func (r Result) String() string {
	return fmt.Sprintf("%s\nexit %d after %v\nstdout: %s\nstderr: %s",
		strings.Join(r.Args, " "), r.Code, r.Time.Round(time.Millisecond), r.Stdout, r.Stderr)
}

// Run runs a command on the host to its end, a minute at most.
func (h *Host) Run(name string, args ...string) Result {
	return h.RunInput("", name, args...)
}

// RunInput is Run with something to read.
func (h *Host) RunInput(stdin, name string, args ...string) Result {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := h.Command(ctx, name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	return Finish(cmd, append([]string{name}, args...))
}

// Finish runs a prepared command to its end. Args is how it is called in messages.
func Finish(cmd *exec.Cmd, args []string) Result {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	began := time.Now()
	err := cmd.Run()
	r := Result{Args: args, Stdout: stdout.String(), Stderr: stderr.String(), Time: time.Since(began), Code: -1}
	if cmd.ProcessState == nil {
		r.Stderr += err.Error()
		return r
	}
	r.Code = ExitCode(cmd.ProcessState)
	return r
}

// ExitCode is the exit code as a shell says it: 128 + n after signal n.
func ExitCode(s *os.ProcessState) int {
	if w, ok := s.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		return 128 + int(w.Signal())
	}
	return s.ExitCode()
}

// Must runs a command on the host that has to succeed, and returns what it printed.
func (h *Host) Must(name string, args ...string) (string, error) {
	r := h.Run(name, args...)
	return r.Stdout, r.Err()
}

// Batch runs iproute2 commands, one a line, in one go.
func (h *Host) Batch(lines ...string) error {
	return h.RunInput(strings.Join(lines, "\n")+"\n", "ip", "-batch", "-").Err()
}

// StockFirewall gives the host, without the engine, the firewall that an
// engine gives it: FORWARD drops, and bridged frames pass through it.
func (h *Host) StockFirewall() error {
	// A module can be loaded, the namespace then has the sysctl, and it is 1.
	_ = h.Run("modprobe", "-q", "br_netfilter")
	return h.Run("sh", "-ec", `
		for call in iptables ip6tables; do
			echo 1 > /proc/sys/net/bridge/bridge-nf-call-$call
		done
		for t in iptables ip6tables; do
			$t -w -P FORWARD DROP
			$t -w -N DOCKER-USER
			$t -w -A DOCKER-USER -j RETURN
			$t -w -A FORWARD -j DOCKER-USER
		done`).Err()
}

// Patience bounds the wait for what comes in the end on any machine, however busy or
// slow: a daemon that starts, a process that dies. Only a failure takes that long.
const Patience = 90 * time.Second

// Poll calls ok until it says yes, for at most d. It returns the last answer.
func Poll(d time.Duration, ok func() bool) bool {
	end := time.Now().Add(d)
	for pause := time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		if ok() {
			return true
		}
		if time.Now().After(end) {
			return false
		}
		time.Sleep(pause)
	}
}

// Namespace is the file of the host's network namespace, as seen from outside.
func (h *Host) Namespace() string {
	return "/proc/" + strconv.Itoa(h.holder.Process.Pid) + "/ns/net"
}
