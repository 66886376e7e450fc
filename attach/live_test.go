package attach

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/gopipework/gopipework/internal/build"

	testhost "github.com/gopipework/gopipework/e2e/host"
	"github.com/gopipework/gopipework/e2e/program"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/spec"
	"golang.org/x/sys/unix"
)

// These tests run on the real kernel, in network namespaces of their own.

var needRoot = testhost.NeedRoot

// newNamespace returns a new network namespace, which lives as long as the
// file is open. Its lo is up.
func newNamespace(t testing.TB) *os.File {
	t.Helper()
	ns := testhost.NewNamespace(t)
	in(t, ns, "ip", "link", "set", "lo", "up")
	return ns
}

// in runs a command in the namespace and returns its output.
func in(t testing.TB, ns *os.File, args ...string) string {
	t.Helper()
	out, err := tryIn(ns, args...)
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func tryIn(ns *os.File, args ...string) (string, error) {
	return runWith([]*os.File{ns}, "nsenter", append([]string{"--net=/proc/self/fd/3"}, args...)...)
}

// runWith runs a command that has the files as its descriptors from 3 on.
func runWith(files []*os.File, name string, args ...string) (string, error) {
	cmd := program.Command(name, args...)
	cmd.ExtraFiles = files
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// snapshot is everything about a namespace that an attach could leave behind.
func snapshot(t *testing.T, ns *os.File) string {
	t.Helper()
	const script = `
ip -d -o link; ip -o address; ip route show table all; ip -6 route show table all
ip rule; ip -6 rule; iptables-save; ip6tables-save
grep -s . /proc/sys/net/ipv*/conf/all/* /proc/sys/net/ipv*/conf/default/* /proc/sys/net/bridge/*; true`
	settle(t, ns)
	out := in(t, ns, "sh", "-c", script)
	out = strings.ReplaceAll(out, " state UNKNOWN ", " state UP ") // until the kernel has told; of some, for ever
	return volatile.ReplaceAllString(out, "")
}

// later runs f after a while. The namespaces that the test has made until then
// stay open until f has ended.
func later(t *testing.T, d time.Duration, f func()) {
	var running sync.WaitGroup
	running.Go(func() {
		time.Sleep(d)
		f()
	})
	t.Cleanup(running.Wait)
}

// settle waits until the kernel has told of each link that is up whether it has a
// carrier, which it does up to a second late (linkwatch), and of each IPv6 address
// whether it is free. Until then a flag, an address or a route is missing.
func settle(t *testing.T, ns *os.File) {
	t.Helper()
	c, err := rtnl.Open(ns)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	testhost.Poll(30*time.Second, func() bool {
		links, err := c.Links()
		if err != nil {
			t.Fatal(err)
		}
		// Asked for one link, kernels from 6.8 on announce its carrier first: others
		// hear of it, and it gets its link-local address. To ask for all tells nothing.
		for _, l := range links {
			_, _ = c.LinkByIndex(l.Index)
		}
		links, err1 := c.Links()
		addrs, err2 := c.Addrs()
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		carrier := map[int]bool{}
		for _, l := range links {
			carrier[l.Index] = l.Flags&unix.IFF_LOWER_UP != 0
			if l.Up && carrier[l.Index] != (l.Flags&unix.IFF_RUNNING != 0) {
				return false
			}
		}
		return !slices.ContainsFunc(addrs, func(a rtnl.Addr) bool {
			return carrier[a.Index] && a.Flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) == unix.IFA_F_TENTATIVE
		})
	})
}

// volatile are clocks and counters (iproute2 6.15 prints how many neighbours a
// bridge has learned), whether an address is still tentative, and the
// queueing discipline that a link gets when it is first set up.
var volatile = regexp.MustCompile(`(?m) ?(valid_lft|preferred_lft|\w+_timer|qdisc|fdb_n_learned) +\S+| tentative|\[\d+:\d+\]|^#.*$|.*stable_secret.*`)

func docker(ns *os.File, pid int) guests.Guest {
	var st unix.Stat_t
	unix.Fstat(int(ns.Fd()), &st)
	return guests.Guest{
		GuestInfo: guests.GuestInfo{Runtime: "docker", ID: "0123456789abcdef", Name: "web", PID: pid, NetNS: st.Ino,
			Path: fmt.Sprintf("/proc/self/fd/%d", ns.Fd())},
		Namespace: ns,
	}
}

// mortal is a guest's process that ends when a test says so.
type mortal func() error

func (m mortal) Alive() error { return m() }
func (mortal) Close() error   { return nil }

// mortalGuest returns g with a process that is asked whether it lives.
func mortalGuest(g guests.Guest, alive func() error) guests.Guest {
	return *guests.New(g.GuestInfo, g.Namespace, mortal(alive))
}

// sameAddrs compares addresses by their values, and routes without their order; none and an
// empty list are the same.
var sameAddrs = cmp.Options{
	cmpopts.EquateEmpty(),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmpopts.SortSlices(func(a, b spec.Route) bool { return a.String() < b.String() }),
}

func parsed(t *testing.T, line string) Spec {
	t.Helper()
	s, err := Parse(typed(t, line))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// stage is a host, ready for a kind of attach.
type stage struct {
	name, line string
	host       string // shell commands that make the host what it is
	guest      string // and the guest
}

// dropAll is the firewall of a stock Docker host, for both families.
const dropAll = `
echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables
echo 1 >/proc/sys/net/bridge/bridge-nf-call-ip6tables
iptables -P FORWARD DROP; ip6tables -P FORWARD DROP
`

var stages = []stage{
	{name: "new bridge", line: "brtest web 192.168.1.2/24", host: dropAll},
	{name: "bridge that is there", line: "brx web 192.168.1.2/24 26:2e:71:98:60:8f",
		host: dropAll + `
ip link add brx address 02:00:00:00:00:09 type bridge; ip link set brx up
ip link add old type veth peer name older; ip link set old master brx; ip link set old up; ip link set older up`},
	{name: "bridge that is down", line: "brx web 0/0", host: `
ip link add brx address 02:00:00:00:00:09 type bridge
ip link add old type veth peer name older; ip link set old master brx; ip link set old up; ip link set older up`},
	{name: "macvlan", line: "nic0 web 192.168.1.2/24,2001:db8::2/64@192.168.1.1 --nodad",
		host: `
ip link add nic0 address 02:00:00:00:00:09 type veth peer name wire; ip link set wire up; ip link set nic0 up`},
	{name: "macvlan private", line: "macvlan:nic0 --mode private web 0/0",
		host: "ip link add nic0 type veth peer name wire; ip link set nic0 up; ip link set wire up"},
	{name: "two families and gateways", line: "brtest web 192.168.1.2/24,10.7.0.2/32,2001:db8::2/64@10.9.9.9,2001:db8:9::1 --nodad",
		guest: twoDefaults},
	{name: "source routing", line: "brtest web 192.168.1.2/24,2001:db8::2/64@192.168.1.1,2001:db8::1 --nodad --source-routing " +
		"--route 10.5.0.0/16,via=192.168.1.3 --route 2001:db8:5::/48,via=2001:db8::3,metric=5,table=77", guest: twoDefaults},
	{name: "behind, on a macvlan", line: "nic0 web 192.168.1.2/24,2001:db8::2/64@192.168.1.1,2001:db8::1 --nodad --source-routing --default keep",
		host: "ip link add nic0 type veth peer name wire; ip link set nic0 up; ip link set wire up", guest: twoDefaults},
	{name: "shaped bridge", line: "brtest web 192.168.1.2/24 --rate-in 10mbit --rate-out 512kbit"},
	{name: "shaped macvlan", line: "nic0 web 192.168.1.2/24 --rate-in 10mbit --rate-out 512kbit", host: `
ip link add nic0 address 02:00:00:00:00:09 type veth peer name wire; ip link set wire up; ip link set nic0 up`},
}

// twoDefaults make a guest that has default routes of both families.
const twoDefaults = `
ip link add old type veth peer name older; ip link set old up; ip link set older up
ip address add 172.17.0.2/16 dev old; ip address add 2001:db8:7::2/64 dev old nodad
ip route add default via 172.17.0.1; ip -6 route add default via 2001:db8:7::1`

// quiet spares the stage's own links the wait for duplicate address detection.
const quiet = "echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad\n"

// ready makes a stage and returns its two sides.
func (st stage) ready(t *testing.T) (hostNS, guestNS *os.File) {
	t.Helper()
	hostNS, guestNS = newNamespace(t), newNamespace(t)
	in(t, hostNS, "sh", "-ec", quiet+st.host)
	in(t, guestNS, "sh", "-ec", quiet+st.guest)
	in(t, hostNS, "sh", "-c", "iptables-save; ip6tables-save") // the kernel's tables exist from now on
	return hostNS, guestNS
}

// attempt is Attach, with the sides wrapped and the plan edited on the way.
func attempt(t *testing.T, s Spec, g guests.Guest, hostNS *os.File, wrap func(plan.Side, plan.Kernel) plan.Kernel, edit func(*build.Plan), tell func(string)) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), bound)
	defer cancel()
	m, err := plan.Open(ctx, hostNS, g)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	f, err := observe(ctx, m, s, nil)
	if err != nil {
		t.Fatal(err)
	}
	p, err := planAttach(s, f)
	if err != nil {
		t.Fatal(err)
	}
	m.Wrap(wrap)
	edit(&p)
	return p.Apply(ctx, m, tell)
}

