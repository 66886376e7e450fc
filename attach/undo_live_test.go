package attach

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/guestnet"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/hostaccess"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/source"

	testhost "github.com/gopipework/gopipework/e2e/host"
	"github.com/gopipework/gopipework/e2e/program"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/plan"
	"golang.org/x/sys/unix"
)

// What an attach has set up or made on the host, and somebody else has come to
// use by the time that it fails, stays; what nobody uses does not.
func TestUndoSparesOthers(t *testing.T) {
	needRoot(t)
	const card = "ip link add nic0 type veth peer name wire; ip link set wire up"
	for _, tt := range []struct {
		name, line, host string
		object           string            // of the host
		alone            string            // what is shown of it after an undo; "": it is not there
		users            map[string]string // shell commands that begin to use it
	}{
		{"a card that was down", "nic0 web 192.168.1.2/24", card, "nic0", "down", map[string]string{
			"a macvlan":                  "ip link add mv0 link nic0 type macvlan mode bridge",
			"a macvtap":                  "ip link add mv0 link nic0 type macvtap mode bridge",
			"a VLAN":                     "ip link add mv0 link nic0 type vlan id 7",
			"a macvlan somewhere else":   "ip link add mv0 link nic0 netns %d type macvlan mode bridge",
			"an address":                 "ip address add 10.0.0.1/24 dev nic0",
			"an address of IPv6":         "ip address add fd00::1/64 dev nic0 nodad",
			"a VRF":                      "ip link add vrf0 type vrf table 10; ip link set nic0 master vrf0",
			"another attachment of ours": "",
		}},
		{"a bridge that was down", "brx web 192.168.1.2/24", "ip link add brx type bridge; ip link add p0 type veth peer name p1; ip link set p0 master brx",
			"brx", "down", map[string]string{
				"a port":                     "ip link add q0 type veth peer name q1; ip link set q0 master brx",
				"a macvlan":                  "ip link add mv0 link brx type macvlan",
				"a VLAN":                     "ip link add mv0 link brx type vlan id 7",
				"an address":                 "ip address add 10.0.0.1/24 dev brx",
				"another attachment of ours": "",
			}},
		{"a bridge that was made", "brx web 192.168.1.2/24", "", "brx", "", map[string]string{
			"a port":                     "ip link add q0 type veth peer name q1; ip link set q0 master brx",
			"a macvlan somewhere else":   "ip link add mv0 link brx netns %d type macvlan",
			"a VLAN":                     "ip link add mv0 link brx type vlan id 7",
			"an address":                 "ip address add 10.0.0.1/24 dev brx",
			"another attachment of ours": "",
		}},
		{"a VLAN that was made", "nic0 web 192.168.1.2/24 @9", card, "nic0.9", "", map[string]string{
			"a macvlan":  "ip link add mv0 link nic0.9 type macvlan",
			"an address": "ip address add 10.0.0.1/24 dev nic0.9",
		}},
		{"the host's own macvlan", "nic0 web 192.168.1.2/24 --host-access", card, hostaccess.AccessName("nic0"), "", map[string]string{
			"an address":                 "ip address add 10.0.0.1/24 dev " + hostaccess.AccessName("nic0"),
			"another attachment of ours": "",
		}},
	} {
		tt.users["nobody"] = "true"
		for by, begin := range tt.users {
			t.Run(tt.name+", by "+by, func(t *testing.T) {
				hostNS, guestNS, otherNS := newNamespace(t), newNamespace(t), newNamespace(t)
				other := inhabit(t, otherNS)
				in(t, hostNS, "sh", "-ec", quiet+tt.host)
				second := strings.Replace(tt.line, "192.168.1.2", "192.168.1.3", 1)
				comes := func(what string) {
					switch {
					case what != "fail":
					case begin == "":
						m := beside(t, hostNS, otherNS, second)
						if m != nil {
							t.Error(m)
						}
					default:
						c := begin
						if strings.Contains(c, "%d") {
							c = fmt.Sprintf(c, other)
						}
						if out, err := tryIn(hostNS, "sh", "-ec", c); err != nil && lacking.MatchString(out) {
							testhost.Lacking(t, "8021q", out)
						} else if err != nil {
							t.Error(out)
						}
					}
				}
				// The host's lock is let go, so that the other can come to its end.
				err := attempt(t, parsed(t, tt.line), docker(guestNS, 0), hostNS, asItIs, func(p *build.Plan) {
					last := len(p.Steps) - 1
					p.Steps = append(p.Steps[:last:last], letGo{}, failStep{})
				}, comes)
				if fault.CodeOf(err) == fault.Unsupported {
					testhost.Lacking(t, "8021q", err.Error())
				}
				if !errors.Is(err, errPlanned) || fault.CodeOf(err) == fault.Residue {
					t.Fatal(err)
				}
				shown, err := tryIn(hostNS, "ip", "-o", "link", "show", "dev", tt.object)
				state := "down"
				if there := err == nil; !there {
					state = ""
				} else if regexp.MustCompile(`[<,]UP[,>]`).MatchString(shown) {
					state = "up"
				}
				if want := map[bool]string{true: tt.alone, false: "up"}[by == "nobody"]; state != want {
					t.Errorf("%s is %q, want %q: %s", tt.object, state, want, shown)
				}
			})
		}
	}
}

