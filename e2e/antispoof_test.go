//go:build linux

package e2e

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopipework/gopipework/bridge/firewall"
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

// TestAntispoofHalf: rules without their mark, a mark without rules, and rules that the
// kernel does not ask are half; the same line repairs them, and set and --replace end them.
func TestAntispoofHalf(t *testing.T) {
	m := newMachine(t)
	web := m.named("web")
	m.named("db")
	m.quiet("brtest", "netns:db", "10.0.0.3/24")
	plain := []string{"brtest", "netns:web", "10.0.0.2/24"}
	line := append(plain, "--antispoof")
	m.quiet(line...)
	port, mac := m.portOf("web"), m.stationOf(web, "10.0.0.2", "::").mac.String()
	half := func(when string) {
		t.Helper()
		m.says("the list "+when, m.ok("list", "web").Stdout, "half", "antispoof")
	}
	unmark := "ip link property del dev " + port + " altname gopipework:antispoof:" + port + ":" + mac
	for _, change := range []string{
		unmark,
		"nft add table netdev gopipework { flags dormant; }",
		"nft add chain netdev gopipework " + port + " { policy drop; }",
	} {
		m.do(change)
		half("after " + change)
		m.attach(line...)
		m.says("the list after that", m.ok("list", "web").Stdout, "complete", "antispoof")
		m.reaches(web, "10.0.0.3")
	}

	flush := "nft flush ruleset"
	off := []string{"set", "netns:web", "eth1", "--antispoof", "off"}
	for _, end := range []struct {
		change string
		line   []string
	}{
		{unmark, off}, {flush, off}, {unmark, plain}, {unmark, append(plain, "--replace")}, {flush, append(plain, "--replace")},
	} {
		m.do(end.change)
		half("after " + end.change)
		m.ok(end.line...)
		m.noFilter(strings.Join(end.line, " "))
		if text := m.ok("list", "web").Stdout; strings.Contains(text, "antispoof") || !strings.Contains(text, "complete") {
			t.Errorf("after %s and %v: %s", end.change, end.line, text)
		}
		m.ok("set", "netns:web", "eth1", "--antispoof", "on")
	}

	file := m.topology("lab", "{to: brtest, guest: 'netns:web', address: 10.0.0.2/24, antispoof: true}", "brtest netns:db 10.0.0.3/24")
	m.ok("apply", "-f", file)
	m.do(flush)
	m.says("diff", m.gopipework("diff", "-f", file).Stdout, "the rules of --antispoof are gone")
	f := m.fails("conflict", "set", "netns:web", "eth1", "--antispoof", "on")
	m.says("set on", f.Error.Message+f.Error.Hint, "attach it again", "--antispoof off")
	m.ok("set", "netns:web", "eth1", "--addr", "10.0.0.4/24")
	m.says("the list after set --addr", m.ok("list", "web").Stdout, "complete", "antispoof")
	m.reaches(web, "10.0.0.3")

	m.do(flush)
	m.ok("apply", "-f", m.topology("lab", "{to: brtest, guest: 'netns:web', address: 10.0.0.4/24, antispoof: true, mtu: 1400}", "brtest netns:db 10.0.0.3/24"))
	m.says("the list after apply changed the MTU", m.ok("list", "web").Stdout, "complete", "antispoof")

	m.do("ip link set dev " + port + " down name other0")
	m.do("ip link set dev other0 up")
	m.ok("set", "netns:web", "eth1", "--addr", "10.0.0.2/24")
	m.do("ip link set dev other0 nomaster")
	if text := m.ok("list", "--json", "web").Stdout; !strings.Contains(text, `"antispoof":true`) {
		t.Errorf("in no bridge it is listed as %s", text)
	}
	m.ok("apply", "-f", file)
	m.ok("set", "netns:web", "eth1", "--to", "br2", "--nodad")
	m.says("the list after a move", m.ok("list", "web").Stdout, "complete", "antispoof")
	if text := m.do("nft list table netdev gopipework"); strings.Contains(text, port) || !strings.Contains(text, "other0") {
		t.Errorf("after the port was renamed there is %s", text)
	}
}

// TestAntispoofRenamed: the filter of a port that somebody has renamed is left by gc, for the
// kernel may still ask it, and goes with the attachment.
func TestAntispoofRenamed(t *testing.T) {
	m := newMachine(t)
	m.named("web")
	m.quiet("brtest", "netns:web", "10.0.0.2/24", "--antispoof", "-l", "web0")
	m.do("ip link set dev web0 down name other0")
	m.do("ip link set dev other0 up")
	m.ok("gc")
	m.says("the filters after gc", m.do("nft list table netdev gopipework"), "chain web0")
	m.ok("detach", "netns:web")
	m.noFilter("after detach")
}

// TestAntispoofClaims: a new filter does not let a guest keep the MAC address of another one.
func TestAntispoofClaims(t *testing.T) {
	m := newMachine(t)
	web, db := m.named("web"), m.named("db")
	m.quiet("brtest", "netns:db", "10.0.0.3/24")
	m.quiet("brtest", "netns:web", "10.0.0.2/24")
	on := []string{"set", "netns:web", "eth1", "--antispoof", "on"}
	m.do("ip -n web address add 10.0.0.3/32 dev eth1")
	m.says("set on", m.ok(append(on, "--dry-run")...).Stderr, "has the address 10.0.0.3 too")
	m.do("ip -n web link set dev eth1 address " + m.stationOf(db, "10.0.0.3", "::").mac.String())
	f := m.fails("conflict", on...)
	m.says("set on", f.Error.Message, m.stationOf(web, "10.0.0.2", "::").mac.String())
	m.noFilter("after that")
	f = m.fails("usage", "set", "netns:web", "eth1", "--antispoof", "off", "--for", "1s")
	m.says("off for a time", f.Error.Message, "cannot be set back")
}

// TestAntispoofMany: as many addresses as there may be can all be changed.
func TestAntispoofMany(t *testing.T) {
	m := newMachine(t)
	m.named("web")
	many := func(subnet string, n int) string {
		var all []string
		for i := range n {
			all = append(all, fmt.Sprintf("2001:db8:%s::%x/64", subnet, i+1))
		}
		return strings.Join(all, ",")
	}
	m.fails("limit", "brtest", "netns:web", many("1", firewall.MaxFiltered+1), "--antispoof", "--nodad")
	m.quiet("brtest", "netns:web", many("1", firewall.MaxFiltered), "--antispoof", "--nodad")
	m.ok("set", "netns:web", "eth1", "--addr", many("2", firewall.MaxFiltered), "--nodad")
	m.says("the list", m.ok("list", "web").Stdout, "complete", "antispoof")
}
