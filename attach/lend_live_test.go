package attach

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gopipework/gopipework/internal/kind"
	"github.com/gopipework/gopipework/internal/ours"

	testhost "github.com/gopipework/gopipework/e2e/host"
	"github.com/gopipework/gopipework/e2e/program"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/plan"
)

// lendable are the kinds of virtual links that can be lent as a card, each with
// the commands that make it, called card0, on a host that has nic0.
var lendable = map[string]string{
	"macvlan":          "ip link add link nic0 name card0 type macvlan",
	"macvlan passthru": "ip link add link nic0 name card0 type macvlan mode passthru",
	"macvtap":          "ip link add link nic0 name card0 type macvtap",
	"ipvlan":           "ip link add link nic0 name card0 type ipvlan",
	"vlan":             "ip link add link nic0 name card0 type vlan id 7",
	"dummy":            "ip link add card0 type dummy",
	"ifb":              "ip link add card0 type ifb",
	"veth":             "ip link add card0 type veth peer name wire0; ip link set wire0 up; ip link set card0 up",
	"vxlan":            "ip link add card0 type vxlan id 9 dstport 4789 local 127.0.0.1",
	"vxlan on a card":  "ip link add card0 type vxlan id 9 dstport 4789 dev nic0 group 239.1.1.1",
	"geneve":           "ip link add card0 type geneve id 9 remote 10.0.0.1",
	"gretap":           "ip link add card0 type gretap local 127.0.0.1 remote 127.0.0.2",
	"gre":              "ip link add card0 type gre local 127.0.0.1 remote 127.0.0.2",
	"ipip":             "ip link add card0 type ipip local 127.0.0.1 remote 127.0.0.2",
	"sit":              "ip link add card0 type sit local 127.0.0.1 remote 127.0.0.2",
	"ip6tnl":           "ip link add card0 type ip6tnl local ::1 remote ::2",
	"bond":             "ip link add card0 type bond",
	"vrf":              "ip link add card0 type vrf table 7",
	"bridge":           "ip link add card0 type bridge",
	"macsec":           "ip link add link nic0 name card0 type macsec",
	"team":             "ip link add card0 type team",
	"nlmon":            "ip link add card0 type nlmon",
	"vcan":             "ip link add card0 type vcan",
	"vxcan":            "ip link add card0 type vxcan peer name wire0",
	"tun":              "ip tuntap add card0 mode tun",
	"tap":              "ip tuntap add card0 mode tap",
}

// lendHost is a host with a card0 of a kind that is to be lent, and a guest.
func lendHost(t *testing.T, kind string) cardStage {
	t.Helper()
	return lendHostWith(t, strings.Fields(kind)[0], lendable[kind])
}

func lendHostWith(t *testing.T, needs, make string) cardStage {
	t.Helper()
	needRoot(t)
	notesHere(t)
	st := cardStage{hostNS: newNamespace(t), guest: docker(newNamespace(t), 0), spec: parsed(t, "phys:card0 -i lan0 web 0/0 --force-phys")}
	in(t, st.hostNS, "sh", "-ec", quiet+"sysctl -qw net.ipv6.conf.default.addr_gen_mode=1; ip link add nic0 type veth peer name wire; ip link set wire up; ip link set nic0 up")
	carriers(t, st.hostNS, "nic0", "wire")
	if out, err := tryIn(st.hostNS, "sh", "-ec", make); err != nil {
		testhost.Lacking(t, needs, "the kernel refuses "+make+": "+out)
	}
	return st
}

func (st cardStage) detach(t *testing.T) {
	t.Helper()
	if _, err := runDetach(context.Background(), Selection{IfName: "lan0"}, st.guest, st.hostNS, Options{}); err != nil {
		t.Errorf("detach: %v", err)
	}
}

// eventually waits until something is so.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	if !testhost.Poll(30*time.Second, is) {
		t.Fatalf("it never comes to be that %s", what)
	}
}

func noNotes(t *testing.T) {
	t.Helper()
	if notes, _ := os.ReadDir(ours.RunDir); len(notes) > 0 {
		t.Errorf("left: %v", notes)
	}
}

