package attach

import (
	"testing"

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
