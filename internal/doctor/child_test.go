package doctor

import (
	"testing"

	"github.com/gopipework/gopipework/internal/finding"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
)

// wifi is a kernel whose links are all Wi-Fi cards.
type wifi struct{ plan.Kernel }

func (wifi) Wiphy(int) (phy int, ok bool, err error) { return 0, true, nil }

// TestParentWireless: a MAC address of its own is in doubt on a Wi-Fi card, and its
// card's is not.
func TestParentWireless(t *testing.T) {
	for _, c := range []struct {
		link  rtnl.Link
		found bool
	}{
		{rtnl.Link{Name: "eth1", Kind: "macvlan", Mode: "bridge"}, true},
		{rtnl.Link{Name: "eth1", Kind: "macvtap"}, true},
		{rtnl.Link{Name: "eth1", Kind: "macvlan", Mode: "passthru"}, false},
		{rtnl.Link{Name: "eth1", Kind: "ipvlan", Mode: "l2"}, false},
		{rtnl.Link{Name: "eth1", Kind: "vlan"}, false},
	} {
		w := &walker{leap: toCard, on: &rtnl.Link{Index: 2, Name: "wlan0"}, host: &end{k: wifi{}}}
		w.near = &end{of: guests.GuestInfo{Name: "web"}, link: &c.link}
		got, err := w.parentWireless()
		if err != nil || (len(got) == 1) != c.found || c.found && (got[0].Kind != finding.ParentWireless || got[0].Sure) {
			t.Errorf("%s %s: %v, %v", c.link.Kind, c.link.Mode, got, err)
		}
	}
}
