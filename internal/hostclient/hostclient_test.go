package hostclient

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/lease"
	"github.com/gopipework/gopipework/internal/nsfs"
)

func TestParse(t *testing.T) {
	for _, test := range []struct {
		name, options string
		ok, bad       bool
	}{
		{"udhcpc", "", true, false},
		{"udhcpc-f", "-t 5 -x hostname:web1", true, false},
		{"dhclient-f", "-H web1 --timeout 9", true, false},
		{"dhcpcd", "-h web1", true, false},
		{"dhcpcd", "-c /tmp/evil", true, true},
		{"dhcpcd-f", "", false, false}, // it stays anyway
		{"dhcp", "", false, false},
		{"dhclient-f-f", "", false, false},
		{"udhcpc", "-s /tmp/evil", true, true}, // a program
		{"udhcpc", "-qs/tmp/evil", true, true},
		{"udhcpc", "-p /etc/passwd", true, true}, // a file
		{"udhcpc", "-t", true, true},
		{"udhcpc", "-t -s", true, true},
		{"udhcpc", "-r 10.0.0.1 /tmp/evil", true, true},
		{"dhclient", "-sf /tmp/evil", true, true},
		{"dhclient", "-cf /tmp/evil", true, true},
		{"dhclient", "eth0", true, true}, // another interface
		{"dhclient", "-H " + strings.Repeat("x", 256), true, true},
		{"dhclient", "-H web\x1b", true, true},
	} {
		a, ok, err := Parse(test.name, test.options)
		if ok != test.ok || (err != nil) != test.bad || err != nil && fault.CodeOf(err) != fault.Usage {
			t.Errorf("%s:%s: ok %v, %v", test.name, test.options, ok, err)
		}
		if !ok || err != nil {
			continue
		}
		name, options, _ := strings.Cut(a.String(), ":")
		if again, _, err := Parse(name, options); err != nil || !again.Equal(a) {
			t.Errorf("%q parses to %+v, %v; should be %+v", a, again, err, a)
		}
	}
}

// What clients tell is what a server said, and is checked as that.
func TestSaid(t *testing.T) {
	routes := func(words ...string) (out []lease.Route) {
		for _, w := range words {
			dst, gw, _ := strings.Cut(w, " ")
			out = append(out, lease.Route{Dst: netip.MustParsePrefix(dst), Gateway: netip.MustParseAddr(gw), Source: netip.MustParseAddr("10.0.0.9")})
		}
		return out
	}
	udhcpcBound := map[string]string{"reason": "bound", "ip": "10.0.0.9", "subnet": "255.255.255.0", "serverid": "10.0.0.1", "lease": "120",
		"router": "10.0.0.1", "staticroutes": "10.9.0.0/16 10.0.0.2 0.0.0.0/0 10.0.0.3"}
	dhclientBound := map[string]string{"reason": "BOUND", "new_ip_address": "10.0.0.9", "new_subnet_mask": "255.255.255.0",
		"new_dhcp_server_identifier": "10.0.0.1", "new_dhcp_lease_time": "120", "new_routers": "10.0.0.1 10.0.0.2", "new_interface_mtu": "1400"}
	with := func(env map[string]string, name, value string) map[string]string {
		out := map[string]string{name: value}
		for k, v := range env {
			if k != name {
				out[k] = v
			}
		}
		return out
	}
	for _, test := range []struct {
		client string
		env    map[string]string
		routes []lease.Route
		mtu    int
		bad    bool
	}{
		{"udhcpc", udhcpcBound, routes("10.9.0.0/16 10.0.0.2", "0.0.0.0/0 10.0.0.3"), 0, false},
		{"dhclient", dhclientBound, routes("0.0.0.0/0 10.0.0.1"), 1400, false},
		{"dhclient", with(dhclientBound, "new_classless_routes", "16 10 9 10 0 0 2 0 10 0 0 3"), routes("10.9.0.0/16 10.0.0.2", "0.0.0.0/0 10.0.0.3"), 1400, false},
		{"dhclient", with(dhclientBound, "new_classless_routes", "16 10 9 10 0 0"), nil, 0, true},
		{"dhcpcd", with(dhclientBound, "new_classless_static_routes", "10.9.0.0/16 10.0.0.2"), routes("10.9.0.0/16 10.0.0.2"), 1400, false},
		{"dhclient", with(dhclientBound, "new_classless_routes", "33 1 1 1 1 1 1 1 1 1 1"), nil, 0, true},
		{"dhclient", with(dhclientBound, "new_classless_routes", "256"), nil, 0, true},
		{"udhcpc", with(udhcpcBound, "ip", "127.0.0.1"), nil, 0, true},
		{"udhcpc", with(udhcpcBound, "ip", "::1"), nil, 0, true},
		{"udhcpc", with(udhcpcBound, "subnet", "255.0.255.0"), nil, 0, true},
		{"udhcpc", with(udhcpcBound, "lease", "0"), nil, 0, true},
		{"udhcpc", with(udhcpcBound, "serverid", ""), nil, 0, true},
		{"udhcpc", with(udhcpcBound, "staticroutes", "10.9.0.0/16 ::1"), nil, 0, true},
	} {
		s, err := clients[test.client].read(test.env)
		var l lease.Lease
		if err == nil {
			l, err = s.lease.Lease(time.Second)
		}
		if (err != nil) != test.bad {
			t.Errorf("%v: %v", test.env, err)
		}
		if err != nil {
			continue
		}
		if diff := cmp.Diff(test.routes, l.Routes, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
			t.Errorf("%v: routes (-want +got):\n%s", test.env, diff)
		}
		if l.Address.String() != "10.0.0.9/24" || l.Time != 2*time.Minute || l.MTU != test.mtu {
			t.Errorf("%v: %+v", test.env, l)
		}
	}
	for client, reason := range map[string]string{"udhcpc": "deconfig", "dhclient": "EXPIRE"} {
		if s, err := clients[client].read(map[string]string{"reason": reason}); !s.lost || err != nil {
			t.Errorf("%s %s: %+v, %v", client, reason, s, err)
		}
	}
}

