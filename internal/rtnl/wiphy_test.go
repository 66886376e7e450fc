package rtnl

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/gopipework/gopipework/e2e/table"
)

// TestWiphyRequests: there is no radio here, so the messages are held against
// some written out by hand from linux/nl80211.h. The number of the family is
// the kernel's to give; here it is 0x1c.
func TestWiphyRequests(t *testing.T) {
	g := &genericConn{family: 0x1c}
	const get = `
	1c000000 1c00 0100 00000000 00000000     // struct nlmsghdr: 28 bytes, nl80211, REQUEST
	05 01 0000                               // struct genlmsghdr: NL80211_CMD_GET_INTERFACE 5, version 1
	0800 0300 03000000                       // NL80211_ATTR_IFINDEX 3: 3
`
	if diff := cmp.Diff(bytes(get), sent(t, g.request(unix.NL80211_CMD_GET_INTERFACE, nl80211Link(3)).Serialize())); diff != "" {
		t.Errorf("get interface (-want +got):\n%s", diff)
	}
	const move = `
	24000000 1c00 0100 00000000 00000000     // struct nlmsghdr: 36 bytes, nl80211, REQUEST
	31 01 0000                               // struct genlmsghdr: NL80211_CMD_SET_WIPHY_NETNS 49, version 1
	0800 0100 02000000                       // NL80211_ATTR_WIPHY 1: 2
	0800 db00 09000000                       // NL80211_ATTR_NETNS_FD 219: 9
`
	if diff := cmp.Diff(bytes(move), sent(t, g.request(unix.NL80211_CMD_SET_WIPHY_NETNS, wiphyNamespace(2, 9)...).Serialize())); diff != "" {
		t.Errorf("set wiphy netns (-want +got):\n%s", diff)
	}
	table.Instead(t, "Wi-Fi", "the requests, byte for byte")
}

func TestParseWiphy(t *testing.T) {
	// NL80211_CMD_NEW_INTERFACE: IFINDEX 3, IFNAME "wl0", WIPHY 2.
	answer := []byte{7, 1, 0, 0, 8, 0, 3, 0, 3, 0, 0, 0, 8, 0, 4, 0, 'w', 'l', '0', 0, 8, 0, 1, 0, 2, 0, 0, 0}
	sent(t, nil) // skips where they would read otherwise
	if phy, ok := parseWiphy([][]byte{answer}); phy != 2 || !ok {
		t.Errorf("phy %d, %v", phy, ok)
	}
	for n := range answer[:20] {
		if phy, ok := parseWiphy([][]byte{answer[:n]}); ok {
			t.Errorf("phy %d in the first %d bytes", phy, n)
		}
	}
}

// TestNoRadio: a veth has no radio, whether the kernel has nl80211 or not.
func TestNoRadio(t *testing.T) {
	needRoot(t)
	s, other := newSpace(t), newSpace(t)
	s.sh("ip link add nic type veth peer name wire")
	for _, index := range []int{s.link("nic").Index, 9999} {
		if phy, ok, err := s.Wiphy(index); phy != 0 || ok || err != nil {
			t.Errorf("link %d: phy %d, %v, %v", index, phy, ok, err)
		}
	}
	err := s.MoveWiphy(0, other.ns)
	if !answersOne(err, unix.EOPNOTSUPP, unix.ENODEV, unix.ENOENT) {
		t.Errorf("move a radio that is not there: %v", err)
	}
	// The way there, by a family that every kernel has.
	var family uint16
	ok(t, "look up nlctrl", s.generic("nlctrl", func(g *genericConn) error { family = g.family; return nil }))
	if family != unix.GENL_ID_CTRL {
		t.Errorf("nlctrl is family %d", family)
	}
	answers(t, "look up a family that there is not", s.generic("gopipework", nil), errNoFamily)
	table.Instead(t, "Wi-Fi", "the kernel's refusal")
}
