package rtnl

import (
	"strings"
	"testing"
)

// TestMirrorFails: where no filter can be added, a clsact that was there stays, and one that
// was added for the filter goes.
func TestMirrorFails(t *testing.T) {
	needRoot(t)
	s := newSpace(t)
	s.sh("ip link add near type veth peer name far; tc qdisc add dev far clsact")
	for name, want := range map[string]bool{"near": false, "far": true} {
		if err := s.AddMirror(Mirror{Index: s.link(name).Index, To: 4711, Handle: 1}); err == nil {
			t.Errorf("%s: copies are sent by a link that there is not", name)
		}
		if is := strings.Contains(s.sh("tc qdisc show dev "+name), "clsact"); is != want {
			t.Errorf("%s has a clsact: %v", name, is)
		}
	}
}
