package acd

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Socket sends and hears ARP on one interface.
type Socket struct {
	file  *os.File
	raw   syscall.RawConn
	from  mac
	index int
	buf   [256]byte
}

// Open opens the socket on the interface with the index, which has to be up. It
// is to be called on a thread that is in the interface's namespace; all else can
// be called from any. An interface that is not Ethernet is
// [errors.ErrUnsupported].
func Open(index int) (*Socket, error) {
	link, err := net.InterfaceByIndex(index)
	if err != nil {
		return nil, err
	}
	if len(link.HardwareAddr) != len(mac{}) {
		return nil, fmt.Errorf("%s has no Ethernet address: %w", link.Name, errors.ErrUnsupported)
	}
	// No protocol yet: nothing is heard before the socket is bound to the one
	// interface.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	s := &Socket{file: os.NewFile(uintptr(fd), "arp:"+link.Name), from: mac(link.HardwareAddr), index: index}
	if err := unix.Bind(fd, s.everybody()); err != nil {
		s.file.Close()
		return nil, os.NewSyscallError("bind", err)
	}
	if s.raw, err = s.file.SyscallConn(); err != nil {
		s.file.Close()
		return nil, err
	}
	return s, nil
}

// Close closes the socket.
func (s *Socket) Close() { s.file.Close() }

// everybody is the broadcast address of the link, for ARP.
func (s *Socket) everybody() *unix.SockaddrLinklayer {
	protocol := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_ARP)) // htons
	return &unix.SockaddrLinklayer{Protocol: protocol, Ifindex: s.index, Halen: 6, Addr: [8]byte{255, 255, 255, 255, 255, 255}}
}

// Probe returns nil when nobody has any of the addresses, which takes the total
// of the times; a [*Conflict] as soon as somebody says otherwise; the cause of
// ctx's end.
//
//	arping -D -I NAME ADDRESS
func (s *Socket) Probe(ctx context.Context, t Times, addrs []netip.Addr) error {
	stop := context.AfterFunc(ctx, func() { _ = s.file.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	p := probing{Times: t, from: s.from, addrs: addrs}
	for {
		out, done := p.due(time.Now())
		if done {
			return nil
		}
		for _, packet := range out {
			if err := s.send(packet); err != nil {
				return err
			}
		}
		if err := s.listen(ctx, &p); err != nil {
			return err
		}
	}
}

// listen judges what is heard until there is something to do again.
func (s *Socket) listen(ctx context.Context, p *probing) error {
	if err := s.file.SetReadDeadline(p.next); err != nil {
		return err
	}
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		h, ok, err := s.receive()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return nil
		}
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		if c := p.judge(h); c != nil {
			return c
		}
	}
}

// Announce says once to everybody on the link who has the addresses now.
//
//	arping -c 1 -A -I NAME ADDRESS
func (s *Socket) Announce(addrs []netip.Addr) error {
	for _, a := range addrs {
		if err := s.send(announcement(s.from, a)); err != nil {
			return err
		}
	}
	return nil
}

func (s *Socket) send(p packet) error {
	var sent error
	err := s.raw.Write(func(fd uintptr) bool {
		sent = unix.Sendto(int(fd), p.bytes(), 0, s.everybody())
		return true
	})
	return errors.Join(err, os.NewSyscallError("sendto", sent))
}

// receive reads one packet; ok is false for one that is no ARP for IPv4, or is
// only passing by on its way to somebody else, or out.
func (s *Socket) receive() (p packet, ok bool, err error) {
	var n int
	var from unix.Sockaddr
	var failed error
	err = s.raw.Read(func(fd uintptr) bool {
		n, from, failed = unix.Recvfrom(int(fd), s.buf[:], 0)
		return !errors.Is(failed, unix.EAGAIN) && !errors.Is(failed, unix.EINTR)
	})
	if err != nil || failed != nil {
		return p, false, errors.Join(err, os.NewSyscallError("recvfrom", failed))
	}
	p, ok = parse(s.buf[:n])
	link, isLink := from.(*unix.SockaddrLinklayer)
	return p, ok && isLink && link.Pkttype <= unix.PACKET_MULTICAST, nil
}