// TestLendKinds: a card of any kind is returned by detach as it was: the device
// itself and not one like it, which its index tells; or the kernel does not let
// it go, and then it has not left.
func TestLendKinds(t *testing.T) {
	for kind := range lendable {
		t.Run(strings.ReplaceAll(kind, " ", "-"), func(t *testing.T) {
			st := lendHost(t, kind)
			in(t, st.hostNS, "sh", "-ec", `ip link set card0 alias "to the lab" group 7; ip link set card0 up || ip link set card0 mtu 1400`)
			tryIn(st.hostNS, "ip", "address", "add", "192.0.2.1/24", "dev", "card0")
			before := st.look(t)
			index := linkIn(t, st.hostNS, "card0").Index
			if _, err := runAttach(context.Background(), st.spec, st.guest, st.hostNS, Options{}); err != nil {
				if fault.CodeOf(err) != fault.Unsupported {
					t.Errorf("attach: %v", err)
				}
				sameSoon(t, "all after it was refused", before, func() string { return st.look(t) })
				return
			}
			if l := linkIn(t, st.guest.Namespace, "lan0"); plan.IsOurs(l) {
				t.Error("what is lent looks as if it were made here")
			}
			st.one(t)
			if r, err := runGC(context.Background(), st.hostNS, Options{}); err != nil || r.Changed {
				t.Errorf("gc while it is lent: %q, %v", r.Steps, err)
			}
			st.detach(t)
			if got := linkIn(t, st.hostNS, "card0").Index; got != index {
				t.Errorf("the card has the index %d, and had %d", got, index)
			}
			sameSoon(t, "all after detach", before, func() string { return st.look(t) })
		})
	}
}

// TestLendNotOurs: a guest that gives the card our group, with a mark or without,
// does not have it deleted, by whatever cleans up.
func TestLendNotOurs(t *testing.T) {
	for _, kind := range []string{"macvlan", "ifb", "vxlan", "veth"} {
		for what, clean := range map[string]func(*testing.T, cardStage){
			"detach": func(t *testing.T, st cardStage) { st.detach(t) },
			"all": func(t *testing.T, st cardStage) {
				if _, err := runDetach(context.Background(), Selection{All: true}, st.guest, st.hostNS, Options{}); err != nil {
					t.Error(err)
				}
			},
			"gc": func(t *testing.T, st cardStage) {
				if _, err := runGC(context.Background(), st.hostNS, Options{}); err != nil {
					t.Error(err)
				}
				st.detach(t)
			},
			"another host": func(t *testing.T, st cardStage) {
				if _, err := runDetach(context.Background(), Selection{All: true}, st.guest, newNamespace(t), Options{}); err != nil {
					t.Error(err)
				}
				st.detach(t)
			},
		} {
			t.Run(kind+"/"+what, func(t *testing.T) {
				st := lendHost(t, kind)
				before := st.look(t)
				st.attach(t, true)
				in(t, st.guest.Namespace, "ip", "link", "set", "lan0", "group", fmt.Sprint(plan.Group), "alias", "")
				clean(t, st)
				sameSoon(t, "all", before, func() string { return st.look(t) })
			})
		}
	}
	t.Run("the door", func(t *testing.T) {
		st := lendHost(t, "macvlan")
		st.attach(t, true)
		k := kernelOf(t, st.guest.Namespace)
		if err := ours.DeleteLink(k, linkIn(t, st.guest.Namespace, "lan0").Index); fault.CodeOf(err) != fault.Conflict {
			t.Errorf("deleteLink of a lent card: %v; want a conflict", err)
		}
		st.detach(t)
	})
}

// TestLendIndexTaken: the index that a card has is taken in the guest, and its
// own one at home when it comes back. One without a MAC address is found as well.
func TestLendIndexTaken(t *testing.T) {
	for _, kind := range []string{"macvlan", "veth", "vxlan", "ipvlan", "vcan"} {
		t.Run(kind, func(t *testing.T) {
			st := lendHost(t, kind)
			index := fmt.Sprint(linkIn(t, st.hostNS, "card0").Index)
			in(t, st.guest.Namespace, "ip", "link", "add", "taken", "index", index, "type", "bridge")
			before := st.look(t)
			st.attach(t, true)
			in(t, st.guest.Namespace, "ip", "link", "set", "lan0", "down") // until Linux 6.3, what is up keeps its name
			in(t, st.guest.Namespace, "ip", "link", "set", "lan0", "name", "lost")
			st.detach(t)
			sameSoon(t, "all", before, func() string { return st.look(t) })
			st.attach(t, true)
			in(t, st.hostNS, "ip", "link", "add", "taken", "index", index, "type", "bridge")
			st.detach(t)
			linkIn(t, st.hostNS, "card0")
			noNotes(t)
		})
	}
}

