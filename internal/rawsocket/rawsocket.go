// Package rawsocket sends and receives on sockets that package net cannot open, with
// deadlines and contexts: packet sockets, and others whose sender has to be known.
//
// A socket belongs to the network namespace of the thread that opens it. All else
// can be called from any thread.
package rawsocket

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"syscall"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Socket is an open socket.
type Socket struct {
	file *os.File
	raw  syscall.RawConn
}

// New returns the Socket of a non-blocking descriptor, which is closed with it, also
// on an error. name stands in errors.
func New(fd int, name string) (*Socket, error) {
	s := &Socket{file: os.NewFile(uintptr(fd), name)}
	var err error
	if s.raw, err = s.file.SyscallConn(); err != nil {
		s.file.Close()
		return nil, err
	}
	return s, nil
}

// Packet is a packet socket (packet(7)) to open.
type Packet struct {
	Name     string            // for errors
	Index    int               // of the interface, which has to be up
	Protocol uint16            // that it hears, such as unix.ETH_P_ARP
	Headers  bool              // what it sends and receives begins with an Ethernet header
	Filter   []bpf.Instruction // lets through what it hears; nil: everything
	Details  bool              // what it hears comes with [Details]
}

// Open opens the socket.
func (p Packet) Open() (*Socket, error) {
	fd, err := p.open()
	if err == nil && p.Details {
		err = os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1))
	}
	if err == nil {
		err = p.bind(fd)
	}
	if err != nil {
		if fd >= 0 {
			unix.Close(fd)
		}
		return nil, err
	}
	return New(fd, p.Name)
}

// open opens a socket that hears nothing yet: it has no protocol before it has its filter
// and its interface.
func (p Packet) open() (fd int, err error) {
	kind := unix.SOCK_DGRAM
	if p.Headers {
		kind = unix.SOCK_RAW
	}
	fd, err = unix.Socket(unix.AF_PACKET, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if err := attach(fd, p.Filter); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func (p Packet) bind(fd int) error {
	return os.NewSyscallError("bind", unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: network(p.Protocol), Ifindex: p.Index}))
}

// Everybody is the broadcast address of the socket's link.
func (p Packet) Everybody() unix.Sockaddr {
	return &unix.SockaddrLinklayer{Protocol: network(p.Protocol), Ifindex: p.Index,
		Halen: 6, Addr: [8]byte{255, 255, 255, 255, 255, 255}}
}

// network is htons.
func network(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}

// attach has the kernel run the filter, so that a busy link does not wake us.
func attach(fd int, instructions []bpf.Instruction) error {
	if instructions == nil {
		return nil
	}
	raw, err := bpf.Assemble(instructions)
	if err != nil {
		return err
	}
	filter := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		filter[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	return os.NewSyscallError("setsockopt", unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &prog))
}

// ForUs reports whether a packet from that sender is one that the kernel hands up:
// not one that passes by on a promiscuous link, on a VLAN that is not ours, or on
// its way out.
func ForUs(from unix.Sockaddr) bool {
	link, ok := from.(*unix.SockaddrLinklayer)
	return ok && link.Pkttype <= unix.PACKET_MULTICAST
}

// Close closes the socket.
func (s *Socket) Close() { s.file.Close() }

// Write sends to where the socket is bound or connected.
func (s *Socket) Write(b []byte) (int, error) { return s.file.Write(b) }

// Send sends to an address. It does not wait for room in the socket's buffer:
// without it the error is EAGAIN.
func (s *Socket) Send(b []byte, to unix.Sockaddr) error {
	var sent error
	err := s.raw.Write(func(fd uintptr) bool {
		sent = unix.Sendto(int(fd), b, 0, to)
		return true
	})
	return errors.Join(err, os.NewSyscallError("sendto", sent))
}

// Receive reads one datagram into buf, and says who sent it. Its error is
// [os.ErrDeadlineExceeded] if none has come until then, and the cause of ctx's end.
func (s *Socket) Receive(ctx context.Context, until time.Time, buf []byte) (n int, from unix.Sockaddr, err error) {
	err = s.await(ctx, until, func(fd int) (failed error) {
		n, from, failed = unix.Recvfrom(fd, buf, 0)
		return os.NewSyscallError("recvfrom", failed)
	})
	return n, from, err
}

// await calls read, again whenever there is something to read, until its error is
// another than EAGAIN.
func (s *Socket) await(ctx context.Context, until time.Time, read func(fd int) error) error {
	if err := s.file.SetReadDeadline(until); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = s.file.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var failed error
	err := s.raw.Read(func(fd uintptr) bool {
		failed = read(int(fd))
		return !errors.Is(failed, unix.EAGAIN) && !errors.Is(failed, unix.EINTR)
	})
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return err
	}
	return failed
}
