package rtnl

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// portSettings are those of a bridge port that can be set, by their IFLA_BRPORT_*
// numbers, with the words of "ip link set dev NAME type bridge_slave". Its state is
// the bridge's own business.
var portSettings = sync.OnceValue(func() map[uint16]string {
	return map[uint16]string{
		nl.IFLA_BRPORT_PRIORITY: "priority", nl.IFLA_BRPORT_COST: "cost", nl.IFLA_BRPORT_MODE: "hairpin",
		nl.IFLA_BRPORT_GUARD: "guard", nl.IFLA_BRPORT_PROTECT: "root_block", nl.IFLA_BRPORT_FAST_LEAVE: "mcast_fast_leave",
		nl.IFLA_BRPORT_LEARNING: "learning", nl.IFLA_BRPORT_UNICAST_FLOOD: "flood",
		nl.IFLA_BRPORT_PROXYARP: "proxy_arp", nl.IFLA_BRPORT_PROXYARP_WIFI: "proxy_arp_wifi",
		nl.IFLA_BRPORT_MULTICAST_ROUTER: "mcast_router", nl.IFLA_BRPORT_MCAST_FLOOD: "mcast_flood",
		nl.IFLA_BRPORT_MCAST_TO_UCAST: "mcast_to_unicast", nl.IFLA_BRPORT_VLAN_TUNNEL: "vlan_tunnel",
		nl.IFLA_BRPORT_BCAST_FLOOD: "bcast_flood", nl.IFLA_BRPORT_GROUP_FWD_MASK: "group_fwd_mask",
		nl.IFLA_BRPORT_NEIGH_SUPPRESS: "neigh_suppress", nl.IFLA_BRPORT_ISOLATED: "isolated",
		nl.IFLA_BRPORT_LOCKED: "locked", nl.IFLA_BRPORT_MAB: "mab", brportNeighVLANSuppress: "neigh_vlan_suppress",
	}
})

const brportNeighVLANSuppress = 43

// portParts are the settings of the link as a port of its bridge, and its VLANs there.
// It has them once it is a port again.
func (k Kept) portParts() (parts []Part) {
	if settings, err := readAttrs(k.Port); err == nil && len(settings) > 0 {
		command := "ip link set dev " + k.Name + " type bridge_slave"
		for _, s := range settings {
			command += s.words()
		}
		parts = append(parts, Part{Kind: partPort, KeptPart: KeptPart{Command: command, Message: k.Port}})
	}
	if k.VLANs != nil {
		parts = append(parts, Part{Kind: partVLANs, VLANs: k.VLANs, KeptPart: KeptPart{Command: vlansCommand(k.Name, k.VLANs)}})
	}
	return parts
}

// words are empty for a setting that is off and is so by default: not every ip knows
// the newer ones.
func (a attr) words() string {
	value := a.number()
	switch a.typ {
	case nl.IFLA_BRPORT_PRIORITY, nl.IFLA_BRPORT_COST, nl.IFLA_BRPORT_MULTICAST_ROUTER, nl.IFLA_BRPORT_GROUP_FWD_MASK:
	case nl.IFLA_BRPORT_LEARNING, nl.IFLA_BRPORT_UNICAST_FLOOD, nl.IFLA_BRPORT_MCAST_FLOOD, nl.IFLA_BRPORT_BCAST_FLOOD:
		value = onOff(value != "0")
	default:
		if value == "0" {
			return ""
		}
		value = onOff(true)
	}
	return " " + portSettings()[a.typ] + " " + value
}

func (a attr) number() string {
	switch len(a.value) {
	case 1:
		return strconv.Itoa(int(a.value[0]))
	case 2:
		return strconv.Itoa(int(binary.NativeEndian.Uint16(a.value)))
	case 4:
		return strconv.FormatUint(uint64(binary.NativeEndian.Uint32(a.value)), 10)
	}
	return fmt.Sprintf("%x", a.value)
}

func vlansCommand(port string, vlans []PortVLAN) string {
	lines := []string{"bridge vlan del dev " + port + " vid 1-4094"} // the bridge puts a new port into one
	for _, v := range vlans {
		lines = append(lines, v.command(port))
	}
	return strings.Join(lines, "; ")
}

func (v PortVLAN) command(port string) string {
	tags := strconv.Itoa(v.First)
	if v.Last != v.First {
		tags += "-" + strconv.Itoa(v.Last)
	}
	line := "bridge vlan add dev " + port + " vid " + tags
	if v.PVID {
		line += " pvid"
	}
	if v.Untagged {
		line += " untagged"
	}
	return line
}

