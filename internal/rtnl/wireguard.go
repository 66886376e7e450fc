package rtnl

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"

	"github.com/gopipework/gopipework/internal/wireguard"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// A WireGuard link is set up by a family of generic netlink of its own (linux/wireguard.h).

const (
	replacePeers      = 1 // WGDEVICE_F_REPLACE_PEERS
	replaceAllowedIPs = 2 // WGPEER_F_REPLACE_ALLOWEDIPS

	// An attribute has 64 KiB at most, and one allowed IP takes 44 bytes.
	allowedIPsAtOnce = 1000
)

// WireGuard returns how a WireGuard link is set up.
//
//	wg showconf NAME
func (c *Conn) WireGuard(index int) (d wireguard.Device, err error) {
	err = c.generic(unix.WG_GENL_NAME, func(g *genericConn) error {
		msgs, err := g.dump(func() *nl.NetlinkRequest {
			req := g.request(unix.WG_CMD_GET_DEVICE, nl.NewRtAttr(unix.WGDEVICE_A_IFINDEX, nl.Uint32Attr(uint32(index))))
			req.Flags |= unix.NLM_F_DUMP
			return req
		}, g.family)
		d = parseWireGuard(msgs)
		return err
	})
	return d, noWireGuard(err)
}

// SetWireGuard sets a WireGuard link up, and has it forget all other peers.
//
//	wg setconf NAME FILE
func (c *Conn) SetWireGuard(index int, d wireguard.Device) error {
	err := c.generic(unix.WG_GENL_NAME, func(g *genericConn) error {
		for _, req := range wireGuardRequests(g, index, d) {
			req.Flags |= unix.NLM_F_ACK
			if _, err := g.execute(req, 0); err != nil {
				return err
			}
		}
		return nil
	})
	return noWireGuard(err)
}

func noWireGuard(err error) error {
	if errors.Is(err, errNoFamily) {
		return unix.EOPNOTSUPP
	}
	return err
}

// wireGuardRequests returns one for the link itself, and one for each peer, or more if it
// has very many allowed IPs.
func wireGuardRequests(g *genericConn, index int, d wireguard.Device) []*nl.NetlinkRequest {
	link := nl.NewRtAttr(unix.WGDEVICE_A_IFINDEX, nl.Uint32Attr(uint32(index)))
	all := []*nl.NetlinkRequest{g.request(unix.WG_CMD_SET_DEVICE, link,
		nl.NewRtAttr(unix.WGDEVICE_A_FLAGS, nl.Uint32Attr(replacePeers)),
		nl.NewRtAttr(unix.WGDEVICE_A_PRIVATE_KEY, d.PrivateKey[:]),
		nl.NewRtAttr(unix.WGDEVICE_A_LISTEN_PORT, nl.Uint16Attr(d.Port)),
		nl.NewRtAttr(unix.WGDEVICE_A_FWMARK, nl.Uint32Attr(d.Mark)))}
	for _, p := range d.Peers {
		for n := 0; n == 0 || n < len(p.AllowedIPs); n += allowedIPsAtOnce {
			peers := nl.NewRtAttr(unix.WGDEVICE_A_PEERS|unix.NLA_F_NESTED, nil)
			peer := peers.AddRtAttr(unix.NLA_F_NESTED, nil)
			peer.AddRtAttr(unix.WGPEER_A_PUBLIC_KEY, p.PublicKey[:])
			if n == 0 {
				aboutPeer(peer, p)
			}
			allowed := peer.AddRtAttr(unix.WGPEER_A_ALLOWEDIPS|unix.NLA_F_NESTED, nil)
			for _, to := range p.AllowedIPs[n:min(n+allowedIPsAtOnce, len(p.AllowedIPs))] {
				allowedIP(allowed, to)
			}
			all = append(all, g.request(unix.WG_CMD_SET_DEVICE, link, peers))
		}
	}
	return all
}

func aboutPeer(peer *nl.RtAttr, p wireguard.Peer) {
	peer.AddRtAttr(unix.WGPEER_A_FLAGS, nl.Uint32Attr(replaceAllowedIPs))
	peer.AddRtAttr(unix.WGPEER_A_PRESHARED_KEY, p.PresharedKey[:])
	peer.AddRtAttr(unix.WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL, nl.Uint16Attr(p.Keepalive))
	if p.Endpoint.IsValid() {
		peer.AddRtAttr(unix.WGPEER_A_ENDPOINT, sockaddr(p.Endpoint))
	}
}

