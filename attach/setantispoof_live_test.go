package attach

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/ours"
)

// TestSetFilterUndone: when any step of a set fails, the port has the source filter that it
// had, and the mark of it or none.
func TestSetFilterUndone(t *testing.T) {
	needRoot(t)
	for _, marked := range []bool{true, false} {
		for _, set := range []string{"--antispoof off", "--addr 192.168.1.3/24"} {
			t.Run(fmt.Sprintf("%s, marked: %v", set, marked), func(t *testing.T) {
				hostNS, guestNS := stage{}.ready(t)
				g, s := docker(guestNS, 0), typedSet(t, set)
				if _, err := runAttach(t.Context(), parsed(t, "brtest web 192.168.1.2/24 02:00:00:00:00:0d --antispoof -l web0"), g, hostNS, Options{}); err != nil {
					t.Fatal(err)
				}
				if !marked {
					in(t, hostNS, "ip", "link", "property", "del", "dev", "web0", "altname", ours.FilterMark("web0", net.HardwareAddr{2, 0, 0, 0, 0, 0xd}))
				}
				look := func() string {
					port := strings.Fields(in(t, hostNS, "ip", "link", "show", "dev", "web0"))
					slices.Sort(port) // a mark that was deleted and comes back is the last one
					return addressesInOrder(snapshot(t, guestNS)) + "\n" + strings.Join(port, "\n") + "\n" + in(t, hostNS, "nft", "list", "ruleset")
				}
				was := look()
				for n, done := 0, false; !done && !t.Failed(); n++ {
					var err error
					if done, err = tryToSet(t, s, g, hostNS, n); !errors.Is(err, errPlanned) || fault.CodeOf(err) == fault.Residue {
						t.Fatalf("step %d: %v", n, err)
					}
					same(t, fmt.Sprintf("host and guest after failure at step %d", n), was, look())
				}
			})
		}
	}
}
