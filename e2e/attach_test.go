//go:build linux

package e2e

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gopipework/gopipework/e2e/host"
)

// The main job: two containers on a stock engine, one bridge made on demand,
// and a line of text from one to the other.
func TestMainJob(t *testing.T) {
	e := withDocker(t)
	e.container("web", "-i", host.Image, "sh", "-c", "nc -l -p 5000; sleep 86400")
	e.container("db")
	e.listens(e.guestOf("web"), 5000)
	check := e.unchanged(e.guestOf("web"), e.guestOf("db"))

	e.quiet("brtest", "web", "192.168.1.2/24")
	e.quiet("brtest", "db", "192.168.1.3/24")
	const line = "hello over brtest\n"
	e.check(e.RunInput(line, "docker", "exec", "-i", "db", "nc", "-w", "5", "192.168.1.2", "5000").Err())
	if !host.Poll(30*time.Second, func() bool { return e.do("docker logs web") == line }) {
		t.Errorf("the line did not arrive: %q", e.do("docker logs web"))
	}
	e.reaches(e.guestOf("db"), "192.168.1.2")
	e.rules(1, -1)

	e.quiet("detach", "db", "eth1")
	e.quiet("detach", "web")
	if l := e.list(); len(l) != 0 {
		t.Errorf("attachments after the last detach: %+v", l)
	}
	check("after the last detach")
}

// What --json and list say, and what the links look like.
func TestAttachReport(t *testing.T) {
	m := newMachine(t)
	g := m.guest()
	check := m.unchanged(g)
	a := m.attach("brtest", "-i", "net0", "-l", "hostapp", g.Word, "192.168.1.2/24,10.1.1.1/8", "26:2e:71:98:60:8f")
	if !*a.Changed || len(a.Steps) == 0 || len(a.Warnings) != 0 {
		t.Errorf("changed %v, steps %q, warnings %q", *a.Changed, a.Steps, a.Warnings)
	}
	at := a.Attachment
	if at.Guest.PID != g.PID || at.Guest.Netns != g.Inode() || at.Guest.Runtime != "pid" {
		t.Errorf("guest %+v", at.Guest)
	}
	if i := at.Interface; i.Name != "net0" || i.Kind != "veth" || i.MAC != "26:2e:71:98:60:8f" || i.MTU != 1500 ||
		!slices.Equal(i.Addresses, []string{"192.168.1.2/24", "10.1.1.1/8"}) || len(i.Gateway) != 0 {
		t.Errorf("interface %+v", i)
	}
	if h := at.Host; h.Kind != "bridge" || h.Name != "brtest" || h.Port != "hostapp" {
		t.Errorf("host %+v", h)
	}
	if at.State != "complete" {
		t.Errorf("state %q", at.State)
	}
	for _, words := range [][]string{{}, {g.Word}} {
		l := m.list(words...)
		if len(l) != 1 {
			t.Fatalf("list %q: %+v", words, l)
		}
		got := l[0]
		if got.Interface.Name != "net0" || got.Host != at.Host || got.State != "complete" ||
			got.Interface.MAC != at.Interface.MAC || got.Guest.PID != g.PID || got.Guest.Netns != at.Guest.Netns ||
			!slices.Equal(got.Interface.Addresses, at.Interface.Addresses) {
			t.Errorf("list %q: %+v, attach said %+v", words, got, at)
		}
	}
	text := m.ok("list").Stdout
	m.says("list", text, "net0", "brtest", "192.168.1.2/24", strconv.Itoa(g.PID))

	hostSide, inside := m.links(m), m.links(g)
	br, port, end := hostSide["brtest"], hostSide["hostapp"], inside["net0"]
	if port.Master != "brtest" || port.Group != "26480" || !strings.HasPrefix(port.Alias, "gopipework pid:") ||
		!strings.Contains(port.Alias, " net0") {
		t.Errorf("port %+v", port)
	}
	if len(port.Addrs) != 0 {
		t.Errorf("the host's end has addresses: %v", port.Addrs)
	}
	if br.Info.Kind != "bridge" || br.Group != "26480" || !slices.Contains(br.Flags, "UP") || br.MAC == port.MAC {
		t.Errorf("bridge %+v", br)
	}
	if end.Group != "26480" || end.Info.Kind != "veth" || end.State != "UP" {
		t.Errorf("guest's end %+v", end)
	}
	for _, a := range end.Addrs {
		if a.Family == "inet6" && a.Scope != "link" {
			t.Errorf("IPv6 was not asked for: %v", a)
		}
	}
	if !slices.ContainsFunc(end.Addrs, func(a host.Addr) bool { return a.String() == "192.168.1.2/24" && a.Broadcast == "192.168.1.255" }) {
		t.Errorf("addresses %+v", end.Addrs)
	}
	d := m.ok("--json", "detach", g.Word, "net0")
	if !strings.HasPrefix(strings.TrimSpace(d.Stdout), "{") {
		t.Errorf("detach --json: %v", d)
	}
	check("after detach")
	if r := m.gopipework("detach", g.Word, "net0"); r.Code != 0 {
		t.Errorf("detaching twice is fine:\n%v", r)
	}
	check("after detaching twice")
}