// lacking is what ip says about a kind that the kernel has not got.
var lacking = regexp.MustCompile("Unknown device type|not supported")

// letGo lets the host's lock go, as a wait does.
type letGo struct{}

func (letGo) Do(_ context.Context, m *plan.Machine) error { m.HostLock.Release(); return nil }
func (letGo) Undo(context.Context, *plan.Machine) error   { return nil }
func (letGo) Nature() plan.Nature                         { return plan.Undoable }
func (letGo) String() string                              { return "let go" }

// beside attaches another guest meanwhile.
func beside(t *testing.T, hostNS, guestNS *os.File, line string) error {
	g := docker(guestNS, 0)
	g.ID, g.Name = "fedcba9876543210", "other"
	_, err := runAttach(context.Background(), parsed(t, line), g, hostNS, Options{})
	return err
}

// A detach that is killed after any of its steps, and then made again, leaves
// nothing: also of what it has made on the host for the attachment.
func TestDetachAgain(t *testing.T) {
	needRoot(t)
	for _, st := range append(slices.Clone(stages),
		stage{name: "host access", line: "nic0 web 192.168.1.2/24 --host-access", host: "ip link add nic0 type veth peer name wire; ip link set nic0 up; ip link set wire up"},
		stage{name: "a VLAN as parent", line: "nic0 web 192.168.1.2/24 @9 --host-access", host: "ip link add nic0 type veth peer name wire; ip link set nic0 up; ip link set wire up"},
		stage{name: "a source filter", line: "brx web 192.168.1.2/24 --antispoof"},
		uplinkStage,
		stage{name: "an isolated port", line: "brx web 192.168.1.2/24 --isolated"},
		stage{name: "VLANs on a bridge", line: "brx web 192.168.1.2/24 @9 --vlan-filtering", host: "ip link add brx address 02:00:00:00:00:09 type bridge; ip link set brx addrgenmode none up"},
	) {
		t.Run(st.name, func(t *testing.T) {
			hostNS, guestNS := st.ready(t)
			g := docker(guestNS, 0)
			inhabit(t, guestNS)
			look := func() string { return inventory(t, hostNS) + inventory(t, guestNS) }
			ctx := context.Background()
			before := look()
			last := false
			for n := 1; !last; n++ {
				if _, err := runAttach(ctx, parsed(t, st.line), g, hostNS, Options{}); fault.CodeOf(err) == fault.Unsupported {
					testhost.Lacking(t, "8021q", err.Error())
				} else if err != nil {
					t.Fatal(err)
				}
				if n == 1 && strings.Contains(st.host, "brx") && strings.Contains(st.name, "down") {
					before = "" // a bridge that was set up stays so
				}
				m, err := plan.Open(ctx, hostNS, g)
				if err != nil {
					t.Fatal(err)
				}
				f, err := observeDetach(ctx, m)
				if err != nil {
					t.Fatal(err)
				}
				p, err := planDetach(Selection{}, f)
				if err != nil {
					t.Fatal(err)
				}
				last = n >= len(p.Steps)
				p.Steps = p.Steps[:min(n, len(p.Steps))]
				done := p.Commands()
				if err := p.Remove(ctx, m, untold); err != nil {
					t.Fatal(err)
				}
				m.Close()
				if _, err := runDetach(ctx, Selection{}, g, hostNS, Options{}); err != nil {
					t.Fatal(err)
				}
				if before == "" {
					before = look()
				}
				sameSoon(t, fmt.Sprintf("after %q and the same again", done), before, look)
			}
		})
	}
}

