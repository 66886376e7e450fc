package attach

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopipework/gopipework/internal/guests"

	testhost "github.com/gopipework/gopipework/e2e/host"
	"github.com/gopipework/gopipework/internal/fault"
)

// TestPortMoved: what somebody has done to the host's end of a pair by hand is told by
// list, mended by the same line or refused, and undone by detach.
func TestPortMoved(t *testing.T) {
	needRoot(t)
	for _, c := range []struct {
		name  string
		do    string // web0 is the port; namespace 4 is another one
		state State
		cut   string
		again string // what the same line is refused for; "": it mends it
		hint  string
		kept  bool // no detach of ours takes it
	}{
		{"taken off", "ip link set web0 nomaster", Complete, "web0 is in no bridge", "", "", false},
		{"down", "ip link set web0 down", Complete, "web0 is down", "", "", false},
		{"the bridge is down", "ip link set brtest down", Complete, "brtest is down", "", "", false},
		{"into another bridge", "ip link add br2 type bridge; ip link set br2 up; ip link set web0 master br2", Complete, "", "with bridge br2", "detach", false},
		{"into another namespace", "ip link set web0 netns /proc/self/fd/4", Half, "", "", "", false},
		{"into another namespace, and up", "ip link set web0 netns /proc/self/fd/4; nsenter --net=/proc/self/fd/4 ip link set web0 up", "", "", "it has an interface eth1 already", "ip link del eth1", true},
	} {
		for _, cure := range []string{"the same line", "detach", "gc"} {
			t.Run(c.name+", "+cure, func(t *testing.T) {
				t.Parallel()
				hostNS, web, db, other := newNamespace(t), docker(newNamespace(t), 0), docker(newNamespace(t), 0), newNamespace(t)
				db.Name, db.ID = "db", "fedcba9876543210"
				for _, line := range []string{"brtest web 10.0.0.2/24 -l web0", "brtest db 10.0.0.3/24 -l db0"} {
					g := map[bool]guests.Guest{true: web, false: db}[strings.Contains(line, " web ")]
					if _, err := runAttach(context.Background(), parsed(t, line), g, hostNS, Options{}); err != nil {
						t.Fatal(err)
					}
				}
				if out, err := runWith([]*os.File{hostNS, other}, "nsenter", "--net=/proc/self/fd/3", "sh", "-ec", c.do); err != nil {
					t.Fatal(err, out)
				}
				list, err := runList(context.Background(), hostNS, &web)
				if c.state == "" {
					if err != nil || len(list) != 0 {
						t.Errorf("list: %+v, %v; want nothing", list, err)
					}
				} else if err != nil || len(list) != 1 || list[0].State != c.state || strings.Join(list[0].Cut, "\n") != c.cut {
					t.Errorf("list: %+v, %v; want %s, cut %q", list, err, c.state, c.cut)
				}
				switch cure {
				case "the same line":
					_, err := runAttach(context.Background(), parsed(t, "brtest web 10.0.0.2/24 -l web0"), web, hostNS, Options{})
					if c.again != "" {
						if fault.CodeOf(err) != fault.Conflict || !strings.Contains(err.Error(), c.again) || !strings.Contains(hintOf(err), c.hint) {
							t.Errorf("%v (%s); want %q, %q", err, hintOf(err), c.again, c.hint)
						}
						return
					}
					if err != nil {
						t.Fatal(err)
					}
					if !testhost.Poll(30*time.Second, func() bool { return ping(db.Namespace, "10.0.0.2", 1) }) {
						t.Error("packets do not flow")
					}
					if list, err := runList(context.Background(), hostNS, &web); err != nil || len(list) != 1 || list[0].State != Complete || list[0].Cut != nil {
						t.Errorf("mended: %+v, %v", list, err)
					}
				case "gc":
					if _, err := runGC(context.Background(), hostNS, Options{}); err != nil {
						t.Error(err)
					}
					fallthrough
				case "detach":
					if _, err := runDetach(context.Background(), Selection{}, web, hostNS, Options{}); err != nil {
						t.Error(err)
					}
					links := strings.Fields(in(t, web.Namespace, "ip", "-br", "link"))
					if slices.ContainsFunc(links, func(w string) bool { return strings.HasPrefix(w, "eth1") }) != c.kept {
						t.Errorf("left in the guest: %s", links)
					}
					if links := in(t, other, "ip", "-br", "link"); strings.Contains(links, "web0") != c.kept {
						t.Errorf("left where it was moved: %s", links)
					}
				}
			})
		}
	}
}
