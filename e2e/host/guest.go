//go:build linux

package host

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"github.com/gopipework/gopipework/internal/nsfs"
)

// A Guest is a network namespace on the host, with or without a process.
type Guest struct {
	Word string // how gopipework is told: pid:N, netns:NAME
	PID  int    // 0 for a named namespace

	h     *Host
	path  string        // the namespace's file
	in    io.Closer     // the process ends when this closes
	ended chan struct{} // closed when it has ended; nil if it is not ours
	cmd   *exec.Cmd
}

// Guest starts a process in a network namespace of its own, with lo up.
func (h *Host) Guest() (*Guest, error) {
	cmd := h.Command(context.Background(), "unshare", "--net", "--",
		"sh", "-ec", "ip link set lo up; echo ready; exec cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		return nil, fmt.Errorf("start a guest: %w %s", err, line)
	}
	g := h.GuestOf(cmd.Process.Pid)
	g.cmd, g.in, g.ended = cmd, in, make(chan struct{})
	go func() { _ = cmd.Wait(); close(g.ended) }()
	return g, nil
}

// Named makes a namespace with a name, as "ip netns add" does.
func (h *Host) Named(name string) (*Guest, error) {
	if _, err := h.Must("ip", "netns", "add", name); err != nil {
		return nil, err
	}
	if _, err := h.Must("ip", "-n", name, "link", "set", "lo", "up"); err != nil {
		return nil, err
	}
	return &Guest{Word: "netns:" + name, h: h, path: "/run/netns/" + name}, nil
}

// GuestOf is the guest that a process on the host lives in.
func (h *Host) GuestOf(pid int) *Guest {
	n := strconv.Itoa(pid)
	return &Guest{Word: "pid:" + n, PID: pid, h: h, path: "/proc/" + n + "/ns/net"}
}

// Path is the file of the guest's namespace, as seen on the host.
func (g *Guest) Path() string { return g.path }

// Command prepares a host command in the guest's network namespace.
func (g *Guest) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	return g.h.Command(ctx, "nsenter", append([]string{"--net=" + g.path, "--", name}, args...)...)
}

// Run runs a host command in the guest's network namespace.
func (g *Guest) Run(name string, args ...string) Result { return g.RunInput("", name, args...) }

// RunInput is Run with something to read.
func (g *Guest) RunInput(stdin, name string, args ...string) Result {
	return g.h.RunInput(stdin, "nsenter", append([]string{"--net=" + g.path, "--", name}, args...)...)
}

// Inside calls f on a thread in the guest's network namespace. Sockets that f opens stay
// there.
func (g *Guest) Inside(f func() error) error {
	ns, err := os.Open(g.path)
	if err != nil {
		return err
	}
	defer ns.Close()
	in, err := nsfs.Enter(ns)
	if err != nil {
		return err
	}
	defer in.End()
	return in.Run(f)
}

// Inode identifies the namespace.
func (g *Guest) Inode() uint64 {
	s := strings.TrimSpace(g.Run("stat", "-L", "-c", "%i", "/proc/self/ns/net").Stdout)
	n, _ := strconv.ParseUint(s, 10, 64)
	return n
}

// Kill ends the guest's process and waits for it, or deletes its name.
func (g *Guest) Kill() error {
	if g.cmd == nil {
		return g.h.Run("ip", "netns", "delete", strings.TrimPrefix(g.Word, "netns:")).Err()
	}
	err := g.cmd.Process.Kill()
	<-g.ended
	return err
}
