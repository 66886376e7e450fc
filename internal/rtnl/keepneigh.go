package rtnl

import (
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"strconv"

	"github.com/gopipework/gopipework/internal/shell"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// From linux/neighbour.h: where things are in struct ndmsg, and what
// golang.org/x/sys does not name.
const (
	ndmIndex, ndmState, ndmFlags = 4, 8, 10

	ndaProtocol = 12
)

// keepNeighs returns the neighbours of the link that somebody set, and the
// addresses in the forwarding tables of its bridge and of itself. A vxlan keeps
// its own, wherever it goes.
func (c *Conn) keepNeighs(l *Link) (parts []KeptPart, err error) {
	for _, n := range neighDumps {
		msgs, err := c.neighMessages(n)
		if err != nil {
			return nil, err
		}
		for _, m := range msgs {
			k, err := readNeigh(m)
			if err != nil {
				return nil, err
			}
			if k.index() == l.Index && k.set(l) {
				parts = append(parts, KeptPart{Command: k.command(l.Name), Message: k.message()})
			}
		}
	}
	return parts, nil
}

// neighDumps are the heads of the three lists: neighbours, those that the host
// answers for (proxy), and forwarding tables.
var neighDumps = [][]byte{ndmsg(unix.AF_UNSPEC, 0), ndmsg(unix.AF_UNSPEC, unix.NTF_PROXY), ndmsg(unix.AF_BRIDGE, 0)}

func ndmsg(family, flags byte) []byte {
	m := make([]byte, unix.SizeofNdMsg)
	m[0], m[ndmFlags] = family, flags
	return m
}

func (c *Conn) neighMessages(head []byte) ([][]byte, error) {
	return c.dump(func() *nl.NetlinkRequest {
		req := c.request(unix.RTM_GETNEIGH, unix.NLM_F_DUMP)
		req.AddRawData(head)
		return req
	}, unix.RTM_NEWNEIGH)
}

// keptNeigh is an RTM_NEWNEIGH message, taken apart: struct ndmsg, and of its
// attributes those that can be set.
type keptNeigh struct {
	header []byte
	attrs  attrs
}

func readNeigh(m []byte) (n keptNeigh, err error) {
	if len(m) < unix.SizeofNdMsg {
		return n, fmt.Errorf("neighbour message of %d bytes: %w", len(m), errDamaged)
	}
	n.header = slices.Clone(m[:unix.SizeofNdMsg])
	all, err := readAttrs(m[unix.SizeofNdMsg:])
	if err != nil {
		return n, err
	}
	for _, a := range all {
		switch a.typ {
		case unix.NDA_DST, unix.NDA_LLADDR, unix.NDA_VLAN, ndaProtocol:
			n.attrs = append(n.attrs, a)
		case unix.NDA_MASTER:
			n.header[ndmFlags] |= unix.NTF_MASTER // or it would go into the link's own table
		}
	}
	return n, nil
}

func (n keptNeigh) message() []byte { return n.attrs.append(slices.Clone(n.header)) }

func (n keptNeigh) index() int { return int(int32(u32(n.header[ndmIndex:]))) }

func (n keptNeigh) flags() byte { return n.header[ndmFlags] }

func (n keptNeigh) state() uint16 { return binary.NativeEndian.Uint16(n.header[ndmState:]) }

// set reports whether somebody set it, and it was not learned, nor made by the
// kernel: that has the link's own address and multicast in a forwarding table.
func (n keptNeigh) set(l *Link) bool {
	if n.flags()&(unix.NTF_EXT_LEARNED|unix.NTF_OFFLOADED) != 0 {
		return false
	}
	if n.header[0] != unix.AF_BRIDGE {
		return n.flags()&unix.NTF_PROXY != 0 || n.state()&unix.NUD_PERMANENT != 0
	}
	mac, _ := n.attrs.get(unix.NDA_LLADDR)
	if len(mac) == 0 || mac[0]&1 != 0 || slices.Equal(mac, l.MAC) || l.Kind == "vxlan" && n.flags()&unix.NTF_SELF != 0 {
		return false
	}
	return n.state()&(unix.NUD_PERMANENT|unix.NUD_NOARP) != 0
}

// key is what only one of a link's can have.
func (n keptNeigh) key() string {
	at, _ := n.attrs.get(unix.NDA_DST)
	if n.header[0] == unix.AF_BRIDGE {
		mac, _ := n.attrs.get(unix.NDA_LLADDR)
		vlan, _ := n.attrs.get(unix.NDA_VLAN)
		at = slices.Concat(mac, vlan)
	}
	return fmt.Sprint(n.header[0], n.flags()&(unix.NTF_PROXY|unix.NTF_MASTER|unix.NTF_SELF), at)
}

// command is the line that adds it to the link called dev.
func (n keptNeigh) command(dev string) string {
	mac, _ := n.attrs.get(unix.NDA_LLADDR)
	if n.header[0] == unix.AF_BRIDGE {
		// Not "add": an entry without a VLAN is also one in each VLAN that the port is in,
		// and some of those may be there already.
		words := []string{"bridge", "fdb", "replace", net.HardwareAddr(mac).String(), "dev", dev}
		if v, ok := n.attrs.get(unix.NDA_VLAN); ok && len(v) >= 2 {
			words = append(words, "vlan", strconv.Itoa(int(binary.NativeEndian.Uint16(v))))
		}
		if n.flags()&unix.NTF_MASTER != 0 {
			words = append(words, "master")
		}
		if n.state()&unix.NUD_NOARP != 0 {
			words = append(words, "static")
		}
		return shell.Line(words)
	}
	dst, _ := n.attrs.get(unix.NDA_DST)
	if n.flags()&unix.NTF_PROXY != 0 {
		return shell.Line([]string{"ip", "neighbour", "add", "proxy", ipText(dst), "dev", dev})
	}
	words := []string{"ip", "neighbour", "add", ipText(dst), "lladdr", net.HardwareAddr(mac).String(), "nud", "permanent"}
	if n.flags()&unix.NTF_ROUTER != 0 {
		words = append(words, "router")
	}
	return shell.Line(append(words, "dev", dev))
}

// addNeigh adds the neighbour.
func (c *Conn) addNeigh(index int, p KeptPart) error {
	n, err := readNeigh(p.Message)
	if err != nil {
		return err
	}
	nl.NativeEndian().PutUint32(n.header[ndmIndex:], uint32(index))
	req := c.request(unix.RTM_NEWNEIGH, unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	req.AddRawData(n.message())
	return c.write(req)
}

func (k Kept) neighParts() (parts []Part) {
	for _, p := range k.Neighs {
		parts = append(parts, Part{Kind: partNeigh, KeptPart: p})
	}
	return parts
}

// neighKind is a neighbour, or an entry of a forwarding table.
type neighKind struct{ needsMaster }

func (neighKind) countIn(k *Kept, p Part) { k.Neighs = append(slices.Clone(k.Neighs), p.KeptPart) }

func (neighKind) restore(r *restorer, p Part) error { return r.addNeigh(r.index, p.KeptPart) }

func (kind neighKind) never(r *restorer, p Part) error {
	if !p.ofMaster() {
		return nil
	}
	return kind.needsMaster.never(r, p)
}

// look also tells what somebody has set in its place.
func (neighKind) look(r *restorer, p Part) (there bool, found string, err error) {
	want, err := readNeigh(p.Message)
	if err != nil {
		return false, "", err
	}
	head := ndmsg(want.header[0], want.flags()&unix.NTF_PROXY)
	if want.header[0] != unix.AF_BRIDGE {
		head[0] = unix.AF_UNSPEC
	}
	msgs, err := r.neighMessages(head)
	if err != nil {
		return false, "", err
	}
	for _, m := range msgs {
		n, err := readNeigh(m)
		if err != nil {
			return false, "", err
		}
		if n.index() != r.index || n.key() != want.key() {
			continue
		}
		mac, _ := n.attrs.get(unix.NDA_LLADDR)
		wanted, _ := want.attrs.get(unix.NDA_LLADDR)
		const fixed = unix.NUD_PERMANENT | unix.NUD_NOARP
		if slices.Equal(mac, wanted) && n.state()&fixed == want.state()&fixed {
			return true, "", nil
		}
		if n.state()&fixed != 0 {
			return false, net.HardwareAddr(mac).String(), nil
		}
	}
	return false, "", nil
}

// ofMaster reports whether the part is in the forwarding table of the link's master.
func (p Part) ofMaster() bool {
	n, err := readNeigh(p.Message)
	return err == nil && n.flags()&unix.NTF_MASTER != 0
}
