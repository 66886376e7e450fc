package reconcile

import (
	"strings"
	"testing"

	"github.com/gopipework/gopipework/attach"
)

// TestAsked: an attachment asks for what its kind takes, and the rest is told.
func TestAsked(t *testing.T) {
	card := func(kind string) func(*attach.Attachment) {
		return func(a *attach.Attachment) { a.Host = attach.Host{Kind: kind, Name: "nic0"} }
	}
	more := func(more ...string) func(*attach.Attachment) {
		return func(a *attach.Attachment) { a.More = more }
	}
	for _, test := range []struct {
		a          attach.Attachment
		want, rest string
	}{
		{there("a", "eth1", "10.0.0.1/24"), "bridge:br1 veth1a 02:00:00:00:00:01", ""},
		{there("a", "eth1", "10.0.0.1/24", card("macvlan"), more("mode private", "host access", "routes")), "macvlan:nic0 02:00:00:00:00:01 private host-access", "routes"},
		{there("a", "eth1", "10.0.0.1/24", card("ipvlan"), more("mode l3")), "ipvlan:nic0 l3", ""},
		{there("a", "ib0", "10.0.0.1/24", card("ipoib")), "ipoib:nic0", ""},
		{there("a", "eth1", "10.0.0.1/24", card("phys")), "phys:nic0", ""},
		{there("a", "eth1", "10.0.0.1/24", card("host"), more("--host-addr 10.0.0.9/24", "--host-addr 10.0.0.8/24", "name servers")), "host:nic0 02:00:00:00:00:01 10.0.0.9/24", "--host-addr 10.0.0.8/24,name servers"},
		{there("a", "eth1", "10.0.0.1/24", card("dummy")), "dummy:dummy 02:00:00:00:00:01", ""},
		{there("a", "eth1", "10.0.0.1/24", linked("b", "eth1")), "veth: 02:00:00:00:00:01", ""},
	} {
		s, rest := Asked(test.a)
		w := s.Words()
		words := []string{w.HostIF, w.HostName, w.MAC, w.Mode, w.HostAddr}
		if w.HostAccess {
			words = append(words, "host-access")
		}
		if got := strings.Join(strings.Fields(strings.Join(words, " ")), " "); got != test.want || w.Address != "10.0.0.1/24" || w.MTU != "1500" {
			t.Errorf("%q is not %q: %+v", got, test.want, w)
		}
		if got := strings.Join(rest, ","); got != test.rest {
			t.Errorf("%s: the rest is %q and not %q", test.want, got, test.rest)
		}
	}
}