// A pid file that is locked, or that names such a client, is left alone; one that
// a dead one has left is taken over, also when its number is another process's.
func TestClaim(t *testing.T) {
	path := filepath.Join(t.TempDir(), "udhcpc.web.pid")
	own := nsfs.Command(os.Getpid())
	f, err := claim(path, own)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := claim(path, own); err == nil {
		t.Error("claimed twice")
	}
	if err := writePID(f, os.Getpid()); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if _, err := claim(path, own); err == nil {
		t.Error("claimed what a living client has")
	}
	if f, err = claim(path, "udhcpc"); err != nil {
		t.Fatalf("a number that is another process's by now: %v", err)
	}
	f.Close()
	const noProcess = 1<<22 + 1 // over PID_MAX_LIMIT
	if err := os.WriteFile(path, []byte("4194305\n"), 0o644); err != nil || noProcess != 4194305 {
		t.Fatal(err)
	}
	if f, err = claim(path, own); err != nil {
		t.Fatalf("what a dead process left is not taken over: %v", err)
	}
	f.Close()
}

// Names of different guests that make one name of a file get one each; reading a
// pid file keeps nobody from locking it; what a killed process has left is known
// again, and swept.
func TestPIDFiles(t *testing.T) {
	was := pidDir
	pidDir = t.TempDir()
	defer func() { pidDir = was }()
	ask := Ask{Client: "udhcpc", Stays: true}
	runs := []Run{
		{Ask: ask, Guest: "web", PID: 1001, IfName: "lan0", Index: 2},
		{Ask: ask, Guest: "web.lan0", PID: 1002, IfName: "eth1", Index: 2},
		{Ask: ask, Guest: "web", PID: 1003, IfName: "lan0", Index: 2}, // of another engine
	}
	seen := map[string]bool{}
	var held []*os.File
	for _, r := range runs {
		f, err := r.claim()
		if err != nil {
			t.Fatalf("%+v: %v", r, err)
		}
		if seen[f.Name()] {
			t.Errorf("%s is claimed twice", f.Name())
		}
		seen[f.Name()] = true
		held = append(held, f)
	}
	if !seen[filepath.Join(pidDir, "udhcpc.web.lan0.pid")] {
		t.Errorf("no one has the plain name: %v", seen)
	}
	if err := Sweep(); err != nil || runs[0].Left() {
		t.Errorf("what is held stays: %v", err)
	}
	for _, f := range held {
		if _, err := os.Stat(f.Name()); err != nil {
			t.Error("swept while it was held")
		}
		f.Close()
	}
	foreign := filepath.Join(pidDir, "udhcpc.db.pid")
	if err := os.WriteFile(foreign, []byte("4194305\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() != 0 {
		return // to sign a file takes root
	}
	for _, r := range runs {
		other := r
		other.Index++
		if !r.Left() || other.Left() {
			t.Errorf("%+v: left %v, of another interface %v", r, r.Left(), other.Left())
		}
	}
	if err := Sweep(); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(pidDir, "*")); len(left) != 1 || left[0] != foreign {
		t.Errorf("left are %q, should be the one that is not ours", left)
	}
}