func asItIs(_ plan.Side, k plan.Kernel) plan.Kernel { return k }
func unedited(*build.Plan)                          {}
func untold(string)                                 {}

// TestAttachListDetach is the life of an attachment, on each stage.
func TestAttachListDetach(t *testing.T) {
	needRoot(t)
	for _, st := range stages {
		t.Run(st.name, func(t *testing.T) {
			hostNS, guestNS := st.ready(t)
			s, g := parsed(t, st.line), docker(guestNS, 0)
			hostBefore, guestBefore := snapshot(t, hostNS), snapshot(t, guestNS)
			for i, changed := range []bool{true, false} {
				r, err := runAttach(context.Background(), s, g, hostNS, Options{})
				if err != nil || r.Changed != changed {
					t.Fatalf("attach %d: changed = %v, %v; want %v", i+1, r.Changed, err, changed)
				}
			}
			all, err := runList(context.Background(), hostNS, &g)
			if err != nil || len(all) != 1 || all[0].State != Complete {
				t.Fatalf("list: %+v, %v; want one, complete", all, err)
			}
			if diff := cmp.Diff(s.Addrs, all[0].Interface.Addresses, sameAddrs); diff != "" {
				t.Errorf("addresses (-asked +listed):\n%s", diff)
			}
			for i, changed := range []bool{true, false} {
				r, err := runDetach(context.Background(), Selection{}, g, hostNS, Options{})
				if err != nil || r.Changed != changed {
					t.Fatalf("detach %d: changed = %v, %v; want %v", i+1, r.Changed, err, changed)
				}
			}
			if st.name == "bridge that is down" {
				in(t, hostNS, "ip", "link", "set", "brx", "down") // left up on detach: the contract
			}
			same(t, "host after detach", hostBefore, snapshot(t, hostNS))
			same(t, "guest after detach", guestBefore, snapshot(t, guestNS))
		})
	}
}