// TestLendLowMTU: a card without IPv6, for its MTU is below 1280, is returned; also
// where the guest has turned IPv6 on and changed how it makes its address.
func TestLendLowMTU(t *testing.T) {
	for what, guest := range map[string]string{
		"as it is":     "true",
		"higher":       "ip link set lan0 mtu 1500 addrgenmode none",
		"higher first": "ip link set lan0 mtu 1500; ip link set lan0 addrgenmode random",
	} {
		t.Run(strings.ReplaceAll(what, " ", "-"), func(t *testing.T) {
			st := lendHostWith(t, "veth", "ip link add card0 mtu 1000 type veth peer name wire0; ip link set wire0 up; ip link set card0 up")
			before := st.look(t)
			st.attach(t, true)
			tryIn(st.guest.Namespace, "sh", "-c", guest)
			st.detach(t)
			sameSoon(t, "all", before, func() string { return st.look(t) })
		})
	}
	t.Run("lower", func(t *testing.T) {
		st := lendHostWith(t, "veth", "ip link add card0 type veth peer name wire0; ip link set wire0 up; ip link set card0 up addrgenmode none; sysctl -qw net.ipv6.conf.card0.accept_ra=0")
		before := st.look(t)
		st.attach(t, true)
		in(t, st.guest.Namespace, "ip", "link", "set", "lan0", "mtu", "1000")
		st.detach(t)
		sameSoon(t, "all", before, func() string { return st.look(t) })
		in(t, st.hostNS, "sh", "-ec", "[ $(sysctl -n net.ipv6.conf.card0.accept_ra) = 0 ]")
	})
}

// nested is a namespace that a process is in, as a container's nested one is.
func nested(t *testing.T) (pid int) {
	t.Helper()
	cmd := program.Command("unshare", "--net", "sleep", "300")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	eventually(t, "the process is in its namespace", func() bool {
		own, _ := os.Readlink("/proc/self/ns/net")
		its, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", cmd.Process.Pid))
		comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", cmd.Process.Pid))
		return err == nil && its != own && strings.HasPrefix(string(comm), "sleep")
	})
	return cmd.Process.Pid
}

// TestLendMovedOn: a card that its guest has moved on is not forgotten: list and
// gc tell, and detach returns it, from a namespace with a process as from one
// that a descriptor alone holds.
func TestLendMovedOn(t *testing.T) {
	for _, kind := range []string{"macvlan", "veth", "vxlan", "dummy", "vlan"} {
		t.Run(kind, func(t *testing.T) {
			st := lendHost(t, kind)
			before := st.look(t)
			st.attach(t, true)
			pid := nested(t)
			in(t, st.guest.Namespace, "ip", "link", "set", "lan0", "name", "hidden", "netns", fmt.Sprint(pid))
			r, err := runGC(context.Background(), st.hostNS, Options{})
			if err != nil || r.Changed || !strings.Contains(strings.Join(r.Warnings, "\n"), fmt.Sprintf("detach pid:%d", pid)) {
				t.Errorf("gc: changed = %v, %q, %v; want to be told of pid:%d", r.Changed, r.Warnings, err, pid)
			}
			if _, err := runAttach(context.Background(), st.spec, st.guest, st.hostNS, Options{}); fault.CodeOf(err) != fault.Conflict {
				t.Errorf("the same line: %v; want a conflict", err)
			}
			st.detach(t)
			sameSoon(t, "all after detach", before, func() string { return st.look(t) })

			st.attach(t, true)
			ns := newNamespace(t)
			moveLink(t, st.guest.Namespace, "lan0", ns)
			st.detach(t)
			sameSoon(t, "all after detach from a held namespace", before, func() string { return st.look(t) })
		})
	}
}