// The other words of the line.
func TestAttachWords(t *testing.T) {
	m := newMachine(t)
	for name, c := range map[string]struct {
		words []string // GUEST stands for the guest
		ifn   string
		check func(t *testing.T, g *host.Guest, l host.Link)
	}{
		"no address": {[]string{"br1", "GUEST", "0/0"}, "eth1", func(t *testing.T, g *host.Guest, l host.Link) {
			for _, a := range l.Addrs {
				if a.Family == "inet" || a.Scope != "link" {
					t.Errorf("has %v", a)
				}
			}
			if !slices.Contains(l.Flags, "UP") {
				t.Error("is down")
			}
		}},
		"any order":   {[]string{"br1", "-a", "4", "-l", "left", "-i", "eth7", "GUEST", "10.0.0.2/24"}, "eth7", nil},
		"attach word": {[]string{"attach", "br1", "GUEST", "10.0.0.2/24"}, "eth1", nil},
		"outright": {[]string{"bridge:list", "GUEST", "10.0.0.2/24"}, "eth1", func(t *testing.T, g *host.Guest, l host.Link) {
			if m.links(m)["list"].Info.Kind != "bridge" {
				t.Error("no bridge of that name")
			}
		}},
		"mtu": {[]string{"br1", "--mtu", "1400", "GUEST", "10.0.0.2/24"}, "eth1", func(t *testing.T, g *host.Guest, l host.Link) {
			if l.MTU != 1400 {
				t.Errorf("MTU %d", l.MTU)
			}
		}},
		"mac from text": {[]string{"br1", "GUEST", "10.0.0.2/24", "U:myhost.foo.com"}, "eth1", func(t *testing.T, g *host.Guest, l host.Link) {
			if l.MAC != "02:72:6c:cd:9b:8d" {
				t.Errorf("MAC %s", l.MAC)
			}
		}},
		"host address": {[]string{"br1", "GUEST", "10.0.0.2/32,10.0.1.0/31"}, "eth1", func(t *testing.T, g *host.Guest, l host.Link) {
			for _, a := range l.Addrs {
				if a.Broadcast != "" {
					t.Errorf("%v has a broadcast address", a)
				}
			}
		}},
		"both families": {[]string{"br1", "GUEST", "10.0.0.2/24,fd00::2/64"}, "eth1", func(t *testing.T, g *host.Guest, l host.Link) {
			for _, a := range l.Addrs {
				if a.Tentative {
					t.Errorf("%v may not be used yet", a)
				}
			}
			if !slices.ContainsFunc(l.Addrs, func(a host.Addr) bool { return a.String() == "fd00::2/64" }) {
				t.Errorf("addresses %v", l.Addrs)
			}
		}},
		"IPv6 with -a": {[]string{"br1", "-a", "inet6", "GUEST", "fd00::2/64"}, "eth1", nil},
	} {
		t.Run(name, func(t *testing.T) {
			m := &machine{m.Host, t}
			g := m.guest()
			defer g.Kill()
			check := m.unchanged(g)
			words := slices.Clone(c.words)
			words[slices.Index(words, "GUEST")] = g.Word
			m.quiet(words...)
			l, ok := m.links(g)[c.ifn]
			if !ok {
				t.Fatalf("no %s", c.ifn)
			}
			if c.check != nil {
				c.check(t, g, l)
			}
			m.quiet("detach", g.Word)
			check("after detach")
		})
	}
}