// sameSoon is same, a moment later if need be: the kernel announces a carrier that
// comes or goes up to a second late (linkwatch).
func sameSoon(t *testing.T, what, before string, look func() string) {
	t.Helper()
	var after string
	testhost.Poll(30*time.Second, func() bool { after = look(); return after == before })
	same(t, what, before, after)
}

// carriers waits until the links of a namespace have a carrier.
func carriers(t *testing.T, ns *os.File, names ...string) {
	t.Helper()
	c, err := rtnl.Open(ns)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, name := range names {
		var err error
		has := func() bool {
			var l *rtnl.Link
			l, err = c.LinkByName(name)
			return err != nil || l.Carrier
		}
		if !testhost.Poll(30*time.Second, has) || err != nil {
			t.Fatalf("%s has no carrier: %v", name, err)
		}
	}
}

func same(t *testing.T, what, before, after string) {
	t.Helper()
	if before == after {
		return
	}
	lines := func(s string) map[string]bool {
		m := map[string]bool{}
		for l := range strings.Lines(s) {
			m[l] = true
		}
		return m
	}
	was, is := lines(before), lines(after)
	var diff strings.Builder
	for l := range was {
		if !is[l] {
			diff.WriteString("-" + l)
		}
	}
	for l := range is {
		if !was[l] {
			diff.WriteString("+" + l)
		}
	}
	if diff.Len() > 0 { // the kernel keeps no order among most of these
		t.Errorf("%s is not as before (- before, + after):\n%s", what, diff.String())
	}
}

var errPlanned = errors.New("planned")

