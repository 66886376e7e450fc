package rawsocket

import (
	"encoding/binary"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Ring is a packet socket that has the kernel write frames into memory of ours, with the
// time at which each passed (packet(7), PACKET_RX_RING). To other sockets it tells that
// time only once it has found leisure to patch its own code for it, some milliseconds
// after the first one has asked.
type Ring struct {
	packet Packet
	fd     int
	memory []byte
	next   int    // which of the frames comes next
	taken  []byte // the frame that was returned last, which the kernel may have again
}

// A ring has room for as many frames as a handful of probes makes, and of each for the
// beginning. A frame without room is lost.
const (
	ringFrame  = 512
	ringFrames = 128
	ringBlock  = 4096
)

// NewRing opens a Ring, which hears nothing before [Ring.Listen].
func (p Packet) NewRing() (*Ring, error) {
	fd, err := p.open()
	if err != nil {
		return nil, err
	}
	return &Ring{packet: p, fd: fd}, nil
}

// Listen has it hear frames from now on. It can be called from any thread. It takes some
// milliseconds, in which the kernel waits for all processors, so several Rings are
// better told at once.
func (r *Ring) Listen() error {
	err := unix.SetsockoptInt(r.fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V2)
	if err == nil {
		err = unix.SetsockoptTpacketReq(r.fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &unix.TpacketReq{
			Block_size: ringBlock, Block_nr: ringFrame * ringFrames / ringBlock, Frame_size: ringFrame, Frame_nr: ringFrames})
	}
	if err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	if r.memory, err = unix.Mmap(r.fd, 0, ringFrame*ringFrames, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return os.NewSyscallError("mmap", err)
	}
	return r.packet.bind(r.fd)
}

// Next returns the next frame that has come since Listen, or false. The frame is good until the call
// after that.
func (r *Ring) Next() (frame []byte, d Details, ok bool) {
	const snaplen, mac, sec, nsec, tag, linkType = 8, 12, 16, 20, 24, 32 + 10 // in struct tpacket2_hdr, and behind it sockaddr_ll
	if r.taken != nil {
		atomic.StoreUint32((*uint32)(unsafe.Pointer(&r.taken[0])), unix.TP_STATUS_KERNEL)
		r.taken = nil
	}
	slot := r.memory[r.next*ringFrame:][:ringFrame]
	status := atomic.LoadUint32((*uint32)(unsafe.Pointer(&slot[0])))
	if status&unix.TP_STATUS_USER == 0 {
		return nil, d, false
	}
	r.taken, r.next = slot, (r.next+1)%ringFrames
	d.Out = slot[linkType] == unix.PACKET_OUTGOING
	d.Time = time.Unix(int64(binary.NativeEndian.Uint32(slot[sec:])), int64(binary.NativeEndian.Uint32(slot[nsec:])))
	d.setTag(status, binary.NativeEndian.Uint16(slot[tag:]))
	from := int(binary.NativeEndian.Uint16(slot[mac:]))
	to := from + int(binary.NativeEndian.Uint32(slot[snaplen:]))
	return slot[min(from, ringFrame):min(to, ringFrame)], d, true
}

// Close closes it.
func (r *Ring) Close() {
	if r.memory != nil {
		_ = unix.Munmap(r.memory)
	}
	unix.Close(r.fd)
}
