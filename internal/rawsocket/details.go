package rawsocket

import (
	"context"
	"encoding/binary"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Details is what a packet socket tells about a frame beside its bytes. The kernel takes
// the tag out of a received frame before a packet socket gets that.
type Details struct {
	Out    bool      // the interface sent it, rather than received it
	Tagged bool      // it has a VLAN tag, which is not among its bytes
	VLAN   uint16    // of the tag
	Time   time.Time // when it passed
}

// setTag reads a tag as the kernel tells it; status says whether there is one.
func (d *Details) setTag(status uint32, tag uint16) {
	const id = 0xfff // the rest is the frame's priority
	if d.Tagged = status&unix.TP_STATUS_VLAN_VALID != 0; d.Tagged {
		d.VLAN = tag & id
	}
}

// ReceiveDetails is Receive for a socket that was opened with Details. The time is that
// of the call.
func (s *Socket) ReceiveDetails(ctx context.Context, until time.Time, buf []byte) (n int, d Details, err error) {
	var control [64]byte
	err = s.await(ctx, until, func(fd int) error {
		var length int
		var from unix.Sockaddr
		var failed error
		if n, length, _, from, failed = unix.Recvmsg(fd, buf, control[:], 0); failed != nil {
			return os.NewSyscallError("recvmsg", failed)
		}
		d = Details{Time: time.Now()}
		if link, ok := from.(*unix.SockaddrLinklayer); ok {
			d.Out = link.Pkttype == unix.PACKET_OUTGOING
		}
		messages, failed := unix.ParseSocketControlMessage(control[:length])
		for _, m := range messages {
			const status, tag = 0, 16 // where they are in struct tpacket_auxdata
			if m.Header.Level == unix.SOL_PACKET && m.Header.Type == unix.PACKET_AUXDATA && len(m.Data) >= tag+2 {
				d.setTag(binary.NativeEndian.Uint32(m.Data[status:]), binary.NativeEndian.Uint16(m.Data[tag:]))
			}
		}
		return failed
	})
	return n, d, err
}