// failStep fails, and has nothing to undo.
type failStep struct{}

func (failStep) Do(context.Context, *plan.Machine) error   { return errPlanned }
func (failStep) Undo(context.Context, *plan.Machine) error { return nil }
func (failStep) Nature() plan.Nature                       { return plan.Undoable }
func (failStep) String() string                            { return "fail" }

// TestFailAtEveryStep: a plan that fails before its step n, for every n and
// after the last, leaves both sides as they were.
func TestFailAtEveryStep(t *testing.T) {
	needRoot(t)
	for _, st := range stages {
		t.Run(st.name, func(t *testing.T) {
			hostNS, guestNS := st.ready(t)
			host, guest := viewOf(t, hostNS), viewOf(t, guestNS)
			for n, last := 0, false; !last; n++ {
				err := attempt(t, parsed(t, st.line), docker(guestNS, 0), hostNS, asItIs, func(p *build.Plan) {
					last = n == len(p.Steps)
					p.Steps = append(p.Steps[:n:n], append([]plan.Step{failStep{}}, p.Steps[n:]...)...)
				}, untold)
				if !errors.Is(err, errPlanned) || fault.CodeOf(err) == fault.Residue {
					t.Fatalf("step %d: %v", n, err)
				}
				host.same(t, fmt.Sprintf("host after failure at step %d", n))
				guest.same(t, fmt.Sprintf("guest after failure at step %d", n))
				if t.Failed() {
					return
				}
			}
		})
	}
}

// refusing is a kernel that refuses one of the requests made of it, reads and
// writes alike, with an errno.
type refusing struct {
	plan.Kernel
	left  *int // requests until it refuses
	errno unix.Errno
}

func (r refusing) refuse() error {
	*r.left--
	if *r.left == -1 {
		return r.errno
	}
	return nil
}

func (r refusing) LinkByName(name string) (*rtnl.Link, error) {
	if err := r.refuse(); err != nil {
		return nil, err
	}
	return r.Kernel.LinkByName(name)
}

func (r refusing) LinkByIndex(i int) (*rtnl.Link, error) {
	if err := r.refuse(); err != nil {
		return nil, err
	}
	return r.Kernel.LinkByIndex(i)
}

func (r refusing) Addrs() ([]rtnl.Addr, error) {
	if err := r.refuse(); err != nil {
		return nil, err
	}
	return r.Kernel.Addrs()
}

func (r refusing) AddVeth(v rtnl.Veth) error {
	if err := r.refuse(); err != nil {
		return err
	}
	return r.Kernel.AddVeth(v)
}

func (r refusing) AddChild(c rtnl.Child) error {
	if err := r.refuse(); err != nil {
		return err
	}
	return r.Kernel.AddChild(c)
}

func (r refusing) AddBridge(name string, mac net.HardwareAddr, mtu int, group uint32) error {
	if err := r.refuse(); err != nil {
		return err
	}
	return r.Kernel.AddBridge(name, mac, mtu, group)
}

func (r refusing) SetLink(i int, ch rtnl.Change) error {
	if err := r.refuse(); err != nil {
		return err
	}
	return r.Kernel.SetLink(i, ch)
}

func (r refusing) AddAltName(i int, name string) error {
	if err := r.refuse(); err != nil {
		return err
	}
	return r.Kernel.AddAltName(i, name)
}

func (r refusing) AddAddr(i int, p netip.Prefix, nodad bool) error {
	if err := r.refuse(); err != nil {
		return err
	}
	return r.Kernel.AddAddr(i, p, nodad)
}

func (r refusing) AddRoute(rt rtnl.Route, prepend bool) error {
	if err := r.refuse(); err != nil {
		return err
	}
	return r.Kernel.AddRoute(rt, prepend)
}

func (r refusing) AddRule(rule rtnl.Rule) error {
	if err := r.refuse(); err != nil {
		return err
	}
	return r.Kernel.AddRule(rule)
}

func (r refusing) SetSysctl(path, value string) error {
	if err := r.refuse(); err != nil {
		return err
	}
	return r.Kernel.SetSysctl(path, value)
}

