package rtnl

import (
	"os"
	"strings"
	"testing"
	"unsafe"

	"github.com/gopipework/gopipework/e2e/host"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// loadXDP loads a program that lets every packet pass.
func loadXDP(t *testing.T) *os.File {
	t.Helper()
	code := []uint64{0x00000002_000000b7, 0x95} // r0 = XDP_PASS; exit
	license := []byte("GPL\x00")
	attr := struct {
		typ, count     uint32
		code, license  unsafe.Pointer
		level, size    uint32
		log            uint64
		version, flags uint32
		_              [64]byte
	}{typ: unix.BPF_PROG_TYPE_XDP, count: uint32(len(code)), code: unsafe.Pointer(&code[0]), license: unsafe.Pointer(&license[0])}
	fd, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_LOAD, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	if errno != 0 {
		host.Lacking(t, "xdp", "this kernel loads no XDP program: "+errno.Error())
	}
	f := os.NewFile(fd, "xdp")
	t.Cleanup(func() { f.Close() })
	return f
}

func (s space) attachXDP(index int, prog *os.File) error {
	req := s.linkRequest(unix.RTM_NEWLINK, 0, index)
	xdp := nl.NewRtAttr(unix.IFLA_XDP, nil)
	xdp.AddRtAttr(nl.IFLA_XDP_FD, nl.Uint32Attr(uint32(prog.Fd())))
	req.AddData(xdp)
	return s.write(req)
}

// TestKeepXDP: a program that a guest has attached to a card does not see what the host
// hears, and the host's own is back if it has not ended.
func TestKeepXDP(t *testing.T) {
	needRoot(t)
	home, guest := newSpace(t), newSpace(t)
	home.sh("ip link add nic type veth peer name wire; ip link set nic up; ip link set wire up")
	index := home.link("nic").Index
	program := loadXDP(t)
	clean, err := home.Keep(index)
	ok(t, "keep", err)
	ok(t, "attach a program", home.attachXDP(index, program))
	kept, err := home.Keep(index)
	ok(t, "keep", err)
	ok(t, "lend", home.MoveLink(index, Move{NS: guest.ns}))
	ok(t, "return", guest.MoveLink(index, Move{NS: home.ns}))
	if len(home.link("nic").XDP) != 1 {
		t.Fatalf("programs: %v; want the guest's", home.link("nic").XDP)
	}

	ok(t, "restore", restore(home, index, clean))
	if got := home.link("nic").XDP; len(got) != 0 {
		t.Errorf("programs: %v; want none", got)
	}
	ok(t, "restore", restore(home, index, kept))
	if got := home.link("nic").XDP; len(got) != 1 {
		t.Errorf("programs: %v; want the host's", got)
	}

	ok(t, "restore", restore(home, index, clean))
	program.Close()
	var missing []Part
	eventually(t, "the end of the program", func() bool {
		missing, err = home.Restore(index, kept)
		ok(t, "restore", err)
		return len(missing) == 1
	})
	if p := missing[0]; !p.Over || !strings.Contains(p.Err.Error(), "the program has ended") {
		t.Errorf("missing: %v, over = %v", p.Err, p.Over)
	}
}
