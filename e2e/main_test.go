//go:build linux

// Package e2e runs the built program for real: on hosts that the tests make,
// with a Docker Engine that the tests start.
//
// GOPIPEWORK_REQUIRE names what has to be there (root, docker, ipv6, ovs,
// podman, lxc, containerd, machine, systemd, clients, strace, cni, frr), with commas: a test that would be skipped
// for want of it then fails.
package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gopipework/gopipework/e2e/host"
	"github.com/gopipework/gopipework/e2e/program"
)

var (
	bin     string // holds the program as it is shipped
	scratch string // for what tests share, and build once
)

func TestMain(m *testing.M) {
	host.Main()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, remove, err := host.Scratch()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer remove()
	scratch = dir
	bin = os.Getenv("GOPIPEWORK_BIN") // built before, where building takes long
	if bin == "" {
		bin = dir
		if _, err := host.Build(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	code := m.Run()
	if shared.Engine != nil {
		if err := shared.Engine.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
	}
	return code
}

// requirements are the commands that something to require needs.
var requirements = map[string][]string{
	"root":       {"ip", "bridge", "nsenter", "unshare", "iptables", "iptables-save", "busybox", "dnsmasq", "radvd"},
	"docker":     {"dockerd", "containerd", "runc", "docker"},
	"ovs":        {"ovs-vsctl", "ovsdb-tool", "ovsdb-server", "ovs-vswitchd"},
	"iperf3":     {"iperf3", "tc", "ss"},
	"strace":     {"strace"},
	"tcpdump":    {"tcpdump"},
	"shells":     {"script", "bash", "zsh", "fish"},
	"clients":    {"dnsmasq", "udhcpc", "dhclient", "dhcpcd"},
	"podman":     {"podman", "conmon"},
	"lxc":        {"lxc-create", "lxc-start", "lxc-info"},
	"containerd": {"containerd", "ctr", "runc"},
	"systemd":    {"systemd-analyze"},
	"cni":        {"go"},
	"frr":        {host.ZebraPath, host.BGPDPath},
	"machine":    {host.MachinedPath, "machinectl", "systemd-nspawn", "dbus-daemon"},
}

// need skips the test where something is missing, or fails it where
// GOPIPEWORK_REQUIRE says that it has to be there.
func need(t *testing.T, what ...string) {
	t.Helper()
	for _, w := range what {
		missing := ""
		switch w {
		case "root":
			if os.Geteuid() != 0 {
				missing = "root is needed to make namespaces"
			}
		case "kernels":
			if os.Getenv("GOPIPEWORK_KERNEL") == "" {
				missing = "this is for the kernel of make kernels"
			}
		case "ipv6":
			if _, err := os.Stat("/proc/sys/net/ipv6"); err != nil {
				missing = err.Error()
			}
		default:
			if requirements[w] == nil {
				t.Fatalf("unknown requirement %q", w)
			}
		}
		for _, c := range requirements[w] {
			if _, err := program.Look(c); err != nil {
				missing = err.Error()
			}
		}
		if missing != "" {
			host.Lacking(t, w, missing)
		}
	}
}

// setting reads a number from the environment.
func setting(t *testing.T, name string, otherwise int) int {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return otherwise
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// A machine is a host in a test.
type machine struct {
	*host.Host
	t testing.TB
}

// newMachine makes a host for this test alone, with the firewall that an
// engine would set. Such tests run in parallel.
func newMachine(t *testing.T) *machine {
	t.Helper()
	need(t, "root")
	t.Parallel()
	h := host.New(t)
	h.Path = bin
	// No engine here: never ask one that happens to run.
	h.Setenv("DOCKER_HOST", "unix://"+h.Dir+"/no-docker.sock")
	m := &machine{h, t}
	m.check(h.StockFirewall())
	return m
}

// An engine is a machine with Docker in a test.
type engine struct {
	*machine
	daemon *host.Engine
}

// docker runs the docker command; it has to succeed.
func (e *engine) docker(args ...string) string {
	e.t.Helper()
	out, err := e.daemon.Docker(args...)
	e.check(err)
	return out
}

// newEngine makes a machine with an engine for this test alone, for tests
// that stop the engine or break it. Such tests run in parallel.
func newEngine(t *testing.T) *engine {
	t.Helper()
	return startedEngine(t, func(h *host.Host) (*host.Engine, error) { return h.StartEngine() })
}

func startedEngine(t *testing.T, start func(*host.Host) (*host.Engine, error)) *engine {
	t.Helper()
	need(t, "root", "docker")
	t.Parallel()
	h := host.New(t)
	h.Path = bin
	e, err := start(h)
	if err != nil {
		t.Fatal(err)
	}
	return &engine{&machine{h, t}, e}
}

// shared is the engine of the whole package.
var shared struct {
	*host.Engine
	start  sync.Once
	err    error
	before host.State
}

// withDocker lends the package's engine to a test. When the test is done, its
// containers are removed, and the host has to be as it was at the start: a
// test that leaves something fails. Tests that use it do not run in parallel.
func withDocker(t *testing.T) *engine {
	t.Helper()
	need(t, "root", "docker")
	shared.start.Do(func() {
		h, err := host.Start()
		if err != nil {
			shared.err = err
			return
		}
		h.Path = bin
		shared.Engine, shared.err = h.StartEngine()
		if shared.err == nil {
			shared.before, shared.err = host.Settle(h.State)
		}
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	e := &engine{&machine{shared.Engine.Host, t}, shared.Engine}
	t.Cleanup(func() {
		ids, _ := e.daemon.Docker("ps", "-aq")
		for _, id := range strings.Fields(ids) {
			_ = e.gopipework("detach", "--all", id)
			if _, err := e.daemon.Docker("rm", "-f", id); err != nil {
				t.Error(err)
			}
		}
		e.same("the shared engine's host after the test", shared.before, e.State)
	})
	return e
}

// container starts a container and returns its ID.
func (e *engine) container(name string, args ...string) string {
	e.t.Helper()
	if !slices.ContainsFunc(args, func(a string) bool { return a == host.Image }) {
		args = append(args, host.Image, "sleep", "86400")
	}
	return e.docker(append([]string{"run", "-d", "--name", name}, args...)...)
}

// guestOf is the namespace of a container.
func (e *engine) guestOf(container string) *host.Guest {
	e.t.Helper()
	pid, err := e.daemon.PID(container)
	e.check(err)
	return e.GuestOf(pid)
}

func (m *machine) check(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

// guest starts a bare guest.
func (m *machine) guest() *host.Guest {
	m.t.Helper()
	g, err := m.Guest()
	m.check(err)
	return g
}

// named makes a named namespace, in which nothing runs.
func (m *machine) named(name string) *host.Guest {
	m.t.Helper()
	g, err := m.Named(name)
	m.check(err)
	return g
}

// ownDefault gives a named namespace a default route of its own.
func (m *machine) ownDefault(name string) {
	m.t.Helper()
	for _, line := range []string{"link add up0 type veth peer name up1", "link set up0 up", "link set up1 up", "address add 192.0.2.1/24 dev up0", "route add default via 192.0.2.9"} {
		m.do("ip -n " + name + " " + line)
	}
}

// guests starts n of them.
func (m *machine) guests(n int) (all []*host.Guest) {
	for range n {
		all = append(all, m.guest())
	}
	return all
}

// do runs a command on the host that has to succeed.
func (m *machine) do(line string) string {
	m.t.Helper()
	f := strings.Fields(line)
	out, err := m.Must(f[0], f[1:]...)
	m.check(err)
	return out
}

// gopipework runs the program on the host.
func (m *machine) gopipework(args ...string) host.Result { return m.Host.Run("gopipework", args...) }

// ok runs the program; it has to succeed.
func (m *machine) ok(args ...string) host.Result {
	m.t.Helper()
	r := m.gopipework(args...)
	if r.Code != 0 {
		m.t.Fatal(r)
	}
	return r
}

// quiet is ok with nothing to say: a plain success.
func (m *machine) quiet(args ...string) {
	m.t.Helper()
	if r := m.ok(args...); r.Stdout+r.Stderr != "" {
		m.t.Errorf("a plain success prints nothing:\n%v", r)
	}
}

// The documents of --json, as the contract writes them.
type (
	attachment struct {
		Guest struct {
			Runtime string `json:"runtime"`
			ID      string `json:"id"`
			Name    string `json:"name"`
			PID     int    `json:"pid"`
			Netns   uint64 `json:"netns"`
		} `json:"guest"`
		Interface struct {
			Name      string   `json:"name"`
			Kind      string   `json:"kind"`
			MAC       string   `json:"mac"`
			MTU       int      `json:"mtu"`
			Carrier   *bool    `json:"carrier"`
			Pulled    bool     `json:"carrier_off"`
			Addresses []string `json:"addresses"`
			Gateway   []string `json:"gateway"`
			Routes    []string `json:"routes"`
			DNS       string   `json:"dns"`

			SourceRouting bool `json:"source_routing"`
			VRF           *struct {
				Name  string `json:"name"`
				Table int    `json:"table"`
			} `json:"vrf"`
		} `json:"interface"`
		Host struct {
			Kind string `json:"kind"`
			Name string `json:"name"`
			Port string `json:"port"`
			VLAN any    `json:"vlan"`

			Isolated  bool `json:"isolated"`
			Antispoof bool `json:"antispoof"`
			Uplink    string
		} `json:"host"`
		State   string   `json:"state"`
		Origin  string   `json:"origin"`
		Hidden  bool     `json:"hidden"`
		Cut     []string `json:"cut"`
		Mirrors []string `json:"mirrors"`
		Shaping *struct {
			RateIn  string `json:"rate_in"`
			RateOut string `json:"rate_out"`
			Loss    string `json:"loss"`
			Delay   string `json:"delay"`
			Jitter  string `json:"jitter"`
		} `json:"shaping"`
		Lease *struct {
			Source  string `json:"source"`
			Server  string `json:"server"`
			Seconds int64  `json:"seconds"`
			Trouble string `json:"trouble"`
		} `json:"lease"`
		Pending *struct {
			Why      string    `json:"why"`
			Reason   string    `json:"reason"`
			Hint     string    `json:"hint"`
			Line     string    `json:"line"`
			Since    time.Time `json:"since"`
			Failures int       `json:"failures"`
			Again    time.Time `json:"again"`
		} `json:"pending"`
	}
	attachResult struct {
		Attachment attachment `json:"attachment"`
		Changed    *bool      `json:"changed"`
		Steps      []string   `json:"steps"`
		Warnings   []string   `json:"warnings"`
	}
	listResult struct {
		Attachments []attachment `json:"attachments"`
		Warnings    []string     `json:"warnings"`
	}
	failure struct {
		Error errorText `json:"error"`
	}
	errorText struct {
		Code    string   `json:"code"`
		Op      string   `json:"op"`
		Object  string   `json:"object"`
		Message string   `json:"message"`
		Hint    string   `json:"hint"`
		Residue []string `json:"residue"`

		Problems []struct {
			File    string `json:"file"`
			Line    int    `json:"line"`
			Column  int    `json:"column"`
			Message string `json:"message"`
			Hint    string `json:"hint"`
		} `json:"problems"`
	}
)

// decode reads the one document on stdout. Fields that the contract does not
// name are an error: they would be promises by accident.
func decode[T any](t testing.TB, r host.Result) (v T) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(r.Stdout))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("not the document of the contract: %v\n%v", err, r)
	}
	if d.More() {
		t.Fatalf("more than one document:\n%v", r)
	}
	return v
}

// attach runs the line with --json.
func (m *machine) attach(args ...string) attachResult {
	m.t.Helper()
	r := m.ok(append([]string{"--json"}, args...)...)
	a := decode[attachResult](m.t, r)
	if a.Changed == nil {
		m.t.Fatalf("no \"changed\":\n%v", r)
	}
	return a
}

func (m *machine) list(args ...string) []attachment {
	m.t.Helper()
	return decode[listResult](m.t, m.ok(append([]string{"--json", "list"}, args...)...)).Attachments
}

// fails runs a line that has to fail with one of these codes, and returns the
// error it reports. The exit code has to be the code's.
func (m *machine) fails(codes string, args ...string) failure {
	m.t.Helper()
	r := m.gopipework(append([]string{"--json"}, args...)...)
	return m.failed(codes, r)
}

func (m *machine) failed(codes string, r host.Result) failure {
	m.t.Helper()
	if r.Code == 0 {
		m.t.Fatalf("succeeded, should be %s:\n%v", codes, r)
	}
	f := decode[failure](m.t, r)
	if !slices.Contains(strings.Split(codes, "|"), f.Error.Code) {
		m.t.Errorf("code %q, should be %s:\n%v", f.Error.Code, codes, r)
	}
	if want := exits[f.Error.Code]; r.Code != want {
		m.t.Errorf("exit %d, should be %d for %q:\n%v", r.Code, want, f.Error.Code, r)
	}
	if f.Error.Message == "" {
		m.t.Errorf("no message:\n%v", r)
	}
	return f
}

// exits are the exit codes of the error codes.
var exits = map[string]int{
	"failed": 1, "conflict": 1, "invalid": 1, "limit": 1, "timeout": 1, "runtime": 1,
	"usage": 2, "not_found": 3, "gone": 3, "permission": 4, "residue": 5, "unsupported": 6,
}

// state looks at the host, or at whatever can be looked at, when its links have
// settled.
func (m *machine) state(look func() (host.State, error)) host.State {
	m.t.Helper()
	s, err := host.Settle(look)
	m.check(err)
	return s
}

// same waits until what look sees is as it was. The kernel takes its time
// with a carrier that goes; hence the wait.
func (m *machine) same(what string, before host.State, look func() (host.State, error)) {
	m.t.Helper()
	var diff string
	settled := host.Poll(30*time.Second, func() bool {
		now, err := look()
		if err != nil {
			diff = err.Error()
			return false
		}
		diff = host.Diff(before, now)
		return diff == ""
	})
	if !settled {
		m.t.Errorf("%s is not as before:\n%s", what, diff)
	}
}

// unchanged notes how the host and these guests look now, and returns what
// checks that they look so again.
func (m *machine) unchanged(guests ...*host.Guest) (check func(when string)) {
	m.t.Helper()
	before := m.state(m.State)
	var each []host.State
	for _, g := range guests {
		each = append(each, m.state(g.State))
	}
	return func(when string) {
		m.t.Helper()
		m.same("the host "+when, before, m.State)
		for i, g := range guests {
			m.same(fmt.Sprintf("guest %s %s", g.Word, when), each[i], g.State)
		}
	}
}

func (m *machine) reaches(from *host.Guest, addr string) {
	m.t.Helper()
	// The first packet has to get through: success is not reported before.
	if r := ping(from, addr); r.Code != 0 {
		m.t.Errorf("%s does not reach %s:\n%v", from.Word, addr, r)
	}
}

// ping sends one packet, whose answer a busy machine may be slow to look at.
func ping(from *host.Guest, addr string, more ...string) host.Result {
	return from.Run("busybox", slices.Concat([]string{"ping", "-c", "1", "-W", "10"}, more, []string{addr})...)
}

func (m *machine) cut(from *host.Guest, addr string, more ...string) {
	m.t.Helper()
	if r := from.Run("busybox", slices.Concat([]string{"ping", "-c", "1", "-W", "1"}, more, []string{addr})...); r.Code == 0 {
		m.t.Errorf("%s reaches %s:\n%v", from.Word, addr, r)
	}
}

// links of the host or of a guest.
func (m *machine) links(of interface {
	Links() (map[string]host.Link, error)
}) map[string]host.Link {
	m.t.Helper()
	l, err := of.Links()
	m.check(err)
	return l
}

// ourRules are the firewall rules that carry our comment, of one family:
// iptables-save or ip6tables-save.
func (m *machine) ourRules(save string) (rules []string) {
	m.t.Helper()
	for l := range strings.Lines(m.do(save)) {
		if strings.Contains(l, "gopipework") {
			rules = append(rules, strings.TrimSpace(l))
		}
	}
	return rules
}

// rules checks how many rules of ours there are. -1 is for IPv6 with an
// engine: the newer ones drop there too, the older ones do not.
func (m *machine) rules(ipv4, ipv6 int) {
	m.t.Helper()
	if r := m.ourRules("iptables-save"); len(r) != ipv4 {
		m.t.Errorf("%d IPv4 rules of ours, should be %d: %q", len(r), ipv4, r)
	}
	if r := m.ourRules("ip6tables-save"); ipv6 >= 0 && len(r) != ipv6 {
		m.t.Errorf("%d IPv6 rules of ours, should be %d: %q", len(r), ipv6, r)
	}
}

// kill kills a process, and waits until it holds nothing any more.
func (m *machine) kill(pid int) {
	m.t.Helper()
	m.check(syscall.Kill(pid, syscall.SIGKILL))
	if !host.Poll(host.Patience, func() bool { return host.Dead(pid) }) {
		m.t.Fatalf("process %d does not die", pid)
	}
}

// says checks that a text has every one of the words.
func (m *machine) says(what, text string, words ...string) {
	m.t.Helper()
	for _, w := range words {
		if !strings.Contains(text, w) {
			m.t.Errorf("%s does not say %q:\n%s", what, w, text)
		}
	}
}

// command prepares a command on the machine that the tests run on.
func command(name string, args ...string) *exec.Cmd {
	if name == "gopipework" {
		name = filepath.Join(bin, name)
	}
	cmd := program.Command(name, args...)
	cmd.Env = append(program.Env(bin), "LC_ALL=C", "HOME="+bin)
	return cmd
}
