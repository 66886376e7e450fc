package rtnl

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// at returns the qdiscs of a link that somebody made.
func (s space) at(index int) (made []Qdisc) {
	s.t.Helper()
	all, err := s.Qdiscs()
	ok(s.t, "list qdiscs", err)
	for _, q := range all {
		if q.Index == index && q.Handle != 0 {
			made = append(made, q)
		}
	}
	return made
}

// TestTBF: what is set is what is read, is what tc says; and a change of the
// rate keeps the qdisc.
func TestTBF(t *testing.T) {
	needRoot(t)
	s := newSpace(t)
	s.sh("ip link add near type veth peer name far; ip link set near up; ip link set far up")
	a := s.link("near").Index
	for rate, word := range map[uint64]string{1250000: "rate 10Mbit", 64000: "rate 512Kbit", 12500000000: "rate 100Gbit"} {
		q := Qdisc{Index: a, Kind: "tbf", Handle: QdiscHandle(0x6770, 0), Parent: QdiscRoot,
			TBF: &TBF{Rate: rate, Burst: 40000, Limit: 200000}}
		ok(t, "set", s.SetQdisc(q))
		if text := s.sh("tc qdisc show dev near"); !strings.Contains(text, word) || !strings.Contains(text, "qdisc tbf 6770: root") {
			t.Errorf("tc says %q, not %q", text, word)
		}
		q.TBF.Burst = 0
		if diff := cmp.Diff([]Qdisc{q}, s.at(a)); diff != "" {
			t.Errorf("read back (-set +read):\n%s", diff)
		}
	}
	ok(t, "delete", s.DelQdisc(Qdisc{Index: a, Handle: QdiscHandle(0x6770, 0), Parent: QdiscRoot}))
	if left := s.at(a); len(left) != 0 {
		t.Errorf("left: %+v", left)
	}
}

func TestNetem(t *testing.T) {
	needRoot(t)
	s := newSpace(t)
	s.sh("ip link add near type veth peer name far; ip link set near up; ip link set far up")
	a := s.link("near").Index
	q := Qdisc{Index: a, Kind: "netem", Handle: QdiscHandle(0x6770, 0), Parent: QdiscRoot,
		Netem: &Netem{Limit: 10000, Loss: math.MaxUint32 / 100, Delay: 100 * time.Millisecond, Jitter: 1500 * time.Microsecond}}
	err := s.SetQdisc(q)
	if errors.Is(err, unix.ENOENT) {
		lacking(t, "netem", unix.EOPNOTSUPP)
	}
	ok(t, "set", err)
	below := Qdisc{Index: a, Kind: "tbf", Handle: QdiscHandle(0x6771, 0), Parent: QdiscHandle(0x6770, 1),
		TBF: &TBF{Rate: 125000, Limit: 20000}}
	ok(t, "set tbf below", s.SetQdisc(Qdisc{Index: a, Kind: "tbf", Handle: below.Handle, Parent: below.Parent,
		TBF: &TBF{Rate: 125000, Limit: 20000, Burst: 5000}}))
	if diff := cmp.Diff([]Qdisc{q, below}, s.at(a)); diff != "" {
		t.Errorf("read back (-set +read):\n%s", diff)
	}
	if text := s.sh("tc qdisc show dev near"); !strings.Contains(text, "delay 100ms  1.5ms loss 1%") {
		t.Errorf("tc says %q", text)
	}
	ok(t, "delete tbf below", s.DelQdisc(below))
	if diff := cmp.Diff([]Qdisc{q}, s.at(a)); diff != "" {
		t.Errorf("after deleting what is below (-want +read):\n%s", diff)
	}
}

// TestRedirect: what comes in by a link passes an ifb, and comes in after all.
func TestRedirect(t *testing.T) {
	needRoot(t)
	s, far := newSpace(t), newSpace(t)
	ok(t, "veth", s.AddVeth(Veth{Name: "near", PeerName: "end", PeerNS: far.ns}))
	err := s.AddChild(Child{Name: "near-in", Kind: "ifb"})
	lacking(t, "ifb", err)
	ok(t, "ifb", err)
	s.sh("ip address add 10.0.0.1/24 dev near; ip link set near up; ip link set near-in up")
	far.sh("ip address add 10.0.0.2/24 dev end; ip link set end up")
	a, ifb := s.link("near").Index, s.link("near-in").Index
	to, err := s.Redirect(a)
	if to != 0 || err != nil {
		t.Errorf("before: %d, %v", to, err)
	}
	ok(t, "redirect", s.RedirectIngress(a, ifb))
	answers(t, "again", s.RedirectIngress(a, ifb), unix.EEXIST)
	if to, err := s.Redirect(a); to != ifb || err != nil {
		t.Errorf("redirect leads to %d, %v; want %d", to, err, ifb)
	}
	far.sh("busybox ping -c 1 -W 30 10.0.0.1")
	if text := s.sh("tc -s qdisc show dev near-in"); strings.Contains(text, "Sent 0 bytes") {
		t.Errorf("no packet passed the ifb: %s", text)
	}
	ok(t, "no ingress", s.NoIngress(a))
	if to, err := s.Redirect(a); to != 0 || err != nil {
		t.Errorf("after: %d, %v", to, err)
	}
	far.sh("busybox ping -c 1 -W 30 10.0.0.1")
}

// FuzzParseQdisc: a malformed message is an error or less, never a panic.
func FuzzParseQdisc(f *testing.F) {
	q := Qdisc{Kind: "tbf", TBF: &TBF{Rate: 1, Burst: 2, Limit: 3}}
	f.Add(append(make([]byte, 20), q.TBF.options().Serialize()...))
	f.Add(append(append(make([]byte, 20), 10, 0, 1, 0, 'n', 'e', 't', 'e', 'm', 0, 0, 0), Netem{}.options().Serialize()...))
	f.Fuzz(func(t *testing.T, m []byte) { parseQdisc(m) })
}

// TestQueue: a link tells the kind of what stands at its root, so that the qdiscs of a
// namespace need not be read to learn that nothing does.
func TestQueue(t *testing.T) {
	needRoot(t)
	s := newSpace(t)
	s.sh("ip link add near type veth peer name far; ip link set near up; ip link set far up")
	for _, change := range []struct{ do, queue string }{
		{"true", "noqueue"},
		{"tc qdisc add dev near root handle 6770: tbf rate 1mbit burst 4000 limit 20000", "tbf"},
		{"ip link set near down", "tbf"},
		{"tc qdisc del dev near root; ip link set near up", "noqueue"},
	} {
		s.sh(change.do)
		if l := s.link("near"); l.Queue != change.queue {
			t.Errorf("%s: %q, not %q", change.do, l.Queue, change.queue)
		}
	}
}