// The name of the program is pipework: the same program.
func TestArgv0(t *testing.T) {
	m := newMachine(t)
	g := m.guest()
	check := m.unchanged(g)
	m.check(m.Host.Run("pipework", "br1", g.Word, "10.0.0.2/24").Err())
	if _, ok := m.links(g)["eth1"]; !ok {
		t.Error("no eth1")
	}
	m.quiet("detach", g.Word)
	check("after detach")
}

// All the ways to name a guest without a container engine.
func TestGuestWords(t *testing.T) {
	m := newMachine(t)
	named := m.named("blue")
	g := m.guest()
	for _, c := range []struct {
		word string
		g    *host.Guest
	}{{"pid:" + strconv.Itoa(g.PID), g}, {"netns:blue", named}, {"/run/netns/blue", named}, {g.Path(), g}, {"blue", named}} {
		check := m.unchanged(c.g)
		m.quiet("br1", c.word, "10.0.0.2/24")
		if _, ok := m.links(c.g)["eth1"]; !ok {
			t.Errorf("%s: no eth1", c.word)
		}
		if l := m.list(c.word); len(l) != 1 {
			t.Errorf("list %s: %+v", c.word, l)
		}
		m.quiet("detach", c.word)
		check("after detaching " + c.word)
	}
}

// A bridge that somebody else made stays; one of ours goes with its last
// port, unless somebody uses it by then.
func TestBridgeOwner(t *testing.T) {
	m := newMachine(t)
	t.Run("somebody else's, down", func(t *testing.T) {
		m := &machine{m.Host, t}
		g := m.guest()
		m.do("ip link add br1 type bridge")
		m.quiet("br1", g.Word, "10.0.0.2/24")
		br := m.links(m)["br1"]
		if !slices.Contains(br.Flags, "UP") {
			t.Error("a bridge that was down is set up")
		}
		m.quiet("detach", g.Word)
		br = m.links(m)["br1"]
		if !slices.Contains(br.Flags, "UP") || br.Alias != "" || br.Group != "default" {
			t.Errorf("a bridge of somebody else stays, up: %+v", br)
		}
		m.do("ip link delete br1")
	})
	t.Run("other port", func(t *testing.T) {
		m := &machine{m.Host, t}
		g := m.guest()
		m.quiet("br1", g.Word, "10.0.0.2/24")
		m.check(m.Batch("link add p0 type veth peer name p1", "link set p0 master br1"))
		m.quiet("detach", g.Word)
		if _, ok := m.links(m)["br1"]; !ok {
			t.Error("a bridge with somebody else's port was deleted")
		}
		m.do("ip link delete p0")
		m.do("ip link delete br1")
	})
	t.Run("address", func(t *testing.T) {
		m := &machine{m.Host, t}
		g := m.guest()
		m.quiet("br1", g.Word, "10.0.0.2/24")
		m.do("ip address add 10.0.0.1/24 dev br1")
		m.reaches(g, "10.0.0.1")
		m.quiet("detach", g.Word)
		if _, ok := m.links(m)["br1"]; !ok {
			t.Error("a bridge with an address was deleted")
		}
		m.do("ip link delete br1")
	})
}

// detach takes what it is told, and --all everything of one guest.
func TestDetach(t *testing.T) {
	m := newMachine(t)
	g, other := m.guest(), m.guest()
	check := m.unchanged(g, other)
	m.quiet("br1", g.Word, "10.0.0.2/24")
	m.quiet("br1", "-i", "eth2", g.Word, "10.0.1.2/24")
	m.quiet("br2", "-i", "eth3", g.Word, "10.0.2.2/24")
	m.quiet("br1", other.Word, "10.0.0.3/24")
	m.quiet("detach", g.Word, "eth2")
	if l := m.list(g.Word); len(l) != 2 {
		t.Errorf("after detach of one of three: %+v", l)
	}
	m.quiet("detach", "--all", g.Word)
	if l := m.list(); len(l) != 1 || l[0].Guest.PID != other.PID {
		t.Errorf("after detach --all: %+v", l)
	}
	m.reaches(other, "10.0.0.3")
	m.quiet("detach", other.Word)
	check("after detach")
}
