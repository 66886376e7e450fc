//go:build linux

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gopipework/gopipework/e2e/host"
)

// background is a command that runs beside the test.
type background struct {
	*exec.Cmd
	stdout, stderr bytes.Buffer
	ended          chan struct{}
}

// begin starts a prepared command; it ends with the test.
func (m *machine) begin(cmd *exec.Cmd) *background {
	m.t.Helper()
	b := &background{Cmd: cmd, ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &b.stdout, &b.stderr
	m.check(cmd.Start())
	go func() { _ = cmd.Wait(); close(b.ended) }()
	m.t.Cleanup(func() { _ = cmd.Process.Kill(); <-b.ended })
	return b
}

// end waits for the command's end.
func (b *background) end(t *testing.T) host.Result {
	t.Helper()
	select {
	case <-b.ended:
	case <-time.After(time.Minute):
		t.Fatalf("%v does not end", b.Args)
	}
	return host.Result{Args: b.Args, Stdout: b.stdout.String(), Stderr: b.stderr.String(), Code: host.ExitCode(b.ProcessState)}
}

// waits returns when somebody waits in the network namespace of a process:
// there is a netlink socket that is told of links, and of addresses and routes
// of both families.
func (m *machine) waits(pid int) {
	m.t.Helper()
	const groups = " 00000551 " // RTMGRP_LINK, _IPV4_IFADDR, _IPV4_ROUTE, _IPV6_IFADDR, _IPV6_ROUTE
	table := fmt.Sprintf("/proc/%d/net/netlink", pid)
	if !host.Poll(30*time.Second, func() bool {
		b, _ := os.ReadFile(table)
		return strings.Contains(string(b), groups)
	}) {
		m.t.Fatalf("nobody waits in the namespace of process %d", pid)
	}
}

// isRunning says what program a process is.
func isRunning(pid int) string {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return strings.TrimSpace(string(b))
}

// The entry point of a container waits for the address that it binds to, and
// becomes the server.
func TestWaitContainer(t *testing.T) {
	e := withDocker(t)
	client := e.guest()
	defer client.Kill()
	e.quiet("brtest", client.Word, "192.168.1.9/24,fd00::9/64")
	for name, c := range map[string]struct {
		plug   string
		server string // does not start where the address that it binds to is not usable
	}{
		"v4": {"192.168.1.2/24", "httpd -f -p 192.168.1.2:80 -h /www"},
		"v6": {"fd00::2/64", "httpd -f -p [fd00::2]:80 -h /www"},
		"nc": {"192.168.1.3/24", "nc -ll -p 80 -e /bin/cat /www/index.html"},
	} {
		server := strings.Fields(c.server)
		e.docker(append([]string{"run", "-d", "--name", name, "--network", "none", "--user", "1000", "--cap-drop", "ALL",
			"--sysctl", "net.ipv4.ip_unprivileged_port_start=0",
			"-v", bin + "/gopipework:/gopipework:ro", "--entrypoint", "/gopipework", host.Image,
			"--wait", "--addr", "--"}, server...)...)
		pid, err := e.daemon.PID(name)
		e.check(err)
		e.waits(pid)
		if got := isRunning(pid); got != "gopipework" {
			t.Errorf("%s: process 1 is %q before there is an address", name, got)
		}
		e.quiet("brtest", name, c.plug)
		if !host.Poll(30*time.Second, func() bool { return isRunning(pid) == server[0] }) {
			t.Errorf("%s: process 1 is %q, should have become %s:\n%s", name, isRunning(pid), server[0], e.docker("logs", name))
		}
		addr, _, _ := strings.Cut(c.plug, "/")
		var r host.Result
		if !host.Poll(30*time.Second, func() bool { // until it listens
			r = client.RunInput("GET /index.html HTTP/1.0\r\n\r\n", "busybox", "nc", "-w", "5", addr, "80")
			return r.Code == 0
		}) || !strings.Contains(r.Stdout, strings.TrimSpace(host.Page)) {
			t.Errorf("%s does not answer: %v\n%s", name, r, e.docker("logs", name))
		}
		e.ok("detach", name)
	}
	e.ok("detach", client.Word)
}

// Process 1 of a container dies of a signal only if it asks for it.
func TestWaitStopped(t *testing.T) {
	e := withDocker(t)
	e.docker("run", "-d", "--name", "waits", "-v", bin+"/gopipework:/gopipework:ro", "--entrypoint", "/gopipework",
		host.Image, "--wait", "--", "sleep", "1d")
	pid, err := e.daemon.PID("waits")
	e.check(err)
	e.waits(pid)
	e.docker("kill", "--signal", "TERM", "waits")
	if code := e.docker("wait", "waits"); code != "143" {
		t.Errorf("exit code %s, should be 143:\n%s", code, e.docker("logs", "waits"))
	}
}

// Other kinds of link, and a guest without a process.
func TestWaitKinds(t *testing.T) {
	m := newMachine(t)
	m.do("ip link add nic0 type veth peer name wire")
	m.do("ip link set wire addrgenmode none up")
	for _, hostif := range []string{"nic0", "br0"} {
		g := m.named("blue")
		b := m.begin(m.Command(context.Background(), "gopipework", "--json", "wait", g.Word, "--addr", "--route"))
		m.waits(m.holds(g))
		m.quiet(hostif, g.Word, "10.0.0.2/24@10.0.0.1")
		d := decode[ready](t, b.end(t)).Interface
		if d.Name != "eth1" || strings.Join(d.Addresses, ",") != "10.0.0.2/24" || strings.Join(d.Gateway, ",") != "10.0.0.1" {
			t.Errorf("%s: %+v", hostif, d)
		}
		m.quiet("detach", g.Word)
		m.check(g.Kill())
	}
}

// holds is a process in the guest's namespace, for as long as the test runs.
func (m *machine) holds(g *host.Guest) (pid int) {
	m.t.Helper()
	b := m.begin(g.Command(context.Background(), "sleep", "1d"))
	host.Poll(30*time.Second, func() bool { return isRunning(b.Process.Pid) == "sleep" })
	return b.Process.Pid
}

// In an empty root there is no /proc and no /sys, only the program; and who
// runs it may do nothing.
func TestWaitEmptyRoot(t *testing.T) {
	m := newMachine(t)
	root := filepath.Join(m.Dir, "root")
	m.check(os.Mkdir(root, 0o755))
	program, err := os.ReadFile(bin + "/gopipework")
	m.check(err)
	m.check(os.WriteFile(filepath.Join(root, "gopipework"), program, 0o755))
	next := []string{"/gopipework", "--wait", "-i", "eth9"}
	wait := append([]string{"/gopipework", "--wait", "--addr", "--route", "--"}, next...)
	for addrs, enter := range map[string][]string{
		"10.0.0.2/24,fd00::2/64@10.0.0.1": {"unshare", "--net", "chroot", "--userspec=65534:65534", root},
		"10.0.0.3/24,fd00::3/64@10.0.0.1": {"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
			"unshare", "--user", "--net", "--root=" + root},
	} {
		t.Run(enter[0], func(t *testing.T) {
			m := &machine{m.Host, t}
			args := append(enter, wait...)
			b := m.begin(m.Command(context.Background(), args[0], args[1:]...))
			m.waits(b.Process.Pid)
			m.quiet("brtest", m.GuestOf(b.Process.Pid).Word, addrs)
			cmdline := ""
			if !host.Poll(30*time.Second, func() bool {
				b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", b.Process.Pid))
				cmdline = strings.TrimRight(string(b), "\x00")
				return cmdline == strings.Join(next, "\x00")
			}) {
				t.Errorf("it runs %q, should have become %q", cmdline, next)
			}
			m.check(b.Process.Kill())
			if r := b.end(t); r.Stdout+r.Stderr != "" {
				t.Errorf("%v", r)
			}
			m.ok("gc")
		})
	}
}

// ready is the document of wait.
type ready struct {
	Interface struct {
		Name      string   `json:"name"`
		Kind      string   `json:"kind"`
		MAC       string   `json:"mac"`
		MTU       int      `json:"mtu"`
		Addresses []string `json:"addresses"`
		Gateway   []string `json:"gateway"`
		Routes    []string `json:"routes"`
	} `json:"interface"`
}

// COMMAND is the same process, with the same input, and its exit code.
func TestWaitBecomes(t *testing.T) {
	m := newMachine(t)
	g := m.guest()
	// By pipework's name, with its own words.
	cmd := g.Command(context.Background(), "pipework", "--wait", "-i", "eth2", "--", "sh", "-c", "echo $$; cat; kill -TERM $$")
	cmd.Stdin = strings.NewReader("what was given\n")
	b := m.begin(cmd)
	m.waits(b.Process.Pid)
	m.quiet("brtest", "-i", "eth2", g.Word, "0/0")
	r := b.end(t)
	if want := strconv.Itoa(b.Process.Pid) + "\nwhat was given\n"; r.Stdout != want || r.Code != 143 {
		t.Errorf("%v\nshould print %q, and end by SIGTERM", r, want)
	}
	if r := g.Run("gopipework", "--wait", "-i", "eth2", "--", "sh", "-c", "exit 7"); r.Code != 7 {
		t.Errorf("%v, should end with 7", r)
	}
	if r := g.Run("pipework", "--wait", "-i", "eth2"); r.Code != 0 || r.Stdout+r.Stderr != "" {
		t.Errorf("%v, should be quiet", r)
	}
	d := decode[ready](t, g.Run("gopipework", "--wait", "-i", "eth2", "--json")).Interface
	if d.Name != "eth2" || d.Kind != "veth" || d.MTU != 1500 || d.MAC == "" || d.Addresses == nil || d.Gateway == nil {
		t.Errorf("%+v", d)
	}
}

// A wait ends with a signal, with its time, and from the host with its guest;
// nothing that it says comes to standard output.
func TestWaitEnds(t *testing.T) {
	m := newMachine(t)
	g := m.guest()
	for s, code := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143} {
		for _, words := range [][]string{{"--wait"}, {"--wait", "--", "sh", "-c", "echo started"}, {"wait", g.Word}} {
			cmd := g.Command(context.Background(), "gopipework", words...)
			if words[0] == "wait" {
				cmd = m.Command(context.Background(), "gopipework", words...)
			}
			b := m.begin(cmd)
			m.waits(g.PID)
			m.check(b.Process.Signal(s))
			if r := b.end(t); r.Code != code || r.Stdout != "" || !strings.Contains(r.Stderr, "gopipework: stop: "+s.String()) {
				t.Errorf("%v, should end with %d", r, code)
			}
		}
	}
	m.quiet("brtest", g.Word, "0/0")
	for _, tt := range [][]string{
		{"is not there", "eth2"}, {"has no address", "eth1", "--addr"}, {"has no route", "eth1", "--route"},
	} {
		f := m.fails("timeout", append([]string{"wait", g.Word, "--timeout", "10ms"}, tt[1:]...)...)
		m.says("the error", f.Error.Message, tt[1]+" "+tt[0])
		here := append([]string{"--json", "--wait", "--timeout", "10ms", "-i"}, tt[1:]...)
		f = m.failed("timeout", g.Run("gopipework", here...))
		m.says("the error", f.Error.Message, tt[1]+" "+tt[0])
	}
	m.quiet("wait", g.Word)
	b := m.begin(m.Command(context.Background(), "gopipework", "--json", "wait", g.Word, "eth2"))
	m.waits(g.PID)
	m.check(g.Kill())
	m.failed("gone", b.end(t))
}