// TestErrnoAtEveryRequest: whatever request of an attach the kernel refuses,
// and however, both sides are as before and the error has its class.
func TestErrnoAtEveryRequest(t *testing.T) {
	needRoot(t)
	codes := map[unix.Errno]fault.Code{
		unix.EBUSY: fault.Failed, unix.EEXIST: fault.Conflict, unix.ENODEV: fault.Gone, unix.ENOMEM: fault.Failed,
		unix.EINTR: fault.Failed, unix.EPERM: fault.Permission, unix.EOPNOTSUPP: fault.Unsupported,
		unix.EXFULL: fault.Limit, unix.ETIMEDOUT: fault.Timeout,
	}
	st := stages[5]
	st.host += dropAll
	st.line += " --source-routing"
	hostNS, guestNS := st.ready(t)
	host, guest := viewOf(t, hostNS), viewOf(t, guestNS)
	for errno, code := range codes {
		t.Run(unix.ErrnoName(errno), func(t *testing.T) {
			for n := 0; ; n++ {
				left := n
				err := attempt(t, parsed(t, st.line), docker(guestNS, 0), hostNS, func(_ plan.Side, k plan.Kernel) plan.Kernel {
					return refusing{Kernel: k, left: &left, errno: errno}
				}, unedited, untold)
				if left >= 0 { // nothing was refused: the attach is complete
					if err != nil {
						t.Fatal(err)
					}
					if _, err := runDetach(context.Background(), Selection{}, docker(guestNS, 0), hostNS, Options{}); err != nil {
						t.Fatal(err)
					}
					return
				}
				if got := fault.CodeOf(err); got != code {
					t.Errorf("request %d refused with %v: %s (%v); want %s", n, errno, got, err, code)
				}
				host.same(t, fmt.Sprintf("host after request %d", n))
				guest.same(t, fmt.Sprintf("guest after request %d", n))
				if t.Failed() {
					return
				}
			}
		})
	}
}

// TestUndoLeavesOthersAlone: while an attach waits for duplicate address
// detection, others come to use the bridge and the rule that it has made, or
// the bridge that it has set up. Its undo leaves them what they use.
func TestUndoLeavesOthersAlone(t *testing.T) {
	needRoot(t)
	for _, tt := range []struct{ name, bridge, host string }{
		{"bridge and rule", "brtest", dropAll},
		{"bridge that was down", "brx", "ip link add brx address 02:00:00:00:00:09 type bridge"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			hostNS, first, second := newNamespace(t), newNamespace(t), newNamespace(t)
			in(t, hostNS, "sh", "-ec", quiet+tt.host)
			// The detection lasts until the other has come to its end.
			in(t, first, "sh", "-ec", "echo 20 >/proc/sys/net/ipv6/conf/default/dad_transmits")
			other := docker(second, 0)
			other.Name, other.ID = "db", "ba9876543210"
			ctx, cancel := context.WithCancelCause(context.Background())
			_, err := runAttach(ctx, parsed(t, tt.bridge+" web 2001:db8::2/64"), docker(first, 0), hostNS, Options{Step: func(s string) {
				if strings.HasPrefix(s, "# wait until 2001:db8::2") {
					go func() {
						_, err := runAttach(context.Background(), parsed(t, tt.bridge+" db 192.168.1.3/24"), other, hostNS, Options{})
						if err != nil {
							t.Error(err)
						}
						cancel(errPlanned)
					}()
				}
			}})
			if !errors.Is(err, errPlanned) {
				t.Fatalf("attach: %v; want it interrupted", err)
			}
			if r, err := runAttach(context.Background(), parsed(t, tt.bridge+" db 192.168.1.3/24"), other, hostNS, Options{}); err != nil || r.Changed {
				t.Errorf("the other, after the undo: %v, steps %q; want nothing to do", err, r.Steps)
			}
		})
	}
}

// TestMovedAway: a guest that moves its end into another namespace does not
// escape its detach.
func TestMovedAway(t *testing.T) {
	needRoot(t)
	hostNS, guestNS, nested := newNamespace(t), newNamespace(t), newNamespace(t)
	before := snapshot(t, hostNS)
	g := docker(guestNS, 0)
	if _, err := runAttach(context.Background(), parsed(t, "brtest web 192.168.1.2/24"), g, hostNS, Options{}); err != nil {
		t.Fatal(err)
	}
	moveLink(t, guestNS, "eth1", nested)
	if _, err := runAttach(context.Background(), parsed(t, "brtest web 192.168.1.2/24"), g, hostNS, Options{}); fault.CodeOf(err) != fault.Conflict {
		t.Errorf("the same line: %v; want a conflict", err)
	}
	if r, err := runDetach(context.Background(), Selection{IfName: "eth1"}, g, hostNS, Options{}); err != nil || !r.Changed {
		t.Errorf("detach: changed = %v, %v", r.Changed, err)
	}
	same(t, "host", before, snapshot(t, hostNS))
}

