package attach

import (
	"context"
	"strings"
	"testing"

	"github.com/gopipework/gopipework/internal/fault"
)

// TestCardNexthops: a card with a nexthop object is in use; with --force-phys
// what is lost of the objects is named, and that is what is lost.
func TestCardNexthops(t *testing.T) {
	needRoot(t)
	notesHere(t)
	hostNS, g := newNamespace(t), docker(newNamespace(t), 0)
	in(t, hostNS, "sh", "-ec", quiet+`for n in 0 1; do ip link add nic$n type veth peer name wire$n; ip link set nic$n up; ip link set wire$n up; done
ip nexthop add id 7 dev nic0; ip nexthop add id 8 dev nic1; ip nexthop add id 9 group 7/8
ip route add 10.9.0.0/16 nhid 7`)
	carriers(t, hostNS, "nic0", "wire0")
	_, err := Attach(context.Background(), spec(t, "phys:nic0 web 0/0"), g, hostNS, Options{})
	if fault.CodeOf(err) != fault.Conflict || !strings.Contains(err.Error(), "nexthop object 7") {
		t.Errorf("attach: %v; want a conflict that names nexthop object 7", err)
	}
	in(t, hostNS, "sh", "-ec", "ip nexthop show | grep -q '^id 7 '")
	r, err := Attach(context.Background(), spec(t, "phys:nic0 web 0/0 --force-phys"), g, hostNS, Options{})
	if err != nil {
		t.Fatal(err)
	}
	said := strings.Join(r.Warnings, "\n")
	for _, want := range []string{"nexthop object 7", "member 7 of nexthop group 9"} {
		if !strings.Contains(said, want) {
			t.Errorf("warnings %q; want %q", said, want)
		}
	}
	if strings.Contains(said, "object 8") {
		t.Errorf("warnings %q: nexthop object 8 is by another card", said)
	}
	if _, err := Detach(context.Background(), Selection{}, g, hostNS, Options{}); err != nil {
		t.Error(err)
	}
	in(t, hostNS, "sh", "-ec", `ip nexthop show | grep -q '^id 8 '; ip route show 10.9.0.0/16 | grep -q "dev nic0"; ! ip nexthop show | grep -q '^id 7 '`)
}