// How long after an address is there COMMAND runs. It is told, not judged.
func TestWaitLatency(t *testing.T) {
	m := newMachine(t)
	g := m.guest()
	m.quiet("brtest", g.Word, "0/0")
	var all []string
	for range 10 {
		b := m.begin(g.Command(context.Background(), "gopipework", "--wait", "--addr", "--", "date", "+%s%N"))
		m.waits(g.PID)
		batch := g.Command(context.Background(), "ip", "-batch", "-")
		in, err := batch.StdinPipe()
		m.check(err)
		ip := m.begin(batch)
		host.Poll(30*time.Second, func() bool { return isRunning(ip.Process.Pid) == "ip" })
		time.Sleep(20 * time.Millisecond) // it has got as far as its input
		before := time.Now()
		_, err = io.WriteString(in, "address add 10.0.0.2/24 dev eth1\n")
		m.check(err)
		in.Close()
		r := b.end(t)
		ns, err := strconv.ParseInt(strings.TrimSpace(r.Stdout), 10, 64)
		m.check(err)
		all = append(all, time.Unix(0, ns).Sub(before).Round(10*time.Microsecond).String())
		m.check(g.Run("ip", "address", "flush", "dev", "eth1").Err())
	}
	t.Logf("from the word to ip, to date having the time: %s", strings.Join(all, " "))
}