// TestGC: what killed runs leave, wherever they were, goes; what is complete or
// under way stays.
func TestGC(t *testing.T) {
	needRoot(t)
	for _, st := range []stage{stages[0], stages[1], stages[3]} {
		t.Run(st.name, func(t *testing.T) {
			hostNS, guestNS := st.ready(t)
			inhabit(t, guestNS) // gc finds the guest by its process
			s, g := parsed(t, st.line), docker(guestNS, 0)
			host, guest := viewOf(t, hostNS), viewOf(t, guestNS)
			for n, last := 1, false; !last; n++ {
				attempt(t, s, g, hostNS, asItIs, func(p *build.Plan) {
					last = n == len(p.Steps)-1 // all but the mark
					p.Steps = append(p.Steps[:n:n], failStep{})
					for i := range p.Steps[:n] {
						p.Steps[i] = noUndo{p.Steps[i]}
					}
				}, untold)
				if _, err := runGC(context.Background(), hostNS, Options{}); err != nil {
					t.Fatal(err)
				}
				host.same(t, fmt.Sprintf("host after gc of what %d steps left", n))
				guest.same(t, fmt.Sprintf("guest after gc of what %d steps left", n))
				if t.Failed() {
					return
				}
			}
			if _, err := runAttach(context.Background(), s, g, hostNS, Options{}); err != nil {
				t.Fatal(err)
			}
			if r, err := runGC(context.Background(), hostNS, Options{}); err != nil || r.Changed {
				t.Errorf("gc beside a complete attachment: %q, %v; want nothing done", r.Steps, err)
			}
			runDetach(context.Background(), Selection{}, g, hostNS, Options{})
			var beside sync.WaitGroup
			_, err := runAttach(context.Background(), s, g, hostNS, Options{Step: func(step string) {
				if strings.HasPrefix(step, "# wait until br") {
					beside.Go(func() { runGC(context.Background(), hostNS, Options{Timeout: time.Second}) })
				}
			}})
			beside.Wait()
			if err != nil {
				t.Errorf("attach beside gc: %v", err)
			}
		})
	}
}

// TestUndoThatFails: what could not be undone is named, with its own code.
func TestUndoThatFails(t *testing.T) {
	needRoot(t)
	hostNS, guestNS := stages[0].ready(t)
	err := attempt(t, parsed(t, stages[0].line), docker(guestNS, 0), hostNS, func(_ plan.Side, k plan.Kernel) plan.Kernel {
		return stubborn{k}
	}, func(p *build.Plan) { p.Steps[len(p.Steps)-1] = failStep{} }, untold)
	var f *fault.Error
	if !errors.As(err, &f) || f.Code != fault.Residue || !strings.Contains(strings.Join(f.Residue, "\n"), "type veth") {
		t.Fatalf("error %v, residue %q; want the veth in it", err, f.Residue)
	}
	// The same line again deletes what was left and completes.
	if _, err := runAttach(context.Background(), parsed(t, stages[0].line), docker(guestNS, 0), hostNS, Options{}); err != nil {
		t.Fatal(err)
	}
}

// stubborn deletes no link.
type stubborn struct{ plan.Kernel }

func (stubborn) DelLink(int) error { return unix.EBUSY }

// TestGuestDiesAtEveryStep: killed before any step, the guest leaves nothing on
// the host once the kernel has ended its namespace, and the error says that it is
// gone.
func TestGuestDiesAtEveryStep(t *testing.T) {
	needRoot(t)
	const rounds = 5
	hostNS := newNamespace(t)
	in(t, hostNS, "sh", "-ec", dropAll+"iptables-save; ip6tables-save")
	before := snapshot(t, hostNS)
	for n := 1; ; n++ {
		steps := 0
		for range rounds {
			steps = dieAtStep(t, hostNS, n)
			if steps < n {
				return // the plan has no step n: every one was tried
			}
			sameSoon(t, fmt.Sprintf("host after the guest died at step %d", n), before, func() string { return snapshot(t, hostNS) })
			if t.Failed() {
				return
			}
		}
	}
}

