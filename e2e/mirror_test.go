//go:build linux

package e2e

import (
	"strings"
	"testing"

	"github.com/gopipework/gopipework/e2e/host"
)

// mirrored is a host with web and db on a bridge, and ids, which is to see what web does.
type mirrored struct {
	*machine
	bridge       string
	web, db, ids *host.Guest
}

func newMirrored(m *machine, bridge string) mirrored {
	e := mirrored{m, bridge, m.named("web"), m.named("db"), m.named("ids")}
	e.quiet(bridge, "netns:web", "10.0.0.2/24")
	e.quiet(bridge, "netns:db", "10.0.0.3/24")
	e.reaches(e.web, "10.0.0.3") // the bridge knows from now on who is where
	return e
}

// line is that of ids.
func (e mirrored) line(more ...string) []string {
	return append([]string{e.bridge, "netns:ids", "10.0.0.4/24"}, more...)
}

const ofWeb = "--mirror=netns:web:eth1"

// sees has web ping db, and returns the first four such packets that ids sees.
func (e mirrored) sees() string {
	e.t.Helper()
	seen := make(chan host.Result, 1)
	go func() { seen <- e.ids.Run("timeout", "60", "tcpdump", "-p", "-n", "-i", "eth1", "-c", "4", "icmp") }()
	var r host.Result
	ended := host.Poll(host.Patience, func() bool {
		e.web.Run("busybox", "ping", "-c", "1", "-W", "1", "10.0.0.3")
		select {
		case r = <-seen:
			return true
		default:
			return false
		}
	})
	if !ended || r.Code != 0 {
		e.t.Fatalf("ids does not see four packets: %v", r)
	}
	return r.Stdout
}

// test attaches, repeats, refuses, repairs and replaces.
func (e mirrored) test() {
	t := e.t
	if a := e.attach(e.line(ofWeb)...); !*a.Changed {
		t.Errorf("attach: %+v", a)
	}
	e.says("both ways", e.sees(), "10.0.0.2 > 10.0.0.3: ICMP echo request", "10.0.0.3 > 10.0.0.2: ICMP echo reply")
	if a := e.attach(e.line("--mirror", "web:eth1")...); *a.Changed || len(a.Attachment.Mirrors) != 1 {
		t.Errorf("the same line again: %+v", a)
	}
	e.says("list", e.ok("list", "--json").Stdout, `"mirrors":["netns:web:eth1"]`)
	e.says("list", e.ok("list").Stdout, "mirror of netns:web:eth1")
	f := e.fails("conflict", e.line()...)
	e.says("the line without it", f.Error.Message+f.Error.Hint, "mirror netns:web:eth1", "--replace")
	e.fails("usage", e.bridge, "netns:web", "10.0.0.9/24", "-i", "eth2", "--mirror", "netns:web:eth1")
	e.fails("usage", e.bridge, "web", "10.0.0.9/24", "-i", "eth2", "--mirror", "netns:web:eth1")
	e.fails("not_found", e.bridge, "netns:db", "10.0.0.9/24", "-i", "eth2", "--mirror", "netns:web:eth7")

	e.quiet("detach", "netns:web") // and attached again, as a mirror of ids
	e.ok(e.bridge, "netns:web", "10.0.0.2/24", "--mirror", "netns:ids:eth1")
	if list := e.ok("list", "netns:ids", "--json").Stdout; !strings.Contains(list, "no frames are copied") || strings.Contains(list, `"mirrors"`) {
		t.Errorf("what ids mirrored has gone: %s", list)
	}
	f = e.fails("conflict", e.line(ofWeb)...)
	e.says("each of the other", f.Error.Message, "circle")
	e.quiet("detach", "netns:web")
	e.quiet(e.bridge, "netns:web", "10.0.0.2/24")
	if a := e.attach(e.line(ofWeb)...); !*a.Changed {
		t.Errorf("the same line after web: %+v", a)
	}
	e.sees()

	e.ok(append([]string{"--replace"}, e.line(ofWeb+",out")...)...)
	if seen := e.sees(); strings.Contains(seen, "reply") {
		t.Errorf("one way alone: %s", seen)
	}
	e.quiet("detach", "netns:ids")
}

