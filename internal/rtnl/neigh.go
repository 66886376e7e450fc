package rtnl

import (
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
)

// Neighbours returns the addresses that a link has an entry for in the table of
// neighbours, in whatever state.
//
//	ip neighbour show dev NAME nud all
func (c *Conn) Neighbours(index int) ([]netip.Addr, error) {
	h, err := c.inet()
	if err != nil {
		return nil, err
	}
	all, err := retry(func() ([]netlink.Neigh, error) { return h.NeighList(index, netlink.FAMILY_ALL) })
	var out []netip.Addr
	for _, n := range all {
		out = append(out, addr(n.IP))
	}
	return out, err
}

// Neighbour returns the MAC address that a link has for a neighbour; nil: it has none, or has
// not found it.
//
//	ip neighbour show to ADDR dev NAME
func (c *Conn) Neighbour(index int, a netip.Addr) (net.HardwareAddr, error) {
	h, err := c.inet()
	if err != nil {
		return nil, err
	}
	all, err := retry(func() ([]netlink.Neigh, error) { return h.NeighList(index, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, err
	}
	for _, n := range all {
		if addr(n.IP) == a && n.State&(netlink.NUD_INCOMPLETE|netlink.NUD_FAILED) == 0 {
			return n.HardwareAddr, nil
		}
	}
	return nil, nil
}

// SetNeighbour enters the MAC address of a neighbour, until it is asked for again.
//
//	ip neighbour replace ADDR lladdr MAC nud reachable dev NAME
func (c *Conn) SetNeighbour(index int, a netip.Addr, mac net.HardwareAddr) error {
	return c.with(func(h *netlink.Handle) error {
		return h.NeighSet(&netlink.Neigh{LinkIndex: index, State: netlink.NUD_REACHABLE, IP: a.AsSlice(), HardwareAddr: mac})
	})
}

// DelNeighbour deletes the entry.
//
//	ip neighbour del ADDR dev NAME
func (c *Conn) DelNeighbour(index int, a netip.Addr) error {
	return c.with(func(h *netlink.Handle) error { return h.NeighDel(&netlink.Neigh{LinkIndex: index, IP: a.AsSlice()}) })
}