// portOf returns the settings of a link as a port of a bridge; none if it is not one.
func (c *Conn) portOf(index int) (settings attrs, err error) {
	m, err := c.linkMessage(index, nil)
	if err != nil {
		return nil, err
	}
	l, err := parseLink(m)
	if err != nil || l.Slave != "bridge" {
		return nil, err
	}
	for a := range nested(m[unix.SizeofIfInfomsg:]) {
		if a.typ&^unix.NLA_F_NESTED != unix.IFLA_LINKINFO {
			continue
		}
		for i := range nested(a.value) {
			if i.typ&^unix.NLA_F_NESTED == nl.IFLA_INFO_SLAVE_DATA {
				return portSettingsIn(i.value), nil
			}
		}
	}
	return nil, nil
}

// portSettingsIn leaves out what the kernel tells besides, as its timers.
func portSettingsIn(port []byte) attrs {
	all, _ := readAttrs(port) // what comes before damage counts
	return slices.DeleteFunc(all, func(a attr) bool { return portSettings()[a.typ] == "" })
}

// portKind is how the link is set up as a port.
type portKind struct{ needsMaster }

func (portKind) countIn(k *Kept, p Part) { k.Port = p.Message }

// restore sets what is not as it was: a setting that the kernel chose, such as the
// cost that comes from the speed, stays its to choose.
func (portKind) restore(r *restorer, p Part) error {
	want, now, err := r.port(p)
	if err != nil {
		return err
	}
	differ := slices.DeleteFunc(want, func(a attr) bool {
		has, ok := now.get(a.typ)
		return !ok || slices.Equal(has, a.value)
	})
	if len(differ) == 0 {
		return nil
	}
	req := r.linkRequest(unix.RTM_NEWLINK, 0, r.index)
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_SLAVE_KIND, nl.NonZeroTerminated("bridge"))
	data := info.AddRtAttr(nl.IFLA_INFO_SLAVE_DATA, nil)
	for _, a := range differ {
		data.AddRtAttr(int(a.typ), a.value)
	}
	req.AddData(info)
	return r.write(req)
}

var errNoPort = errors.New("it is no port of a bridge")

func (r *restorer) port(p Part) (want, now attrs, err error) {
	if want, err = readAttrs(p.Message); err != nil {
		return nil, nil, err
	}
	if now, err = r.portOf(r.index); err == nil && len(now) == 0 {
		err = errNoPort
	}
	return want, now, err
}

// look tells all settings: whoever changes one of them knows what he wants.
func (portKind) look(r *restorer, p Part) (there bool, found string, err error) {
	want, now, err := r.port(p)
	if errors.Is(err, errNoPort) {
		return false, "", nil
	}
	for _, a := range now {
		found += portSettings()[a.typ] + " " + a.number() + " "
	}
	there = !slices.ContainsFunc(want, func(a attr) bool {
		has, ok := now.get(a.typ)
		return ok && !slices.Equal(has, a.value)
	})
	return there, found, err
}

// vlansKind is the VLANs that the link is in as a port.
type vlansKind struct{ needsMaster }

func (vlansKind) countIn(k *Kept, p Part) { k.VLANs = append([]PortVLAN{}, p.VLANs...) }

// restore puts the port into its VLANs, and out of those that the bridge puts every
// new port into, if it was not in them.
func (vlansKind) restore(r *restorer, p Part) error {
	all, err := r.PortVLANs()
	if err != nil {
		return err
	}
	surplus := slices.DeleteFunc(slices.Clone(all[r.index]), func(v PortVLAN) bool { return slices.Contains(p.VLANs, v) })
	if len(surplus) > 0 {
		err = r.DelPortVLANs(r.index, surplus)
	}
	lacking := slices.DeleteFunc(slices.Clone(p.VLANs), func(v PortVLAN) bool { return slices.Contains(all[r.index], v) })
	if err == nil && len(lacking) > 0 {
		err = r.AddPortVLANs(r.index, lacking)
	}
	return err
}

func (vlansKind) look(r *restorer, p Part) (there bool, found string, err error) {
	all, err := r.PortVLANs()
	return err == nil && slices.Equal(all[r.index], p.VLANs), fmt.Sprint(all[r.index]), err
}