// An undo or a detach that fails at such a step names it.
func TestResidueNames(t *testing.T) {
	p := plan.Place{Side: plan.InGuest, Enter: "nsenter -t 1 -n "}
	err := plan.WithResidue(errPlanned, errPlanned, []plan.Step{source.GetLease{Place: p, Inner: "eth1"}, guestnet.WriteDNS{Place: p}, ours.DelLink{Name: "veth1pl1"}})
	e := (*fault.Error)(nil)
	if !errors.As(err, &e) || len(e.Residue) != 3 || !strings.Contains(e.Hint, "lease of eth1") || !strings.Contains(e.Hint, "resolv.conf") {
		t.Errorf("%+v", e)
	}
}

// What writes into a guest's file is over when the step is: a signal that comes
// before the first change leaves the file alone, one that comes later waits.
func TestWithin(t *testing.T) {
	m := &plan.Machine{}
	for _, begun := range []bool{false, true} {
		ctx, cancel := context.WithCancel(context.Background())
		changed, ended := false, make(chan struct{})
		err := guestnet.Within(ctx, m, nil, func(begin func() error) error {
			defer close(ended)
			if begun {
				if err := begin(); err != nil {
					return err
				}
			}
			cancel()
			time.Sleep(50 * time.Millisecond)
			if !begun {
				if err := begin(); err != nil {
					return err
				}
			}
			changed = true
			return nil
		})
		if begun && (err != nil || !changed) {
			t.Errorf("a signal in the middle of writing: %v, changed: %v", err, changed)
		}
		<-ended
		if !begun && (err == nil || changed) {
			t.Errorf("a signal before: %v, changed: %v", err, changed)
		}
	}
}

// A signal at any moment of an attach with name servers: they are there if it
// says so, and otherwise they are not.
func TestDNSInterrupted(t *testing.T) {
	needRoot(t)
	notesHere(t)
	hostNS, guestNS := stages[0].ready(t)
	g, file := rooted(t, guestNS)
	s := parsed(t, "brtest web 192.168.1.2/24 --dns 10.0.0.53")
	stop := errors.New("stop")
	undone := 0
	for i := range 40 {
		ctx, cancel := context.WithCancelCause(context.Background())
		// The moments lie around that of the write.
		_, err := runAttach(ctx, s, g, hostNS, Options{Step: func(step string) {
			if strings.Contains(step, "name servers") {
				time.AfterFunc(time.Duration(i)*20*time.Microsecond, func() { cancel(stop) })
			}
		}})
		want := "nameserver 10.0.0.53\n"
		if err != nil {
			undone++
			want = "nameserver 10.0.0.1\n"
			if !errors.Is(err, stop) {
				t.Fatal(err)
			}
		}
		time.Sleep(5 * time.Millisecond) // whatever still writes would have written
		if b, rerr := os.ReadFile(file); rerr != nil || string(b) != want {
			t.Fatalf("after %v it is %q, %v", err, b, rerr)
		}
		if _, err := runDetach(context.Background(), Selection{}, g, hostNS, Options{}); err != nil {
			t.Fatal(err)
		}
		cancel(nil)
	}
	t.Logf("%d of 40 were undone", undone)
}

// A resolv.conf that the kernel makes up is refused, and changes nothing.
func TestDNSPseudoFile(t *testing.T) {
	needRoot(t)
	notesHere(t)
	for _, made := range []string{"/proc/sys/net/ipv4/ip_forward", "/proc/version", "/sys/kernel/uevent_seqnum"} {
		hostNS, guestNS := stages[0].ready(t)
		g := mounted(t, guestNS, "mount --bind "+made+" $root/etc/resolv.conf")
		before := inventory(t, hostNS)
		_, err := runAttach(context.Background(), parsed(t, "brtest web 192.168.1.2/24 --dns 10.0.0.53"), g, hostNS, Options{})
		if fault.CodeOf(err) != fault.Conflict || !strings.Contains(err.Error(), "the kernel generates") {
			t.Errorf("%s: %v", made, err)
		}
		sameSoon(t, "the host", before, func() string { return inventory(t, hostNS) })
		if _, err := os.Stat(ours.RunDir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: a note is left: %v", made, err)
		}
	}
}

