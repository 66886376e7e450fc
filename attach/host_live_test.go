package attach

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/gopipework/gopipework/internal/fault"
)

// TestHostEnd: a pair without a bridge joins a guest and the host, and goes without a
// trace. The same line again changes nothing, and restores an address that somebody
// has deleted from the host's end.
func TestHostEnd(t *testing.T) {
	needRoot(t)
	hostNS, g := newNamespace(t), docker(newNamespace(t), 0)
	in(t, hostNS, "sh", "-ec", quiet+"ip link set lo up")
	in(t, g.Namespace, "ip", "link", "set", "lo", "up")
	before := snapshot(t, hostNS) + snapshot(t, g.Namespace)
	const line = "host:tap-web web 10.9.0.2/30,2001:db8::2/126@10.9.0.1 --host-addr 10.9.0.1/30"
	attach := func(changed bool) Attachment {
		t.Helper()
		r, err := runAttach(context.Background(), parsed(t, line), g, hostNS, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if r.Changed != changed {
			t.Errorf("changed is %v: %q", r.Changed, r.Steps)
		}
		return r.Attachments[0]
	}
	want := Host{Kind: "host", Name: "tap-web", Port: "tap-web"}
	if a := attach(true); a.Host != want {
		t.Errorf("attach says %+v", a.Host)
	}
	if !hears(hostNS, "10.9.0.2") || !hears(g.Namespace, "10.9.0.1") {
		t.Error("host and guest do not reach each other")
	}
	list, err := runList(context.Background(), hostNS, nil)
	if err != nil || len(list) != 1 || list[0].Host != want || list[0].State != Complete || len(list[0].Cut) > 0 {
		t.Errorf("list says %+v, %v", list, err)
	}
	attach(false)
	in(t, hostNS, "ip", "address", "del", "10.9.0.1/30", "dev", "tap-web")
	attach(true)
	if !hears(g.Namespace, "10.9.0.1") {
		t.Error("the host's address is not back")
	}
	if _, err := runDetach(context.Background(), Selection{}, g, hostNS, Options{}); err != nil {
		t.Fatal(err)
	}
	sameSoon(t, "host and guest", before, func() string { return snapshot(t, hostNS) + snapshot(t, g.Namespace) })
}

// TestHostEndRefused: what the host has under the name, or as an address, is refused
// before anything changes; a half-made end of the same guest is replaced.
func TestHostEndRefused(t *testing.T) {
	needRoot(t)
	hostNS, g := newNamespace(t), docker(newNamespace(t), 0)
	in(t, hostNS, "sh", "-ec", quiet+"ip link add tap-web type bridge; ip link add nic0 type veth peer name wire; ip address add 10.9.0.1/24 dev nic0")
	before := snapshot(t, hostNS)
	for line, text := range map[string]string{
		"host:tap-web web 10.9.0.2/30":                        "the host has an interface tap-web already",
		"host:tap-db web 10.9.0.2/30 --host-addr 10.9.0.1/30": "the host has the address 10.9.0.1 already",
		"host:tap-db web 10.9.0.2/30 -l tap-x":                "names the host's end already",
		"host:tap-db web 10.9.0.2/30 @10":                     "a pair without a bridge has no VLAN",
		"host:tap-db web 10.9.0.2/30 --verify":                "has no place for a probe port",
		"host:mac:02:00:00:00:00:01 web 10.9.0.2/30":          "none can be made with that name",
		"brtest web 10.9.0.2/30 --host-addr 10.9.0.1/30":      "--host-addr is for a host's end of its own",
	} {
		_, err := runAttach(context.Background(), parsed(t, line), g, hostNS, Options{})
		if code := fault.CodeOf(err); !slices.Contains([]fault.Code{fault.Conflict, fault.Usage}, code) || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v, want %q", line, err, text)
		}
	}
	sameSoon(t, "host", before, func() string { return snapshot(t, hostNS) })
	const line = "host:tap-db web 10.8.0.2/30 --host-addr 10.8.0.1/30"
	if _, err := runAttach(context.Background(), parsed(t, line), g, hostNS, Options{}); err != nil {
		t.Fatal(err)
	}
	in(t, hostNS, "sh", "-ec", "ip link set tap-db alias ''; ip link property del dev tap-db altname gopipework-host.tap-db")
	if _, err := runAttach(context.Background(), parsed(t, line), g, hostNS, Options{}); err != nil {
		t.Fatal(err)
	}
	if !hears(hostNS, "10.8.0.2") {
		t.Error("host and guest do not reach each other")
	}
	before = snapshot(t, hostNS)
	other := strings.Replace(line, "10.8.0.1/30", "10.8.0.1/29", 1)
	if _, err := runAttach(context.Background(), parsed(t, other), g, hostNS, Options{}); fault.CodeOf(err) != fault.Conflict ||
		!strings.Contains(err.Error(), "with --host-addr 10.8.0.1/30; the line asks for 10.8.0.1/29") {
		t.Errorf("another address of the host's end: %v", err)
	}
	sameSoon(t, "host", before, func() string { return snapshot(t, hostNS) })
}

// TestHostEndLinkLocal: a link-local address means nothing beyond its link, so that every
// pair may have the same two, and what the host has elsewhere is in nobody's way.
func TestHostEndLinkLocal(t *testing.T) {
	needRoot(t)
	hostNS, g := newNamespace(t), docker(newNamespace(t), 0)
	in(t, hostNS, "sh", "-ec", quiet+"ip link add nic0 type veth peer name wire; ip link set nic0 up; ip link set wire up; ip address add fe80::9/64 dev nic0 nodad")
	for tap, eth := range map[string]string{"tap0": "eth1", "tap1": "eth2"} {
		line := "host:" + tap + " -i " + eth + " web fe80::2/64 --host-addr fe80::1/64"
		r, err := runAttach(context.Background(), parsed(t, line), g, hostNS, Options{})
		if err != nil || len(r.Warnings) > 0 {
			t.Fatalf("%s: %v, warnings %q", line, err, r.Warnings)
		}
		if !hears(hostNS, "fe80::2%"+tap) || !hears(g.Namespace, "fe80::1%"+eth) {
			t.Errorf("%s: host and guest do not reach each other", line)
		}
	}
	if _, err := runAttach(context.Background(), parsed(t, "host:tap2 -i eth3 web 169.254.0.2/30 --host-addr 169.254.0.1/30"), g, hostNS, Options{}); err != nil {
		t.Fatal(err)
	}
	const again = "host:tap3 -i eth4 web 169.254.0.2/24 --host-addr 169.254.0.1/24"
	if _, err := runAttach(context.Background(), parsed(t, again), g, hostNS, Options{}); fault.CodeOf(err) != fault.Conflict {
		t.Errorf("%s, an IPv4 address, which a host has once: %v", again, err)
	}
}