// TestLendDeleted: what the guest has deleted is gone, and so is what went with
// its namespace or with the card it was on; the line works again once the host
// has made another.
func TestLendDeleted(t *testing.T) {
	for _, kind := range []string{"macvlan", "veth", "vxlan", "ifb", "dummy"} {
		t.Run(kind, func(t *testing.T) {
			for what, end := range map[string]func(t *testing.T, st *cardStage){
				"deleted": func(t *testing.T, st *cardStage) { in(t, st.guest.Namespace, "ip", "link", "del", "lan0") },
				"its guest ended": func(t *testing.T, st *cardStage) {
					ns := st.guest.Namespace
					st.guest = docker(newNamespace(t), 0)
					ns.Close()
				},
			} {
				st := lendHost(t, kind)
				st.attach(t, true)
				end(t, &st)
				remake := func() bool {
					_, err := tryIn(st.hostNS, "sh", "-ec", "ip link del wire0 2>/dev/null || true; "+lendable[kind])
					return err == nil
				}
				eventually(t, "the card can be made again", remake)
				// The kernel may still be at work on the end of the namespace.
				eventually(t, "the card can be lent again", func() bool {
					_, err := runAttach(context.Background(), st.spec, st.guest, st.hostNS, Options{})
					return err == nil
				})
				st.detach(t)
				linkIn(t, st.hostNS, "card0")
				noNotes(t)
				st.attach(t, true)
				end(t, &st)
				eventually(t, "gc forgets what was "+what, func() bool {
					if _, err := runGC(context.Background(), st.hostNS, Options{}); err != nil {
						t.Fatal(err)
					}
					notes, _ := os.ReadDir(ours.RunDir)
					return len(notes) == 0
				})
			}
		})
	}
}

// TestLendKept: a namespace that outlives its container keeps the card, and is
// named; where nobody is in it, gc takes the card home.
func TestLendKept(t *testing.T) {
	st := lendHost(t, "macvlan")
	before := inventory(t, st.hostNS)
	first := program.Command("unshare", "--net", "sh", "-c", "sleep 300 & echo $!; exec sleep 300")
	out, err := first.StdoutPipe()
	if err == nil {
		err = first.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { first.Process.Kill(); first.Wait() })
	var second int
	if _, err := fmt.Fscan(out, &second); err != nil {
		t.Fatal(err)
	}
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", second))
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	st.guest = docker(ns, first.Process.Pid)
	st.attach(t, true)
	first.Process.Kill()
	first.Wait()
	if where := whereLent(st.hostNS, "web"); !strings.Contains(where, fmt.Sprintf("gopipework detach pid:%d lan0", second)) {
		t.Errorf("who holds it: %q; want pid:%d", where, second)
	}
	r, err := runGC(context.Background(), st.hostNS, Options{})
	if err != nil || r.Changed || !strings.Contains(strings.Join(r.Warnings, "\n"), fmt.Sprintf("gopipework detach pid:%d lan0", second)) {
		t.Errorf("gc: changed = %v, %q, %v; want pid:%d named", r.Changed, r.Warnings, err, second)
	}
	if p, err := os.FindProcess(second); err == nil {
		p.Kill()
	}
	eventually(t, "gc returns it when nobody is there", func() bool {
		if _, err := runGC(context.Background(), st.hostNS, Options{}); err != nil {
			t.Fatal(err)
		}
		_, err := tryIn(st.hostNS, "ip", "link", "show", "card0")
		return err == nil
	})
	sameSoon(t, "the host", before, func() string { return inventory(t, st.hostNS) })
	noNotes(t)
}