// A file that cannot be written at detach: the interface goes, what is left is
// named, and a detach that can write it ends it.
func TestDNSUnwritable(t *testing.T) {
	needRoot(t)
	notesHere(t)
	hostNS, guestNS := stages[0].ready(t)
	g := mounted(t, guestNS, "mount -t tmpfs none $root/etc; echo nameserver 10.0.0.1 > $root/etc/resolv.conf")
	mount := func(how string) {
		t.Helper()
		if out, err := program.Command("nsenter", "-t", strconv.Itoa(g.PID), "-m", "--", "mount", "-o", "remount,"+how, filepath.Join("/proc", strconv.Itoa(g.PID), "root", "etc")).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	before := inventory(t, hostNS)
	if _, err := runAttach(context.Background(), parsed(t, "brtest web 192.168.1.2/24 --dns 10.0.0.53"), g, hostNS, Options{}); err != nil {
		t.Fatal(err)
	}
	mount("ro")
	for _, code := range []fault.Code{fault.Residue, fault.Failed} { // the second has changed nothing
		_, err := runDetach(context.Background(), Selection{}, g, hostNS, Options{})
		e := (*fault.Error)(nil)
		if !errors.As(err, &e) || e.Code != code || !strings.Contains(e.Error(), "resolv.conf") {
			t.Errorf("%+v", err)
		} else if code == fault.Residue && (len(e.Residue) != 1 || !strings.Contains(e.Residue[0], "resolv.conf")) {
			t.Errorf("%q", e.Residue)
		}
		sameSoon(t, "the host", before, func() string { return inventory(t, hostNS) })
	}
	// An attach that has nothing to do with it says so, and goes on.
	r, err := runAttach(context.Background(), parsed(t, "brtest web 192.168.1.2/24"), g, hostNS, Options{})
	if err != nil || !strings.Contains(strings.Join(r.Warnings, "\n"), "resolv.conf") {
		t.Errorf("%+v, %v", r.Warnings, err)
	}
	mount("rw")
	if _, err := runDetach(context.Background(), Selection{All: true}, g, hostNS, Options{}); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(g.PID), "root", "etc", "resolv.conf")); err != nil || string(b) != "nameserver 10.0.0.1\n" {
		t.Errorf("it is %q, %v", b, err)
	}
}

// mounted is a guest whose root is $root, in a mount namespace of its own where
// a script has mounted something.
func mounted(t *testing.T, ns *os.File, script string) guests.Guest {
	t.Helper()
	busybox, err := program.Look("busybox")
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	cmd := program.Command("nsenter", "--net=/proc/self/fd/3", "--", "unshare", "-m", "sh", "-ec",
		"root="+root+"; mkdir $root/etc; touch $root/etc/resolv.conf; cp "+busybox+" $root/busybox; "+script+`; exec chroot $root /busybox sleep 1000`)
	cmd.ExtraFiles = []*os.File{ns}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	runs(t, cmd.Process.Pid, root+"/busybox")
	return docker(ns, cmd.Process.Pid)
}