// dieAtStep attaches a process that is killed before step n, and returns how
// many steps were begun.
func dieAtStep(t *testing.T, hostNS *os.File, n int) int {
	t.Helper()
	p := program.Command("unshare", "--net", "sh", "-c", "echo ready; exec sleep 100")
	out, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	out.Read(make([]byte, 8))
	alive := true
	kill := func() { p.Process.Kill(); p.Wait(); alive = false }
	defer func() {
		if alive {
			kill()
		}
	}()
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", p.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	g := docker(ns, p.Process.Pid)
	g = mortalGuest(g, func() error {
		if alive {
			return nil
		}
		return fault.New(fault.Gone, "reach guest", "web", "it ended")
	})
	begun := 0
	_, err = runAttach(context.Background(), parsed(t, "brtest web 192.168.1.2/24"), g, hostNS, Options{Step: func(string) {
		if begun++; begun == n {
			kill()
		}
	}})
	if begun < n {
		if err != nil {
			t.Fatal(err)
		}
		if _, err := runDetach(context.Background(), Selection{}, g, hostNS, Options{}); err != nil {
			t.Fatal(err)
		}
		return begun
	}
	if fault.CodeOf(err) != fault.Gone {
		t.Errorf("guest killed at step %d: %v; want that it is gone", n, err)
	}
	return begun
}

// TestHalfMade: what a killed attach leaves, wherever it was, the same line
// completes, and until then list calls it half.
func TestHalfMade(t *testing.T) {
	needRoot(t)
	for _, st := range stages {
		t.Run(st.name, func(t *testing.T) {
			for n, done := 1, false; !done; n++ {
				hostNS, guestNS := st.ready(t)
				s, g := parsed(t, st.line), docker(guestNS, 0)
				// The undo is cut off too: as if the process were gone.
				attempt(t, s, g, hostNS, asItIs, func(p *build.Plan) {
					done = n == len(p.Steps)
					p.Steps = append(p.Steps[:n:n], failStep{})
					for i := range p.Steps[:n] {
						p.Steps[i] = noUndo{p.Steps[i]}
					}
				}, untold)
				all, err := runList(context.Background(), hostNS, &g)
				if err != nil || len(all) == 1 && all[0].State != Half && !done {
					t.Fatalf("list after step %d: %+v, %v", n, all, err)
				}
				if r, err := runAttach(context.Background(), s, g, hostNS, Options{}); err != nil {
					t.Fatalf("the same line after step %d: %+v, %v", n, r, err)
				}
				all, err = runList(context.Background(), hostNS, &g)
				if err != nil || len(all) != 1 || all[0].State != Complete {
					t.Fatalf("list after the same line: %+v, %v", all, err)
				}
			}
		})
	}
}

type noUndo struct{ plan.Step }

func (noUndo) Undo(context.Context, *plan.Machine) error { return nil }

// TestDuplicate: an IPv6 address that somebody on the bridge has is a
// conflict, and undone.
func TestDuplicate(t *testing.T) {
	needRoot(t)
	hostNS, first, second := newNamespace(t), newNamespace(t), newNamespace(t)
	s := parsed(t, "brtest web 2001:db8::2/64")
	other := docker(second, 0)
	other.Name, other.ID = "db", "ba9876543210"
	if _, err := runAttach(context.Background(), s, docker(first, 0), hostNS, Options{}); err != nil {
		t.Fatal(err)
	}
	hostBefore, guestBefore := snapshot(t, hostNS), snapshot(t, second)
	if _, err := runAttach(context.Background(), s, other, hostNS, Options{}); fault.CodeOf(err) != fault.Conflict {
		t.Fatalf("a second holder: %v; want a conflict", err)
	}
	same(t, "host", hostBefore, snapshot(t, hostNS))
	same(t, "guest", guestBefore, snapshot(t, second))
	s.NoDAD = true
	if _, err := runAttach(context.Background(), s, other, hostNS, Options{}); err != nil {
		t.Errorf("unchecked: %v", err)
	}
}

