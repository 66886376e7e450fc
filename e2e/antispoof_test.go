//go:build linux

package e2e

import (
	"bytes"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopipework/gopipework/e2e/host"
)

// TestAntispoofFrames: of the frames of a guest that may send what it likes, only those come
// to a neighbour that are from the addresses of the attachment; without the filter, all do.
// What a bridge learns by no frame that it passes on is not learnt either.
func TestAntispoofFrames(t *testing.T) {
	m := newMachine(t)
	web, db := m.guest(), m.guest()
	m.quiet("brtest", db.Word, "10.0.0.3/24,2001:db8::3/64", "--nodad")
	a := m.attach("brtest", web.Word, "10.0.0.2/24,2001:db8::2/64", "--antispoof", "--nodad", "-l", "web0")
	s := m.stationOf(web, "10.0.0.2", "2001:db8::2")
	s.another = m.stationOf(db, "10.0.0.3", "2001:db8::3")
	s.another.another = &station{mac: net.HardwareAddr{2, 0, 0, 0, 0, 0x77}}
	m.reaches(web, "10.0.0.3")

	m.heard(web, db, s, true)
	learnt := func() bool {
		return strings.Contains(m.do("bridge fdb show br brtest"), s.another.another.mac.String())
	}
	if learnt() {
		t.Error("the bridge has learnt another MAC address of the guest")
	}
	m.ok("set", web.Word, "eth1", "--antispoof", "off")
	m.heard(web, db, s, false)
	if !learnt() {
		t.Error("without the filter the bridge has not learnt it")
	}
	if a.Attachment.Interface.MAC != s.mac.String() {
		t.Errorf("the guest's MAC address is %s, and not %s", s.mac, a.Attachment.Interface.MAC)
	}
}

// stationOf is a guest with these addresses on eth1.
func (m *machine) stationOf(g *host.Guest, v4, v6 string) *station {
	m.t.Helper()
	mac, err := net.ParseMAC(strings.Fields(g.Run("ip", "-br", "link", "show", "eth1").Stdout)[2])
	m.check(err)
	link := netip.AddrFrom16([16]byte{0xfe, 0x80, 8: mac[0] ^ 2, 9: mac[1], 10: mac[2], 11: 0xff, 12: 0xfe, 13: mac[3], 14: mac[4], 15: mac[5]})
	return &station{mac: mac, v4: netip.MustParseAddr(v4), v6: netip.MustParseAddr(v6), link: link}
}

// heard has web send all frames, and checks which of them db hears.
func (m *machine) heard(web, db *host.Guest, s *station, filtered bool) {
	m.t.Helper()
	from, err := web.Frames("eth1")
	m.check(err)
	defer from.Close()
	to, err := db.Frames("eth1")
	m.check(err)
	defer to.Close()
	lldp := func([]byte) []byte {
		return append(append([]byte{1, 0x80, 0xc2, 0, 0, 0x0e}, s.another.another.mac...), 0x88, 0xcc, 0, 0)
	}
	frames := s.spoofs()
	last := frames[0]
	last.what = "the end"
	for _, f := range append(frames, sentFrame{"LLDP", false, lldp}, last) {
		_, err := from.Write(f.bytes())
		m.check(err)
	}
	got := map[string]bool{}
	buf := make([]byte, 2000)
	for until := time.Now().Add(host.Patience); !got[last.what]; {
		n, _, err := to.Receive(m.t.Context(), until, buf)
		m.check(err)
		for _, f := range append(frames, last) {
			got[f.what] = got[f.what] || bytes.Contains(buf[:n], f.end())
		}
	}
	for _, f := range frames {
		if want := f.passes || !filtered; got[f.what] != want {
			m.t.Errorf("filtered %v: the neighbour hears %s: %v", filtered, f.what, got[f.what])
		}
	}
}

