package rtnl

import (
	"encoding/binary"
	"fmt"
	"os"
	"sync"
	"syscall"

	"github.com/gopipework/gopipework/internal/nlsocket"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// socket is a netlink socket that carries out one request at a time.
type socket struct {
	mu  sync.Mutex // one request at a time
	fd  int        // -1: closed
	seq uint32
}

// dial opens a socket in the namespace that the calling thread is in.
func dial(protocol int) (*socket, error) {
	fd, err := nlsocket.Open(protocol, replyTimeout)
	if err != nil {
		return nil, err
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, 1); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("setsockopt", err)
	}
	return &socket{fd: fd}, nil
}

// close waits for a request that is under way. A closed socket may be closed again.
func (s *socket) close() {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fd >= 0 {
		unix.Close(s.fd)
		s.fd = -1
	}
}

// execute sends a request and returns the messages of the type that answer it; of
// any type if that is 0. The error is the kernel's, with its words if it has any,
// or nl.ErrDumpInterrupted.
func (s *socket) execute(req *nl.NetlinkRequest, typ uint16) ([][]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fd < 0 {
		return nil, os.ErrClosed
	}
	s.seq++
	req.Seq = s.seq
	if err := unix.Sendto(s.fd, req.Serialize(), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, err
	}
	var answers [][]byte
	for interrupted := false; ; {
		msgs, err := nlsocket.Receive(s.fd, 0)
		if err != nil {
			return nil, err
		}
		for _, m := range msgs {
			if m.Header.Seq != s.seq {
				continue // the answer to a request that was given up
			}
			interrupted = interrupted || m.Header.Flags&unix.NLM_F_DUMP_INTR != 0
			if m.Header.Type == unix.NLMSG_DONE || m.Header.Type == unix.NLMSG_ERROR {
				if err := verdictOf(m); err != nil {
					return nil, err
				}
				return answers, ifInterrupted(interrupted)
			}
			if typ == 0 || m.Header.Type == typ {
				answers = append(answers, m.Data)
			}
			if m.Header.Flags&unix.NLM_F_MULTI == 0 {
				return answers, ifInterrupted(interrupted)
			}
		}
	}
}

func ifInterrupted(yes bool) error {
	if yes {
		return nl.ErrDumpInterrupted
	}
	return nil
}

// verdictOf returns what ends an answer: nil, or the kernel's error with its words.
func verdictOf(m syscall.NetlinkMessage) error {
	if len(m.Data) < 4 {
		return nil // a dump ends without a number
	}
	errno := int32(binary.NativeEndian.Uint32(m.Data))
	if errno >= 0 {
		return nil
	}
	err := syscall.Errno(-errno)
	if m.Header.Flags&unix.NLM_F_ACK_TLVS == 0 {
		return err
	}
	more := m.Data[4:]
	if m.Header.Type == unix.NLMSG_ERROR { // the request comes first, or its header
		if len(more) < unix.SizeofNlMsghdr {
			return err
		}
		echoed := unix.SizeofNlMsghdr
		if m.Header.Flags&unix.NLM_F_CAPPED == 0 {
			echoed = int(binary.NativeEndian.Uint32(more))
		}
		more = more[min((echoed+3)&^3, len(more)):]
	}
	for a := range nested(more) {
		if a.typ == nl.NLMSGERR_ATTR_MSG {
			return fmt.Errorf("%w: %s", err, unix.ByteSliceToString(a.value))
		}
	}
	return err
}