// TestMirror: an interface sees the frames of another guest's on an Open vSwitch bridge. A
// kernel without the filters says so for a Linux bridge, and keeps nothing of the try.
func TestMirror(t *testing.T) {
	t.Run("ovs", func(t *testing.T) {
		need(t, "tcpdump")
		m := newMachine(t)
		withOVS(t, m)
		e := newMirrored(m, "ovsbr0")
		mirrors := func() string { return m.do("ovs-vsctl --columns=name list Mirror") }
		e.test()
		if left := mirrors(); left != "" {
			t.Errorf("detach has left %s", left)
		}
		f := m.fails("conflict", "brtest", "netns:ids", "10.1.0.4/24", ofWeb)
		m.says("another bridge", f.Error.Message+f.Error.Hint, "ovsbr0", "copies only to ports of its own")
		e.ok(e.line(ofWeb)...)
		port := m.list("netns:ids")[0].Host.Port
		m.do("ip link del " + port)
		m.ok("gc")
		if left := mirrors(); left != "" {
			t.Errorf("gc has left %s", left)
		}
		e.quiet("detach", "netns:web")
		e.quiet("detach", "netns:db")
		file := m.topology("lab", "{to: ovsbr0, guest: 'netns:ids', address: 0/0, mirror: ['netns:web:eth1,in']}", "ovsbr0 netns:web 10.0.0.2/24")
		m.ok("apply", "-f", file)
		m.differs(file, 0)
		m.ok("destroy", "-f", file, "--yes")
	})
	t.Run("macvlan", func(t *testing.T) {
		m := newMachine(t)
		m.card("nic0")
		m.named("ids")
		f := m.fails("usage", "nic0", "netns:ids", "10.0.0.2/24", ofWeb)
		m.says("a macvlan", f.Error.Message+f.Error.Hint, "whose other end is on the host", "leave --mirror out")
	})
	t.Run("bridge", func(t *testing.T) {
		m := newMachine(t)
		e := newMirrored(m, "brtest")
		check := m.unchanged(e.web, e.ids)
		if r := m.gopipework(e.line(ofWeb, "--json")...); r.Code != 0 {
			f := m.failed("unsupported", r)
			m.says("no filters", f.Error.Message+f.Error.Hint, "the kernel lacks the filters", "cls_matchall", "act_mirred")
			check("after the try")
		}
	})
}

// TestMirrorKernels: copies by the kernel's own filters, beside somebody else's.
func TestMirrorKernels(t *testing.T) {
	need(t, "root", "kernels", "tcpdump")
	m := newMachine(t)
	e := newMirrored(m, "brtest")
	web := m.list("netns:web")[0].Host.Port
	filters := func() string {
		dev := " show dev " + web
		return m.do("tc qdisc"+dev) + m.do("tc filter"+dev+" ingress") + m.do("tc filter"+dev+" egress")
	}
	m.quiet("set", "netns:web", "eth1", "--rate-in", "10mbit")
	before := filters()
	e.quiet(e.line(ofWeb)...)
	e.says("both ways", e.sees(), "10.0.0.2 > 10.0.0.3: ICMP echo request", "10.0.0.3 > 10.0.0.2: ICMP echo reply")
	if a := m.attach(e.line(ofWeb)...); *a.Changed || len(a.Attachment.Mirrors) != 1 {
		t.Errorf("the same line again: %+v", a)
	}
	m.quiet("detach", "netns:ids")
	if left := filters(); left != before {
		t.Errorf("detach has left %s\nbefore: %s", left, before)
	}

	m.do("tc qdisc add dev " + web + " clsact")
	m.do("tc filter add dev " + web + " ingress pref 9 matchall action mirred egress mirror dev lo")
	before = filters()
	a := m.attach(e.line(ofWeb + ",out")...)
	if now := filters(); strings.Count(now, "mirred") != 2 {
		t.Errorf("one way alone: %s", now)
	}
	m.do("ip link del " + a.Attachment.Host.Port)
	m.ok("gc")
	if left := filters(); left != before {
		t.Errorf("gc has left %s\nbefore: %s", left, before)
	}
}