func allowedIP(in *nl.RtAttr, to netip.Prefix) {
	family := uint16(unix.AF_INET)
	if to.Addr().Is6() {
		family = unix.AF_INET6
	}
	a := in.AddRtAttr(unix.NLA_F_NESTED, nil)
	a.AddRtAttr(unix.WGALLOWEDIP_A_FAMILY, nl.Uint16Attr(family))
	a.AddRtAttr(unix.WGALLOWEDIP_A_IPADDR, to.Addr().AsSlice())
	a.AddRtAttr(unix.WGALLOWEDIP_A_CIDR_MASK, nl.Uint8Attr(uint8(to.Bits())))
}

// sockaddr returns struct sockaddr_in or sockaddr_in6.
func sockaddr(at netip.AddrPort) []byte {
	family := uint16(unix.AF_INET)
	if at.Addr().Is6() {
		family = unix.AF_INET6
	}
	b := binary.BigEndian.AppendUint16(nl.Uint16Attr(family), at.Port())
	if at.Addr().Is4() {
		return append(append(b, at.Addr().AsSlice()...), make([]byte, 8)...)
	}
	b = append(append(b, 0, 0, 0, 0), at.Addr().AsSlice()...) // after the flow
	return append(b, 0, 0, 0, 0)                              // the scope
}

// parseSockaddr reads one; the zero AddrPort: it is of no family that is known.
func parseSockaddr(b []byte) netip.AddrPort {
	switch len(b) {
	case unix.SizeofSockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:])), binary.BigEndian.Uint16(b[2:]))
	case unix.SizeofSockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[8:])), binary.BigEndian.Uint16(b[2:]))
	}
	return netip.AddrPort{}
}

// parseWireGuard reads the answers. Where a peer has no room in one, it goes on in the next.
func parseWireGuard(msgs [][]byte) (d wireguard.Device) {
	for _, m := range msgs {
		if len(m) < nl.SizeofGenlmsg {
			continue
		}
		for a := range nested(m[nl.SizeofGenlmsg:]) {
			switch v := a.value; a.typ &^ unix.NLA_F_NESTED {
			case unix.WGDEVICE_A_PRIVATE_KEY:
				copy(d.PrivateKey[:], v)
			case unix.WGDEVICE_A_LISTEN_PORT:
				d.Port = u16(v)
			case unix.WGDEVICE_A_FWMARK:
				d.Mark = u32(v)
			case unix.WGDEVICE_A_PEERS:
				for peer := range nested(v) {
					addPeer(&d, parsePeer(peer.value))
				}
			}
		}
	}
	return d
}

func addPeer(d *wireguard.Device, p wireguard.Peer) {
	if last := len(d.Peers) - 1; last >= 0 && d.Peers[last].PublicKey == p.PublicKey {
		d.Peers[last].AllowedIPs = append(d.Peers[last].AllowedIPs, p.AllowedIPs...)
		return
	}
	d.Peers = append(d.Peers, p)
}

func parsePeer(b []byte) (p wireguard.Peer) {
	for a := range nested(b) {
		switch v := a.value; a.typ &^ unix.NLA_F_NESTED {
		case unix.WGPEER_A_PUBLIC_KEY:
			copy(p.PublicKey[:], v)
		case unix.WGPEER_A_PRESHARED_KEY:
			copy(p.PresharedKey[:], v)
		case unix.WGPEER_A_ENDPOINT:
			p.Endpoint = parseSockaddr(v)
		case unix.WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL:
			p.Keepalive = u16(v)
		case unix.WGPEER_A_LAST_HANDSHAKE_TIME: // struct __kernel_timespec
			p.Heard = slices.ContainsFunc(v, func(b byte) bool { return b != 0 })
		case unix.WGPEER_A_ALLOWEDIPS:
			for to := range nested(v) {
				if to, ok := parseAllowedIP(to.value); ok {
					p.AllowedIPs = append(p.AllowedIPs, to)
				}
			}
		}
	}
	return p
}

func parseAllowedIP(b []byte) (netip.Prefix, bool) {
	var addr netip.Addr
	bits := -1
	for a := range nested(b) {
		switch {
		case a.typ == unix.WGALLOWEDIP_A_IPADDR:
			addr, _ = netip.AddrFromSlice(a.value)
		case a.typ == unix.WGALLOWEDIP_A_CIDR_MASK && len(a.value) > 0:
			bits = int(a.value[0])
		}
	}
	p := netip.PrefixFrom(addr, bits)
	return p, p.IsValid()
}

func u16(b []byte) uint16 {
	if len(b) < 2 {
		return 0
	}
	return nl.NativeEndian().Uint16(b)
}
