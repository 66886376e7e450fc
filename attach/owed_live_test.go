package attach

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/ours"
)

// owedStage is a host to which a card was returned without one route, whose source
// address the host lost meanwhile.
func owedStage(t *testing.T) cardStage {
	t.Helper()
	needRoot(t)
	notesHere(t)
	st := cardStage{hostNS: newNamespace(t), guest: docker(newNamespace(t), 0), spec: parsed(t, "phys:nic0 -i lan0 web 0/0 --force-phys")}
	in(t, st.hostNS, "sh", "-ec", quiet+`for n in 0 1; do ip link add nic$n type veth peer name wire$n; ip link set nic$n up; ip link set wire$n up; done
ip address add 192.0.0.1/24 dev nic0; ip address add 192.0.1.1/24 dev nic1
ip route add 10.76.0.0/16 dev nic0; ip route add 10.77.0.0/16 via 192.0.0.9 dev nic0 src 192.0.1.1 metric 5`)
	carriers(t, st.hostNS, "nic0", "wire0", "nic1", "wire1")
	st.attach(t, true)
	in(t, st.hostNS, "ip", "address", "del", "192.0.1.1/24", "dev", "nic1")
	_, err := runDetach(context.Background(), Selection{}, st.guest, st.hostNS, Options{})
	checkOwed(t, "detach", err)
	if !strings.Contains(hintOf(err), "gopipework gc") || !strings.Contains(hintOf(err), ours.RunDir) {
		t.Errorf("the hint %q does not say how the loan ends", hintOf(err))
	}
	in(t, st.hostNS, "sh", "-ec", "ip address show dev nic0 | grep -q 192.0.0.1/24; ip route show | grep -q ^10.76.0.0/16")
	if a := st.one(t); a.State != Half {
		t.Errorf("list: %+v; want it half", a)
	}
	return st
}

func hintOf(err error) string {
	var f *fault.Error
	if errors.As(err, &f) {
		return f.Hint
	}
	return ""
}

// checkOwed checks that the route, and only that, is named as missing, with the
// command that adds it.
func checkOwed(t *testing.T, what string, err error) {
	t.Helper()
	var f *fault.Error
	if !errors.As(err, &f) || f.Code != fault.Residue || len(f.Residue) != 1 ||
		!strings.HasPrefix(f.Residue[0], "ip route append 10.77.0.0/16 via 192.0.0.9 dev nic0 src 192.0.1.1 metric 5") {
		t.Errorf("%s: %v; want the route named as residue, with its command", what, err)
	}
}

func (st cardStage) gc(t *testing.T) Result {
	t.Helper()
	r, err := runGC(context.Background(), st.hostNS, Options{})
	if err != nil {
		t.Errorf("gc: %v", err)
	}
	return r
}

// TestLendMissing: the loan of a returned card stays for what is missing, until
// that is there, or there is something else in its place, or the card has gone. What
// somebody has changed since is left alone.
func TestLendMissing(t *testing.T) {
	for name, c := range map[string]struct {
		meanwhile string // done on the host; then gc has nothing left to do
		then      string // what holds afterwards
		warns     string // of gc; "": none
	}{
		"it can come back":       {"ip address add 192.0.1.1/24 dev nic1", "ip route show 10.77.0.0/16 metric 5 | grep -q 'via 192.0.0.9 dev nic0 src 192.0.1.1'", ""},
		"brought back by hand":   {"ip address add 192.0.1.1/24 dev nic1; ip route append 10.77.0.0/16 via 192.0.0.9 dev nic0 src 192.0.1.1 metric 5", "[ $(ip route show 10.77.0.0/16 | wc -l) = 1 ]", ""},
		"another in its place":   {"ip address add 192.0.1.1/24 dev nic1; ip route add 10.77.0.0/16 via 192.0.1.9 metric 5", "! ip route show 10.77.0.0/16 | grep nic0", "somebody has changed it"},
		"changed in other ways":  {"ip address add 192.0.1.1/24 dev nic1; ip link set nic0 mtu 1300 alias mine; ip route del 10.76.0.0/16; ip address add 192.0.7.1/24 dev nic0", "ip -d link show nic0 | grep -q 'mtu 1300'; ip link show nic0 | grep -q mine; ! ip route show | grep ^10.76; ip address show nic0 | grep -q 192.0.7.1; ip route show | grep -q ^10.77", ""},
		"renamed":                {"ip link set nic0 down; ip link set nic0 name lab0 up; ip link add nic0 type bridge; ip address add 192.0.1.1/24 dev nic1", "ip link show nic0 type bridge | grep -q nic0; ip route show | grep -q '^10.77.*dev lab0'", ""},
		"deleted":                {"ip link del nic0; ip link add nic0 type bridge", "ip link show nic0 | grep -q nic0", ""},
		"its other link is gone": {"ip link del nic1", "", "-"},
	} {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			st := owedStage(t)
			_, err := runGC(context.Background(), st.hostNS, Options{})
			checkOwed(t, "gc", err)
			in(t, st.hostNS, "sh", "-ec", c.meanwhile)
			if c.warns == "-" { // the source address is all that is missing
				_, err := runGC(context.Background(), st.hostNS, Options{})
				checkOwed(t, "gc", err)
				return
			}
			r := st.gc(t)
			if said := strings.Join(r.Warnings, "\n"); (c.warns == "") != (said == "") || !strings.Contains(said, c.warns) {
				t.Errorf("gc warns: %q; want %q", said, c.warns)
			}
			in(t, st.hostNS, "sh", "-ec", c.then)
			noNotes(t)
			if r := st.gc(t); r.Changed {
				t.Errorf("gc again: %q", r.Steps)
			}
		})
	}
}

