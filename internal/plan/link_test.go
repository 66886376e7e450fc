package plan

import (
	"errors"
	"strings"
	"testing"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/rtnl"
	"golang.org/x/sys/unix"
)

// busy is a kernel that sets no link up.
type busy struct{ Kernel }

func (busy) SetLink(int, rtnl.Change) error { return unix.EADDRINUSE }

// TestSetLinkTaken: a link that cannot come up is explained as its kind knows, and otherwise
// by its MAC address.
func TestSetLinkTaken(t *testing.T) {
	m := &Machine{sides: [3]Kernel{InGuest: busy{}}, index: map[end]int{{InGuest, "eth1"}: 7}}
	for want, s := range map[string]SetLink{
		"has that MAC address": {},
		"has its port":         {Taken: Taken{Why: "somebody has its port", Hint: "another port"}},
	} {
		s.Place, s.Name, s.Set = Place{Side: InGuest}, "eth1", rtnl.Change{Up: true}
		err := s.Apply(m, s.Set)
		if !errors.Is(err, unix.EADDRINUSE) || fault.CodeOf(err) != fault.Conflict || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, and not: %s", err, want)
		}
	}
}
