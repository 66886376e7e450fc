package rtnl

import (
	"errors"
	"os"
	"strconv"
	"unsafe"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// A program that is attached to a link stays there when the link moves. One of the
// guest's is not to see the host's packets.

// xdpModes are the ways in which a program can be attached: the attribute that tells
// its ID, the flag that asks for the way, and ip's word.
var xdpModes = []struct {
	attr uint16
	flag uint32
	word string
}{
	{5, 1 << 2, "xdpdrv"}, // linux/if_link.h: IFLA_XDP_DRV_PROG_ID, XDP_FLAGS_DRV_MODE, and so on
	{6, 1 << 1, "xdpgeneric"},
	{7, 1 << 3, "xdpoffload"},
}

// xdpPrograms returns the IDs of the programs, by ip's words; nil for none.
func xdpPrograms(b []byte) (ids map[string]uint32) {
	for a := range nested(b) {
		for _, m := range xdpModes {
			if a.typ == m.attr && len(a.value) >= 4 && u32(a.value) != 0 {
				if ids == nil {
					ids = map[string]uint32{}
				}
				ids[m.word] = u32(a.value)
			}
		}
	}
	return ids
}

// xdpParts are what differs now.
func (k Kept) xdpParts(now *Link) (parts []Part) {
	for _, m := range xdpModes {
		if now.XDP[m.word] == k.XDP[m.word] {
			continue
		}
		p := Part{Kind: partXDP, Key: m.word, Value: strconv.Itoa(int(k.XDP[m.word]))}
		if p.Value == "0" {
			p.Command = setCommand(k.Name, m.word, "off")
		} else {
			p.Command = "bpftool net attach " + m.word + " id " + p.Value + " dev " + k.Name + " overwrite"
		}
		parts = append(parts, p)
	}
	return parts
}

// dropXDP detaches programs that were not there: they may be a reason for which the
// link does not get its MTU. Those that cannot be detached are missing parts later.
func (r *restorer) dropXDP() error {
	now, err := r.LinkByIndex(r.index)
	if err != nil {
		return failed(lookAt(r.kept.Name), err)
	}
	for _, p := range r.kept.xdpParts(now) {
		if now.XDP[p.Key] != 0 {
			p.Value = "0"
			_ = xdpKind{}.restore(r, p)
		}
	}
	return nil
}

// xdpKind is a program in one of its ways; 0: none.
type xdpKind struct{ plainKind }

func (xdpKind) countIn(k *Kept, p Part) {
	if id, err := strconv.ParseUint(p.Value, 10, 32); err == nil {
		k.XDP = over(k.XDP, map[string]uint32{p.Key: uint32(id)})
	}
}

func (xdpKind) restore(r *restorer, p Part) error {
	id, err := strconv.ParseUint(p.Value, 10, 32)
	if err != nil {
		return errDamaged
	}
	fd := -1 // none
	if id != 0 {
		prog, err := programByID(uint32(id))
		if err != nil {
			return err
		}
		defer prog.Close()
		fd = int(prog.Fd())
	}
	for _, m := range xdpModes {
		if m.word == p.Key {
			req := r.linkRequest(unix.RTM_NEWLINK, 0, r.index)
			xdp := nl.NewRtAttr(unix.IFLA_XDP, nil)
			xdp.AddRtAttr(nl.IFLA_XDP_FD, nl.Uint32Attr(uint32(int32(fd))))
			xdp.AddRtAttr(nl.IFLA_XDP_FLAGS, nl.Uint32Attr(m.flag))
			req.AddData(xdp)
			return r.write(req)
		}
	}
	return errDamaged
}

func (xdpKind) look(r *restorer, p Part) (there bool, found string, err error) {
	l, err := r.LinkByIndex(r.index)
	if err != nil {
		return false, "", err
	}
	found = strconv.Itoa(int(l.XDP[p.Key]))
	return found == p.Value, found, nil
}

func (xdpKind) never(_ *restorer, p Part) error {
	id, _ := strconv.ParseUint(p.Value, 10, 32)
	if id == 0 {
		return nil
	}
	prog, err := programByID(uint32(id))
	if err == nil {
		prog.Close()
	}
	if errors.Is(err, unix.ENOENT) {
		return errors.New("the program has ended")
	}
	return nil
}

// programByID opens a BPF program; unix.ENOENT: it has ended.
func programByID(id uint32) (*os.File, error) {
	attr := struct{ id, next, flags uint32 }{id: id}
	fd, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_GET_FD_BY_ID, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	if errno != 0 {
		return nil, errno
	}
	return os.NewFile(fd, "program"), nil
}
