//go:build linux

package main

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// kernel is the bare kernel: no library, no Docker, no process. It knows the
// guest's namespace and both sockets before it starts, and sends the fewest
// messages that make what gopipework makes.
type kernel struct {
	host, guest int      // netlink sockets
	ns          *os.File // the guest's namespace
	seq         uint32

	port, peer uint32 // indexes of the two ends
}

func newKernel(ns string) (*kernel, error) {
	f, err := os.Open(ns)
	if err != nil {
		return nil, err
	}
	k := &kernel{ns: f, port: portIndex, peer: peerIndex}
	if k.host, err = netlink(); err != nil {
		return nil, err
	}
	done := make(chan error)
	go func() { // its thread enters the guest, and ends there
		runtime.LockOSThread()
		err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET)
		if err == nil {
			k.guest, err = netlink()
		}
		done <- err
	}()
	return k, <-done
}

func netlink() (int, error) {
	s, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return -1, err
	}
	return s, unix.Bind(s, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
}

const (
	group = 0x6770
	// Chosen by us, so that nobody has to look them up; the kernel takes the
	// peer's only if the other is chosen too.
	portIndex = 4710
	peerIndex = 4711
)

// attach is five messages: the pair, the host's end, its alternative name,
// the guest's end, the address.
func (k *kernel) attach(port, bridge, addr string) error {
	master, err := k.index(bridge)
	if err != nil {
		return err
	}
	peer := cat(ifinfo(k.peer, 0),
		text(unix.IFLA_IFNAME, "eth1"), u32(unix.IFLA_MTU, 1500), u32(unix.IFLA_GROUP, group),
		u32(unix.IFLA_NET_NS_FD, uint32(k.ns.Fd())))
	pair := cat(ifinfo(k.port, 0),
		text(unix.IFLA_IFNAME, port), u32(unix.IFLA_MTU, 1500), u32(unix.IFLA_GROUP, group), u32(unix.IFLA_MASTER, master),
		attr(unix.IFLA_LINKINFO, text(unix.IFLA_INFO_KIND, "veth"), attr(unix.IFLA_INFO_DATA, attr(1, peer))))
	// addrgenmode none (1) for IPv6.
	quiet := attr(unix.IFLA_AF_SPEC, attr(unix.AF_INET6, attr(8, []byte{1})))
	a := netip.MustParseAddr(addr).As4()
	broadcast := a
	broadcast[3] = 255
	for i, m := range []struct {
		socket int
		kind   uint16
		flags  uint16
		body   []byte
	}{
		{k.host, unix.RTM_NEWLINK, unix.NLM_F_CREATE | unix.NLM_F_EXCL, pair},
		{k.host, unix.RTM_NEWLINK, 0, cat(ifinfo(k.port, unix.IFF_UP), quiet, text(unix.IFLA_IFALIAS, "gopipework"))},
		{k.host, unix.RTM_NEWLINKPROP, unix.NLM_F_CREATE | unix.NLM_F_EXCL | unix.NLM_F_APPEND,
			cat(ifinfo(k.port, 0), attr(unix.IFLA_PROP_LIST|unix.NLA_F_NESTED, text(unix.IFLA_ALT_IFNAME, "gopipework."+port)))},
		{k.guest, unix.RTM_NEWLINK, 0, ifinfo(k.peer, unix.IFF_UP)},
		{k.guest, unix.RTM_NEWADDR, unix.NLM_F_CREATE | unix.NLM_F_EXCL,
			cat([]byte{unix.AF_INET, 24, 0, 0}, word(k.peer), attr(unix.IFA_LOCAL, a[:]), attr(unix.IFA_ADDRESS, a[:]), attr(unix.IFA_BROADCAST, broadcast[:]))},
	} {
		if err := k.send(m.socket, m.kind, m.flags, m.body); err != nil {
			return fmt.Errorf("message %d: %w", i+1, err)
		}
	}
	return nil
}

func (k *kernel) detach() error { return k.send(k.host, unix.RTM_DELLINK, 0, ifinfo(k.port, 0)) }

// index asks for a link's number by ioctl.
func (k *kernel) index(name string) (uint32, error) {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(s)
	req, err := unix.NewIfreq(name)
	if err != nil {
		return 0, err
	}
	if err := unix.IoctlIfreq(s, unix.SIOCGIFINDEX, req); err != nil {
		return 0, fmt.Errorf("find %s: %w", name, err)
	}
	return req.Uint32(), nil
}

// send sends one message and waits for the kernel's word on it.
func (k *kernel) send(socket int, kind, flags uint16, body []byte) error {
	k.seq++
	m := make([]byte, unix.SizeofNlMsghdr, unix.SizeofNlMsghdr+len(body))
	order.PutUint32(m[0:], uint32(unix.SizeofNlMsghdr+len(body)))
	order.PutUint16(m[4:], kind)
	order.PutUint16(m[6:], flags|unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	order.PutUint32(m[8:], k.seq)
	if err := unix.Sendto(socket, append(m, body...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	b := make([]byte, 8192)
	n, _, err := unix.Recvfrom(socket, b, 0)
	if err != nil {
		return err
	}
	if n < 20 || order.Uint16(b[4:]) != unix.NLMSG_ERROR {
		return fmt.Errorf("not an answer to type %d", kind)
	}
	if code := int32(order.Uint32(b[16:])); code != 0 {
		return unix.Errno(-code)
	}
	return nil
}

var order = binary.NativeEndian

func ifinfo(index, up uint32) []byte {
	return cat(make([]byte, 4), word(index), word(up), word(up))
}

func word(v uint32) []byte { return order.AppendUint32(nil, v) }

func attr(kind uint16, parts ...[]byte) []byte {
	body := cat(parts...)
	b := order.AppendUint16(nil, uint16(4+len(body)))
	b = append(order.AppendUint16(b, kind), body...)
	return append(b, make([]byte, (4-len(b)%4)%4)...)
}

func text(kind uint16, s string) []byte { return attr(kind, append([]byte(s), 0)) }

func u32(kind uint16, v uint32) []byte { return attr(kind, word(v)) }

func cat(parts ...[]byte) (all []byte) {
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}
