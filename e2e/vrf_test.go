//go:build linux

package e2e

import (
	"strings"
	"testing"

	"github.com/gopipework/gopipework/e2e/host"
)

// TestVRFKernels: the routes of an interface in a VRF are in the table of that, and leave the
// guest's own alone; the VRF goes with the last interface in it, but not while a foreign one
// is in it, and a foreign VRF stays.
func TestVRFKernels(t *testing.T) {
	need(t, "kernels")
	m := newMachine(t)
	web, db := m.named("web"), m.named("db")
	m.guestHas(web, "link add first type vrf table 9", "link del first", // with it the kernel adds its rule, which stays
		"link add eth0 type dummy", "link set eth0 up", "address add 10.0.0.5/24 dev eth0", "route add default via 10.0.0.1")
	check := m.unchanged(web, db)
	own := web.Run("ip", "route").Stdout
	vrfs := func() string { return web.Run("ip", "-br", "link", "show", "type", "vrf").Stdout }
	m.quiet("brtest", "netns:db", "10.0.0.1/24,2001:db8::1/64", "--nodad")

	m.fails("conflict", "brtest", "netns:web", "10.0.0.1/24", "--acd", "--vrf", "red")
	if left := vrfs(); left != "" {
		t.Errorf("after an attach that was undone there is %s", left)
	}
	// The address of eth0 is no hindrance, nor is the guest's default route.
	line := []string{"brtest", "netns:web", "10.0.0.5/24,2001:db8::5/64@10.0.0.1,2001:db8::1", "--nodad", "--vrf", "red", "--route", "10.9.0.0/16"}
	if a := m.attach(line...); a.Attachment.Interface.VRF == nil || a.Attachment.Interface.VRF.Table != 1001 || len(a.Warnings) > 0 {
		t.Errorf("attach: %+v", a)
	}
	if *m.attach(line...).Changed {
		t.Error("the same line again changes something")
	}
	if got := web.Run("ip", "route").Stdout; got != own {
		t.Errorf("the main table was\n%s\nand is\n%s", own, got)
	}
	m.says("the table of the VRF", web.Run("ip", "route", "show", "vrf", "red").Stdout, "default via 10.0.0.1 dev eth1", "10.9.0.0/16 dev eth1")
	for _, to := range []string{"10.0.0.1", "2001:db8::1"} {
		if r := ping(web, to, "-I", "red"); r.Code != 0 {
			t.Errorf("%s is not reached in the VRF:\n%v", to, r)
		}
	}
	m.reaches(db, "10.0.0.5")
	m.well("in a VRF", "netns:web eth1")
	if i := m.list("netns:web")[0].Interface; i.VRF == nil || i.VRF.Name != "red" || len(i.Gateway) != 2 {
		t.Errorf("list: %+v", i)
	}

	m.quiet("brtest", "-i", "eth2", "netns:web", "10.1.0.2/24", "--vrf", "red")
	m.quiet("set", "netns:web", "eth2", "--addr", "10.1.0.3/24")
	m.quiet("set", "netns:web", "eth2", "--route", "10.8.0.0/16")
	m.says("the table of the VRF", web.Run("ip", "route", "show", "vrf", "red").Stdout, "10.1.0.0/24 dev eth2", "10.8.0.0/16 dev eth2")
	m.quiet("detach", "netns:web", "eth1")
	m.says("with another of ours", vrfs(), "red")
	m.guestHas(web, "link add eth3 master red type dummy")
	m.quiet("detach", "netns:web", "eth2")
	m.says("with a foreign interface", vrfs(), "red")
	m.guestHas(web, "link del eth3")
	m.ok("gc")
	if left := vrfs(); left != "" {
		t.Errorf("after gc there is %s", left)
	}

	m.guestHas(web, "link add red type vrf table 77")
	m.quiet(line...)
	m.says("the table of a foreign VRF", web.Run("ip", "route", "show", "table", "77").Stdout, "default via 10.0.0.1 dev eth1")
	m.quiet("detach", "netns:web")
	m.says("a foreign VRF", vrfs(), "red")
	m.guestHas(web, "link del red")
	m.quiet("detach", "netns:db")
	check("after the last detach")
}

// guestHas runs commands of ip(8) in a guest, which have to succeed.
func (m *machine) guestHas(g *host.Guest, commands ...string) {
	m.t.Helper()
	m.check(g.RunInput(strings.Join(commands, "\n"), "ip", "-batch", "-").Err())
}

// TestVRFLacking: a kernel that has no VRF is told of, and nothing is left.
func TestVRFLacking(t *testing.T) {
	m := newMachine(t)
	web := m.named("web")
	if web.Run("ip", "link", "add", "first", "type", "vrf", "table", "9").Code == 0 {
		host.Lacking(t, "no-vrf", "this kernel has VRFs")
	}
	check := m.unchanged(web)
	f := m.fails("unsupported", "brtest", "netns:web", "10.0.0.2/24", "--vrf", "red")
	m.says("the error", f.Error.Message+f.Error.Hint, "the kernel has no VRF", "CONFIG_NET_VRF")
	check("after that")
	if got := m.ok("--dry-run", "brtest", "netns:web", "10.0.0.2/24", "--vrf", "red").Stdout; !strings.Contains(got, "type vrf table 1001\n") {
		t.Errorf("--dry-run prints\n%s", got)
	}
}