// TestLendUnreadNote: a note that cannot be read is named, and harms nobody's card
// but its own.
func TestLendUnreadNote(t *testing.T) {
	st := lendHost(t, "veth")
	before := st.look(t)
	st.attach(t, true)
	cookie, err := kernelOf(t, st.hostNS).Cookie()
	if err != nil {
		t.Fatal(err)
	}
	other, _ := json.Marshal(ours.Loan{HostNS: cookie})
	for what, bad := range map[string]func(string) error{
		"empty":        func(p string) error { return os.WriteFile(p, nil, 0o600) },
		"cut short":    func(p string) error { return os.WriteFile(p, []byte(`{"host": 1, "card": {`), 0o600) },
		"of another":   func(p string) error { return os.WriteFile(p, other, 0o600) },
		"a directory":  func(p string) error { return os.Mkdir(p, 0o700) },
		"a pipe":       func(p string) error { return program.Command("mkfifo", p).Run() },
		"a dead link":  func(p string) error { return os.Symlink("nowhere", p) },
		"of a network": func(p string) error { return os.WriteFile(p, []byte(`{"host": "eth0"}`), 0o600) },
	} {
		path := filepath.Join(ours.RunDir, fmt.Sprintf("%d.eth7%s", cookie, ours.LoanSuffix))
		if err := bad(path); err != nil {
			t.Fatal(err)
		}
		if w := strings.Join(ours.UnreadLoans(st.hostNS), "\n"); !strings.Contains(w, "eth7") {
			t.Errorf("%s: %q; want eth7 named", what, w)
		}
		st.one(t)
		if r, err := runGC(context.Background(), st.hostNS, Options{}); err != nil || r.Changed || len(r.Warnings) != 1 {
			t.Errorf("gc, note %s: %q, %v; want one warning", what, r.Warnings, err)
		}
		if _, err := runAttach(context.Background(), parsed(t, "phys:eth7 web 0/0"), st.guest, st.hostNS, Options{}); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("attach of its card, note %s: %v; want the file named", what, err)
		}
		r, err := runDetach(context.Background(), Selection{IfName: "lan0"}, st.guest, st.hostNS, Options{})
		if err != nil || !r.Changed || len(r.Warnings) != 1 {
			t.Errorf("detach, note %s: %q, %v; want one warning", what, r.Warnings, err)
		}
		st.attach(t, true)
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
	}
	st.detach(t)
	sameSoon(t, "all", before, func() string { return st.look(t) })
}

// TestLendByAnotherName: asked for by an alternative name, twice is once.
func TestLendByAnotherName(t *testing.T) {
	long := "enp" + strings.Repeat("x", 60)
	st := lendHostWith(t, "veth", "ip link add card0 type veth peer name wire0; ip link set wire0 up; ip link set card0 up; ip link property add dev card0 altname enp7s6 altname "+long)
	before := st.look(t)
	st.spec = parsed(t, "phys:enp7s6 -i lan0 web 0/0")
	st.attach(t, true)
	st.attach(t, false)
	st.detach(t)
	sameSoon(t, "all", before, func() string { return st.look(t) })
}

// TestLendHostileLoop: a guest that renames the card, gives it names of the host
// and moves it to and fro in a loop does not keep it, nor is it forgotten.
func TestLendHostileLoop(t *testing.T) {
	for what, loop := range map[string]string{
		"names":    "ip link property add dev lan0 altname card0; ip link property del dev lan0 altname card0",
		"renames":  "ip link set lan0 name x1; ip link property add dev x1 altname wire; ip link set x1 name lan0; ip link property del dev lan0 altname wire",
		"moves on": "ip link set lan0 netns $1; nsenter --net=/proc/$1/ns/net ip link set lan0 netns $$",
	} {
		for _, kind := range []string{"macvlan"} {
			t.Run(strings.ReplaceAll(what, " ", "-")+"/"+kind, func(t *testing.T) {
				st := lendHost(t, kind)
				before := st.look(t)
				pid := nested(t)
				for round := range 2 {
					st.attach(t, true)
					end := hostile(t, []*os.File{st.guest.Namespace}, loop, fmt.Sprint(pid))
					_, err := runDetach(context.Background(), Selection{All: true}, st.guest, st.hostNS, Options{})
					end()
					if err != nil { // it is held up by force: then the loan stands, and the next one does it
						var f *fault.Error
						if notes, _ := os.ReadDir(ours.RunDir); len(notes) != 1 || !errors.As(err, &f) {
							t.Errorf("round %d: %v, and %d notes", round, err, len(notes))
						}
						t.Logf("round %d: %v", round, err)
					}
					if _, err := runDetach(context.Background(), Selection{All: true}, st.guest, st.hostNS, Options{}); err != nil {
						t.Errorf("round %d, when it is quiet: %v", round, err)
					}
					sameSoon(t, "all", before, func() string { return st.look(t) })
					if t.Failed() {
						return
					}
				}
			})
		}
	}
}

// TestLendFoundLate: a card that its guest has moved on is returned also if it took all
// the time there is to find it.
func TestLendFoundLate(t *testing.T) {
	st := lendHost(t, "veth")
	was := kind.FetchTimeout
	kind.FetchTimeout = 0
	t.Cleanup(func() { kind.FetchTimeout = was })
	before := st.look(t)
	st.attach(t, true)
	second := newNamespace(t)
	inhabit(t, second)
	moveLink(t, st.guest.Namespace, "lan0", second)
	st.detach(t)
	sameSoon(t, "all", before, func() string { return st.look(t) })
	noNotes(t)
}