// What somebody has put on a link, at either end, to shape what leaves or to
// filter what comes in, is not replaced by a set.
func TestSetSparesQueues(t *testing.T) {
	needRoot(t)
	for _, tt := range []struct {
		name, attach, set string
		at                string // "host" or "guest"
		made              string // tc commands, PORT being the host's end
		fine              bool   // it is none of theirs
	}{
		{"at the root of the host's end", "brx web 192.168.1.2/24", "--rate-in 1mbit", "host", "tc qdisc add dev PORT root handle 1: htb default 7", false},
		{"at the root of the host's end, in place of ours", "brx web 192.168.1.2/24 --rate-in 5mbit", "--rate-in 1mbit", "host", "tc qdisc replace dev PORT root handle 1: htb default 7", false},
		{"at the root of the guest's end", "brx web 192.168.1.2/24", "--rate-out 1mbit", "guest", "tc qdisc add dev eth1 root handle 1: htb default 7", false},
		{"a filter of what comes in", "nic0 web 192.168.1.2/24", "--rate-in 1mbit", "guest",
			"tc qdisc add dev eth1 ingress; tc filter add dev eth1 parent ffff: protocol ip prio 7 u32 match ip src 10.9.9.9/32 flowid 1:1", false},
		{"a clsact", "nic0 web 192.168.1.2/24", "--rate-in 1mbit", "guest", "tc qdisc add dev eth1 clsact", false},
		{"at the root of the ifb", "nic0 web 192.168.1.2/24 --rate-in 5mbit", "--rate-in 1mbit", "guest", "tc qdisc replace dev eth1-in root handle 1: htb default 7", false},
		{"an ingress that does nothing, as a killed run leaves it", "nic0 web 192.168.1.2/24", "--rate-in 1mbit", "guest", "tc qdisc add dev eth1 ingress", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			hostNS, guestNS := newNamespace(t), newNamespace(t)
			in(t, hostNS, "sh", "-ec", quiet+"ip link add nic0 type veth peer name wire; ip link set wire up; ip link set nic0 up")
			g := docker(guestNS, 0)
			r, err := runAttach(context.Background(), parsed(t, tt.attach), g, hostNS, Options{})
			if fault.CodeOf(err) == fault.Unsupported {
				testhost.Lacking(t, "ifb", err.Error())
			} else if err != nil {
				t.Fatal(err)
			}
			port := r.Attachments[0].Host.Port
			ns := map[string]*os.File{"host": hostNS, "guest": guestNS}[tt.at]
			in(t, ns, "sh", "-ec", strings.ReplaceAll(tt.made, "PORT", port))
			look := func() string {
				return in(t, ns, "sh", "-c", "(tc qdisc show; tc filter show dev eth1 ingress 2>/dev/null) | sed 's/direct_packets_stat [0-9]*//'")
			}
			before := look()
			_, err = runSet(context.Background(), typedSet(t, tt.set), g, hostNS, Options{})
			if tt.fine {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if fault.CodeOf(err) != fault.Conflict {
				t.Errorf("it is not refused: %v", err)
			}
			if now := look(); now != before {
				t.Errorf("before:\n%safter:\n%s", before, now)
			}
		})
	}
}

// gc removes what a killed run was writing, and not what is being written.
func TestGCTorn(t *testing.T) {
	needRoot(t)
	notesHere(t)
	if err := os.Mkdir(ours.RunDir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := func(name string) string { return filepath.Join(ours.RunDir, name) }
	for _, name := range []string{".1.dns.json", ".2.json", "3.note"} {
		if err := os.WriteFile(path(name), []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	writing, err := os.Open(path(".2.json"))
	if err != nil {
		t.Fatal(err)
	}
	defer writing.Close()
	if err := unix.Flock(int(writing.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if _, err := runGC(context.Background(), newNamespace(t), Options{}); err != nil {
		t.Fatal(err)
	}
	for name, stays := range map[string]bool{".1.dns.json": false, ".2.json": true, "3.note": true} {
		if _, err := os.Stat(path(name)); (err == nil) != stays {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A detach that has restored the guest's resolv.conf cannot write the name servers
// again: if it fails after that, it says what it has not done, and not that nothing
// has changed.
func TestDetachRestoresForGood(t *testing.T) {
	needRoot(t)
	notesHere(t)
	hostNS, guestNS := stages[0].ready(t)
	g, file := rooted(t, guestNS)
	if _, err := runAttach(context.Background(), parsed(t, "brtest web 192.168.1.2/24 --dns 10.0.0.53"), g, hostNS, Options{}); err != nil {
		t.Fatal(err)
	}
	in(t, guestNS, "ip", "link", "del", "eth1")
	m, err := plan.Open(context.Background(), hostNS, g)
	if err != nil {
		t.Fatal(err)
	}
	f, err := observeDetach(context.Background(), m)
	if err != nil {
		t.Fatal(err)
	}
	p, err := planDetach(Selection{}, f)
	if err != nil {
		t.Fatal(err)
	}
	p.Steps = slices.DeleteFunc(p.Steps, func(s plan.Step) bool { _, is := s.(guestnet.RestoreDNS); return !is })
	if len(p.Steps) != 1 {
		t.Fatalf("%d steps restore the file, want 1: this proves nothing", len(p.Steps))
	}
	p.Steps = append(p.Steps, failStep{})
	err = p.Remove(context.Background(), m, untold)
	m.Close()
	if !errors.Is(err, errPlanned) || fault.CodeOf(err) != fault.Residue {
		t.Errorf("%v; want residue", err)
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "nameserver 10.0.0.1\n" {
		t.Errorf("the file is %q, %v", b, err)
	}
	if _, err := runDetach(context.Background(), Selection{}, g, hostNS, Options{}); err != nil {
		t.Errorf("detach again: %v", err)
	}
}