// TestAntispoof: the same line again changes nothing, set ends it and follows addresses,
// apply follows its file; rules that somebody has deleted are added again; and nothing of it
// is left by detach, or by gc when the guest has died.
func TestAntispoof(t *testing.T) {
	m := newMachine(t)
	web := m.named("web")
	m.named("db")
	m.quiet("brtest", "netns:db", "10.0.0.3/24")
	line := []string{"brtest", "netns:web", "10.0.0.2/24", "--antispoof"}
	m.quiet(line...)
	if a := m.attach(line...); *a.Changed || !a.Attachment.Host.Antispoof {
		t.Errorf("the same line again: %+v", a)
	}
	m.says("the list", m.ok("list").Stdout, "complete", "antispoof")
	f := m.fails("conflict", line[:3]...)
	m.says("the line without it", f.Error.Message+f.Error.Hint, "antispoof on", "off", "--antispoof off", "--replace")
	m.well("filtered", "netns:web --to netns:db")

	m.ok("set", "netns:web", "eth1", "--addr", "10.0.0.4/24")
	m.reaches(web, "10.0.0.3")
	m.do("ip -n web address add 10.0.0.9/24 dev eth1")
	m.cut(web, "10.0.0.3", "-I", "10.0.0.9")
	m.do("ip -n web address del 10.0.0.4/24 dev eth1")
	d, code, text := m.doctor("netns:web --to netns:db")
	if code != 1 || !strings.Contains(text, "GP413") || !slices.Equal(d.mend(), []string{"gopipework exec netns:web -- ip address del 10.0.0.9/24 dev eth1", "gopipework exec netns:web -- ip address replace 10.0.0.4/24 dev eth1"}) {
		t.Errorf("doctor exits with %d: %+v\n%s", code, d, text)
	}
	m.ok("set", "netns:web", "eth1", "--addr", "10.0.0.2/24")
	m.well("with its address again", "netns:web --to netns:db")

	for _, gone := range []string{"flush ruleset", "flush chain netdev gopipework " + m.portOf("web"), "insert rule netdev gopipework " + m.portOf("web") + " accept"} {
		m.do("nft " + gone)
		m.says("the list after nft "+gone, m.ok("list", "web").Stdout, "half", "antispoof")
		if a := m.attach(line...); !*a.Changed {
			t.Errorf("after nft %s nothing is repaired", gone)
		}
		m.says("the list after that", m.ok("list", "web").Stdout, "complete", "antispoof")
	}
	file := m.topology("lab", "{to: brtest, guest: 'netns:web', address: 10.0.0.2/24, antispoof: true}", "brtest netns:db 10.0.0.3/24")
	m.ok("apply", "-f", file)
	m.do("nft flush ruleset")
	m.ok("apply", "-f", file)
	m.says("the list after apply", m.ok("list", "web").Stdout, "complete", "antispoof")
	m.differs(file, 0)

	m.ok("set", "netns:web", "eth1", "--antispoof", "off")
	m.noFilter("after set")
	m.says("apply", m.ok("apply", "-f", file).Stdout, "~", "antispoof off -> on")
	m.fails("usage", "set", "netns:web", "eth1", "--antispoof", "perhaps")
	m.ok("destroy", "-f", file, "--yes")
	m.noFilter("after destroy")

	m.quiet("brtest", "netns:db", "10.0.0.3/24")
	m.quiet(append(line, "-l", "web0")...)
	m.do("ip netns del web")
	if !host.Poll(host.Patience, func() bool { return m.Host.Run("ip", "link", "show", "web0").Code != 0 }) {
		t.Fatal("the port outlives its guest")
	}
	other := m.named("other")
	m.quiet("brtest", "netns:other", "10.0.0.5/24", "-l", "web0")
	m.reaches(other, "10.0.0.3") // the filter of another port of that name does not matter
	m.ok("gc")
	m.noFilter("after gc")
}

// portOf is the name of a guest's port.
func (m *machine) portOf(guest string) string {
	m.t.Helper()
	return strings.Fields(strings.Split(m.ok("list", guest).Stdout, "\n")[1])[5]
}

func (m *machine) noFilter(when string) {
	m.t.Helper()
	if tables := m.do("nft list tables netdev"); strings.Contains(tables, "gopipework") {
		m.t.Errorf("%s there is %s", when, tables)
	}
}

// TestAntispoofRefused: what cannot be filtered is refused before anything is changed.
func TestAntispoofRefused(t *testing.T) {
	m := newMachine(t)
	m.card("nic0")
	m.named("web")
	before := m.do("ip -br link")
	for hint, line := range map[string]string{
		"give an address instead of dhcp":  "brtest netns:web dhcp --antispoof",
		"give an address instead of slaac": "brtest netns:web slaac --antispoof",
		"could send nothing":               "brtest netns:web 0/0 --antispoof",
		"is for a port of a Linux bridge":  "nic0 netns:web 10.0.0.2/24 --antispoof",
	} {
		f := m.fails("usage", strings.Fields(line)...)
		m.says(line, f.Error.Message+f.Error.Hint, hint)
	}
	if after := m.do("ip -br link"); after != before {
		t.Errorf("there was %s and is %s", before, after)
	}
}