// TestHostileGuest: a guest that renames, moves, deletes and rewrites our
// interface while we attach and detach costs itself its interface, at most.
func TestHostileGuest(t *testing.T) {
	needRoot(t)
	for_ := 5 * time.Second
	if d, err := time.ParseDuration(os.Getenv("GOPIPEWORK_HOSTILE")); err == nil {
		for_ = d
	}
	hostNS, guestNS, elsewhere := newNamespace(t), newNamespace(t), newNamespace(t)
	in(t, hostNS, "sh", "-ec", dropAll+"iptables-save; ip6tables-save; ip link add keep type bridge; ip link add v0 type veth peer name v1")
	before := snapshot(t, hostNS)
	ctx, cancel := context.WithTimeout(context.Background(), for_)
	defer cancel()
	end := hostile(t, []*os.File{guestNS, elsewhere}, `
for c in "name eth9" "alias gopipework" "down" "mtu 600" "netns /proc/self/fd/4" "group 0" "address 02:00:00:00:00:66"; do
ip link set eth1 $c; done; ip link del eth1; ip link del eth9; ip addr flush dev eth1`)
	g := docker(guestNS, 0)
	rounds, won := 0, 0
	for ; ctx.Err() == nil; rounds++ {
		if _, err := runAttach(context.Background(), parsed(t, "brtest web 192.168.1.2/24"), g, hostNS, Options{Timeout: 2 * time.Second}); err == nil {
			won++
		} else if fault.CodeOf(err) == fault.Residue {
			t.Errorf("attach: %v", err)
		}
	}
	end()
	t.Logf("%d attaches, %d of them done before the guest broke them", rounds, won)
	for _, ns := range []*os.File{guestNS, elsewhere} {
		in(t, ns, "sh", "-c", "ip link del eth1; ip link del eth9; true")
	}
	// The bridge and its rule go with the last detach; put one there for it.
	if _, err := runAttach(context.Background(), parsed(t, "brtest web 192.168.1.2/24"), g, hostNS, Options{}); err != nil {
		t.Fatal(err)
	}
	if _, err := runDetach(context.Background(), Selection{All: true}, g, hostNS, Options{}); err != nil {
		t.Fatal(err)
	}
	same(t, "host", before, snapshot(t, hostNS))
}

// hostile runs shell commands in a guest again and again. It returns when that has been
// ended, with all that it has started: a killed program may be in the middle of a request
// to the kernel, which is carried out all the same.
func hostile(t *testing.T, files []*os.File, commands string, args ...string) (end func()) {
	t.Helper()
	cmd := program.Command("nsenter", append([]string{"--net=/proc/self/fd/3", "sh", "-c", "for i in $(seq 100000); do " + commands + "\ndone 2>/dev/null", "sh"}, args...)...)
	cmd.ExtraFiles = files
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	cmd.Stdout = io.Discard // a pipe, which Wait reads until nobody has its other end
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end = sync.OnceFunc(func() { _ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL); _ = cmd.Wait() })
	t.Cleanup(end)
	return end
}

// TestObserveWritesNothing: looking changes nothing.
func TestObserveWritesNothing(t *testing.T) {
	needRoot(t)
	hostNS, guestNS := stages[5].ready(t)
	before := snapshot(t, hostNS) + snapshot(t, guestNS)
	r, err := runAttach(context.Background(), parsed(t, stages[5].line), docker(guestNS, 0), hostNS, Options{DryRun: true})
	if err != nil || len(r.Steps) == 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	same(t, "host and guest", before, snapshot(t, hostNS)+snapshot(t, guestNS))
}

// TestNoLeaks: many attaches later there are no more descriptors and threads.
func TestNoLeaks(t *testing.T) {
	needRoot(t)
	hostNS, guestNS := stages[0].ready(t)
	count := func(dir string) int {
		e, _ := os.ReadDir(dir)
		return len(e)
	}
	var fds, threads int
	for i := range 60 {
		if i == 10 { // the runtime has what it needs
			fds, threads = count("/proc/self/fd"), count("/proc/self/task")
		}
		if _, err := runAttach(context.Background(), parsed(t, "brtest web 192.168.1.2/24"), docker(guestNS, 0), hostNS, Options{}); err != nil {
			t.Fatal(err)
		}
		if _, err := runDetach(context.Background(), Selection{}, docker(guestNS, 0), hostNS, Options{}); err != nil {
			t.Fatal(err)
		}
	}
	runtime.GC()
	if now := count("/proc/self/fd"); now > fds+2 {
		t.Errorf("%d descriptors, %d after the first rounds", now, fds)
	}
	if now := count("/proc/self/task"); now > threads+8 {
		t.Errorf("%d threads, %d after the first rounds", now, threads)
	}
}
