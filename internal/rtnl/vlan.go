package rtnl

import (
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// PortVLAN is a range of VLANs that a bridge port is in (bridge vlan show).
type PortVLAN struct {
	First, Last int  // tags, 1 to 4094; equal for a single one
	PVID        bool // untagged frames that come in get this tag; of one tag only
	Untagged    bool // frames go out without the tag
}

// SetVLANFiltering turns VLAN filtering of a bridge on or off. Turning it on
// cuts off every port that has no VLANs. A kernel without
// CONFIG_BRIDGE_VLAN_FILTERING ignores the attribute: the bridge is read back,
// and unix.EOPNOTSUPP says that nothing was changed.
//
//	ip link set dev BRIDGE type bridge vlan_filtering 0|1
func (c *Conn) SetVLANFiltering(bridge int, on bool) error {
	req := c.linkRequest(unix.RTM_NEWLINK, 0, bridge)
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated("bridge"))
	info.AddRtAttr(nl.IFLA_INFO_DATA, nil).AddRtAttr(iflaBrVLANFiltering, switchAttr(on))
	req.AddData(info)
	return c.writeHeeded(req, bridge, func(l *Link) bool { return l.VLANFiltering == on })
}

// switchAttr is the value of an attribute that turns something on or off.
func switchAttr(on bool) []byte {
	if on {
		return nl.Uint8Attr(1)
	}
	return nl.Uint8Attr(0)
}

// writeHeeded writes what changes a link, and looks whether the kernel has heeded it: one
// that does not know an attribute ignores it (unix.EOPNOTSUPP).
func (c *Conn) writeHeeded(req *nl.NetlinkRequest, index int, heeded func(*Link) bool) error {
	if err := c.write(req); err != nil {
		return err
	}
	l, err := c.LinkByIndex(index)
	if err == nil && !heeded(l) {
		return unix.EOPNOTSUPP
	}
	return err
}

// SetPortIsolated isolates a bridge port from the other isolated ones, or ends that. A kernel
// before 4.18 ignores the attribute: the port is read back, and unix.EOPNOTSUPP says that
// nothing was changed.
//
//	bridge link set dev PORT isolated on|off
func (c *Conn) SetPortIsolated(port int, on bool) error {
	req := c.linkRequest(unix.RTM_NEWLINK, 0, port)
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_SLAVE_KIND, nl.NonZeroTerminated("bridge"))
	info.AddRtAttr(nl.IFLA_INFO_SLAVE_DATA, nil).AddRtAttr(nl.IFLA_BRPORT_ISOLATED, switchAttr(on))
	req.AddData(info)
	return c.writeHeeded(req, port, func(l *Link) bool { return l.Port.Isolated == on })
}

// AddPortVLANs puts a bridge port into the VLANs, all in one message. The
// kernel takes them one after the other: after an error those before it are
// there. A kernel without CONFIG_BRIDGE_VLAN_FILTERING answers
// unix.EOPNOTSUPP.
//
//	bridge vlan add dev PORT vid FIRST[-LAST] [pvid] [untagged]
func (c *Conn) AddPortVLANs(port int, vlans []PortVLAN) error {
	return c.portVLANs(unix.RTM_SETLINK, port, vlans)
}

// DelPortVLANs takes a bridge port out of the VLANs; it need not be in them,
// so there is no error either on a kernel that has none.
//
//	bridge vlan del dev PORT vid FIRST[-LAST]
func (c *Conn) DelPortVLANs(port int, vlans []PortVLAN) error {
	return c.portVLANs(unix.RTM_DELLINK, port, vlans)
}

func (c *Conn) portVLANs(typ, port int, vlans []PortVLAN) error {
	spec := nl.NewRtAttr(unix.IFLA_AF_SPEC, nil)
	for _, v := range vlans {
		entries, err := v.entries()
		if err != nil {
			return err
		}
		for _, e := range entries {
			spec.AddRtAttr(nl.IFLA_BRIDGE_VLAN_INFO, e.Serialize())
		}
	}
	req := c.request(typ, 0)
	msg := nl.NewIfInfomsg(unix.AF_BRIDGE)
	msg.Index = int32(port)
	req.AddData(msg)
	req.AddData(spec)
	return c.write(req)
}

// entries are the one or two struct bridge_vlan_info that mean the range.
func (v PortVLAN) entries() ([]nl.BridgeVlanInfo, error) {
	if v.First < 1 || v.Last > 4094 || v.First > v.Last || v.PVID && v.First != v.Last {
		// The kernel would take a tag modulo 65536.
		return nil, fmt.Errorf("VLANs %d to %d: %w", v.First, v.Last, unix.EINVAL)
	}
	var flags uint16
	if v.PVID {
		flags |= nl.BRIDGE_VLAN_INFO_PVID
	}
	if v.Untagged {
		flags |= nl.BRIDGE_VLAN_INFO_UNTAGGED
	}
	if v.First == v.Last {
		return []nl.BridgeVlanInfo{{Flags: flags, Vid: uint16(v.First)}}, nil
	}
	return []nl.BridgeVlanInfo{
		{Flags: flags | nl.BRIDGE_VLAN_INFO_RANGE_BEGIN, Vid: uint16(v.First)},
		{Flags: flags | nl.BRIDGE_VLAN_INFO_RANGE_END, Vid: uint16(v.Last)},
	}, nil
}

// PortVLANs returns the VLANs of every bridge port in the namespace, and of
// every bridge itself, by link index, in ascending order. A port that is in
// none is not listed; nor is anything by a kernel without
// CONFIG_BRIDGE_VLAN_FILTERING.
//
//	bridge -compressvlans vlan show
func (c *Conn) PortVLANs() (map[int][]PortVLAN, error) {
	msgs, err := c.dump(func() *nl.NetlinkRequest {
		req := c.request(unix.RTM_GETLINK, unix.NLM_F_DUMP)
		req.AddData(nl.NewIfInfomsg(unix.AF_BRIDGE))
		req.AddData(nl.NewRtAttr(unix.IFLA_EXT_MASK, nl.Uint32Attr(nl.RTEXT_FILTER_BRVLAN_COMPRESSED)))
		return req
	}, unix.RTM_NEWLINK)
	if err != nil {
		return nil, err
	}
	ports := map[int][]PortVLAN{}
	for _, m := range msgs {
		if len(m) < unix.SizeofIfInfomsg {
			return nil, fmt.Errorf("short link message of %d bytes", len(m))
		}
		for a := range nested(m[unix.SizeofIfInfomsg:]) {
			if a.typ&^unix.NLA_F_NESTED != unix.IFLA_AF_SPEC {
				continue
			}
			if vlans := parseVLANs(a.value); len(vlans) > 0 {
				ports[int(nl.DeserializeIfInfomsg(m).Index)] = vlans
			}
		}
	}
	return ports, nil
}

func parseVLANs(b []byte) []PortVLAN {
	var vlans []PortVLAN
	for a := range nested(b) {
		if a.typ != nl.IFLA_BRIDGE_VLAN_INFO || len(a.value) < nl.SizeofBridgeVlanInfo {
			continue
		}
		e := nl.DeserializeBridgeVlanInfo(a.value)
		if e.Flags&nl.BRIDGE_VLAN_INFO_RANGE_END != 0 && len(vlans) > 0 {
			vlans[len(vlans)-1].Last = int(e.Vid)
			continue
		}
		vlans = append(vlans, PortVLAN{First: int(e.Vid), Last: int(e.Vid), PVID: e.PortVID(), Untagged: e.Flags&nl.BRIDGE_VLAN_INFO_UNTAGGED != 0})
	}
	return vlans
}