// TestLendMissingAgain: a card on which something is missing is lent again, and the
// next time that it is returned all of it is restored; detach tries again too.
func TestLendMissingAgain(t *testing.T) {
	st := owedStage(t)
	_, err := runDetach(context.Background(), Selection{}, st.guest, st.hostNS, Options{})
	checkOwed(t, "detach again", err)
	r, err := runAttach(context.Background(), st.spec, st.guest, st.hostNS, Options{})
	if err != nil || !strings.Contains(strings.Join(r.Warnings, "\n"), "10.77.0.0/16") {
		t.Fatalf("attach: %q, %v; want a warning that names the route", r.Warnings, err)
	}
	if a := st.one(t); a.State != Complete {
		t.Errorf("list: %+v", a)
	}
	in(t, st.hostNS, "ip", "address", "add", "192.0.1.1/24", "dev", "nic1")
	st.detach(t)
	in(t, st.hostNS, "sh", "-ec", "ip route show | grep -q '^10.77.*src 192.0.1.1 metric 5'; ip address show dev nic0 | grep -q 192.0.0.1/24; ip route show | grep -q ^10.76.0.0/16")
	noNotes(t)
}

// TestLendMissingKeepsNobody: a card on which something is missing does not keep
// gc from what else there is to do, nor another card of its old name from being lent.
func TestLendMissingKeepsNobody(t *testing.T) {
	st := owedStage(t)
	in(t, st.hostNS, "sh", "-ec", "ip link set nic0 down; ip link set nic0 name lab0 up; ip link set nic1 down; ip link set nic1 name nic0 up")
	for _, opt := range []Options{{DryRun: true}, {}} {
		if _, err := runAttach(context.Background(), st.spec, st.guest, st.hostNS, opt); fault.CodeOf(err) != fault.Conflict || !strings.Contains(hintOf(err), ours.RunDir) {
			t.Errorf("attach of another nic0, %+v: %v; want a conflict, and how to end it", opt, err)
		}
	}
	torn := ours.RunDir + "/.17"
	if err := os.WriteFile(torn, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := runGC(context.Background(), st.hostNS, Options{})
	checkOwed(t, "gc", err)
	if _, err := os.Stat(torn); err == nil {
		t.Error("gc has not gone on")
	}
	in(t, st.hostNS, "sh", "-ec", "rm "+ours.RunDir+"/*.loan.json")
	st.attach(t, true)
	st.detach(t)
	noNotes(t)
}

// TestLendMaster: a card is a port again of what it was one of, and has the addresses
// and routes that it loses by becoming one; without that it is returned all the same, and it is said.
func TestLendMaster(t *testing.T) {
	for kind, make := range map[string]string{
		"bridge": "ip link add sw0 type bridge",
		"vrf":    "ip link add sw0 type vrf table 7",
		"bond":   "ip link add sw0 type bond",
		"team":   "ip link add sw0 type team",
	} {
		t.Run(kind, func(t *testing.T) {
			st := lendHostWith(t, kind, make)
			st.spec = parsed(t, "phys:nic0 -i lan0 web 0/0 --force-phys")
			in(t, st.hostNS, "sh", "-ec", `ip link set sw0 up; ip link set nic0 down; ip link set nic0 master sw0; ip link set nic0 up
ip address add 192.0.2.1/24 dev nic0; ip address add 2001:db8::1/64 dev nic0 nodad
ip route add 10.77.0.0/16 via 192.0.2.9 table 7; ip -6 route add 2001:db8:77::/48 via 2001:db8::9 dev nic0 table 7
ip neighbour add 192.0.2.9 lladdr 02:00:00:00:00:09 nud permanent dev nic0`)
			carriers(t, st.hostNS, "nic0", "wire")
			before := st.look(t)
			st.attach(t, true)
			st.detach(t)
			sameSoon(t, "all after detach", before, func() string { return st.look(t) })
			in(t, st.hostNS, "sh", "-ec", "ip link show nic0 | grep 'master sw0'; ip neighbour show dev nic0 nud permanent | grep 192.0.2.9")

			st.attach(t, true)
			in(t, st.hostNS, "ip", "link", "del", "sw0")
			if _, err := runDetach(context.Background(), Selection{}, st.guest, st.hostNS, Options{}); fault.CodeOf(err) != fault.Residue || !strings.Contains(err.Error(), "there is no sw0 any more") {
				t.Errorf("detach without its %s: %v", kind, err)
			}
			in(t, st.hostNS, "sh", "-ec", "ip address show dev nic0 | grep 2001:db8::1/64")
			noNotes(t)
		})
	}
}

// TestLendQueues: what does not come back with a card is said before it goes; what the
// kernel gives every card is not worth a word.
func TestLendQueues(t *testing.T) {
	st := lendHostWith(t, "veth", "true")
	st.spec = parsed(t, "phys:nic0 -i lan0 web 0/0")
	for script, want := range map[string]string{"true": "", "tc qdisc replace dev nic0 root handle 7: tbf rate 10mbit burst 10k limit 20k": "tbf"} {
		in(t, st.hostNS, "sh", "-ec", script)
		r, err := runAttach(context.Background(), st.spec, st.guest, st.hostNS, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if said := strings.Join(r.Warnings, "\n"); strings.Contains(said, "queueing disciplines") != (want != "") || !strings.Contains(said, want) {
			t.Errorf("%s: warnings %q; want %q", script, said, want)
		}
		st.detach(t)
		in(t, st.hostNS, "sh", "-c", "tc qdisc del dev nic0 root 2>/dev/null; true")
	}
	noNotes(t)
}
