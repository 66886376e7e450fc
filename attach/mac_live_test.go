package attach

import (
	"cmp"
	"testing"

	testhost "github.com/gopipework/gopipework/e2e/host"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guests"
)

// TestStableMAC: an attachment that stays has the same MAC address each time, and no
// other guest or interface has it; a typed line without U: has a random one.
func TestStableMAC(t *testing.T) {
	needRoot(t)
	hostNS, g := newNamespace(t), docker(newNamespace(t), 0)
	other := docker(newNamespace(t), 0)
	other.Name = "db"
	mac := func(line string, g guests.Guest, by Origin) string {
		t.Helper()
		s := parsed(t, line)
		r, err := Attach(t.Context(), s, &g, Options{HostNS: hostNS, Origin: by})
		if err != nil {
			t.Fatal(err)
		}
		again, err := Attach(t.Context(), s, &g, Options{HostNS: hostNS, Origin: by})
		if err != nil || again.Changed || again.Attachments[0].Interface.MAC != r.Attachments[0].Interface.MAC {
			t.Fatalf("the same again: %v, %+v", err, again)
		}
		if _, err := Detach(t.Context(), Selection{}, &g, Options{HostNS: hostNS}); err != nil {
			t.Fatal(err)
		}
		return r.Attachments[0].Interface.MAC
	}
	const line, second = "brtest web 192.168.1.2/24", "brtest -i eth2 web 192.168.1.2/24"
	first := mac(line, g, OriginKeep)
	for _, is := range []string{mac(line, g, OriginKeep), mac(line, g, "file:lab"), mac(line+" U:", g, "")} {
		if is != first {
			t.Errorf("the MAC address is %s, and was %s", is, first)
		}
	}
	random := mac(line, g, "")
	for _, is := range []string{mac(second, g, OriginKeep), mac(line, other, OriginKeep), random, mac(line, g, "")} {
		if is == first {
			t.Errorf("%s is the MAC address of two", is)
		}
	}
	if mac(line, g, "") == random {
		t.Errorf("a typed line has %s again", random)
	}
}

// TestStableMACAgain: a macvlan has its MAC address again at once, though the kernel has not
// deleted the one that the guest had before its restart.
func TestStableMACAgain(t *testing.T) {
	needRoot(t)
	hostNS := newNamespace(t)
	in(t, hostNS, "sh", "-ec", quiet+"ip link add nic0 address 02:00:00:00:00:09 type veth peer name wire; ip link set wire up; ip link set nic0 up")
	carriers(t, hostNS, "nic0")
	s, first := parsed(t, "nic0 web 192.168.1.2/24"), ""
	for range 10 {
		g := docker(testhost.NewNamespace(t), 0)
		r, err := Attach(t.Context(), s, &g, Options{HostNS: hostNS, Origin: OriginKeep})
		if fault.CodeOf(err) == fault.Unsupported && !testhost.Required("macvlan") {
			testhost.Lacking(t, "macvlan", err.Error())
		}
		if err != nil {
			t.Fatal(err)
		}
		g.Namespace.Close()
		if first = cmp.Or(first, r.Attachments[0].Interface.MAC); first != r.Attachments[0].Interface.MAC {
			t.Errorf("the MAC address is %s, and was %s", r.Attachments[0].Interface.MAC, first)
		}
	}
}
