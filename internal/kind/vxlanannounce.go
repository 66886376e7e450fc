package kind

import (
	"context"
	"errors"
	"net/netip"
	"slices"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/guestnet"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rawsocket"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/witness"
	"golang.org/x/sys/unix"
)

// planAnnounceAfar plans for guests of other hosts to hear of what is newly pinned.
func planAnnounceAfar(p Pin, u build.Uplink, d *build.Draft) {
	if l := u.Link; u.VXLAN().Asked() && !l.VXLAN.Learning && (p.Leased || len(p.fresh(p.Want)) > 0) {
		d.Add(AnnounceAfar{Pin: p, Uplink: l.Name})
	}
}

// fresh returns those of the addresses that were not pinned to the MAC address before.
func (s Pin) fresh(addrs []netip.Addr) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(addrs), func(a netip.Addr) bool { return s.Static && slices.Contains(s.Was, a) })
}

// AnnounceAfar tells the guests of other hosts who has the addresses now. The bridge keeps every
// announcement of a guest from a VXLAN that a routing daemon has told who is where
// (br_do_proxy_suppress_arp, br_do_suppress_nd). The other hosts then answer questions rightly, but
// a guest there that knew another MAC address asks none, and uses that for half a minute. So the
// host speaks for its guest by the VXLAN itself, without the bridge.
type AnnounceAfar struct {
	Pin
	Uplink string
}

// Do sends it. What nobody hears, because the VXLAN is down or has gone, is no reason to fail.
func (s AnnounceAfar) Do(_ context.Context, m *plan.Machine) error {
	addrs := s.fresh(s.wanted(m))
	l, err := m.Host().LinkByName(s.Uplink)
	if err == nil && len(addrs) > 0 {
		err = s.send(m, l, addrs)
	}
	if ours.UnlessNotFound(err) != nil && !errors.Is(err, unix.ENETDOWN) {
		m.Warn("guests of other hosts that knew another MAC address of " + plan.JoinAddrs(addrs) + " do not hear of the new one: " + guestnet.ExplainRaw("open socket on", s.Uplink, err).Error())
	}
	return nil
}

func (s AnnounceAfar) send(m *plan.Machine, l *rtnl.Link, addrs []netip.Addr) error {
	p := rawsocket.Packet{Name: "announce:" + l.Name, Index: l.Index, Headers: true}
	var socket *rawsocket.Socket
	if err := m.Host().Run(func() (err error) { socket, err = p.Open(); return err }); err != nil {
		return err
	}
	defer socket.Close()
	for _, a := range addrs {
		if _, err := socket.Write(witness.Announcement(s.MAC, a)); err != nil {
			return err
		}
	}
	return nil
}

func (AnnounceAfar) Undo(context.Context, *plan.Machine) error { return nil }

func (AnnounceAfar) Nature() plan.Nature { return plan.Passive }

func (s AnnounceAfar) String() string {
	what := plan.JoinAddrs(s.fresh(s.Want))
	if s.Leased {
		what = "its addresses"
	}
	return "# announce " + what + " by " + s.Uplink + ", to guests of other hosts"
}
