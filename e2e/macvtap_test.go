//go:build linux

package e2e

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/gopipework/gopipework/e2e/host"
	"golang.org/x/sys/unix"
)

// TestMacvtap: a program that opens the character device of a guest's macvtap asks another
// guest on the card, by ARP, and hears the answer.
func TestMacvtap(t *testing.T) {
	m := newMachine(t)
	m.card("nic0")
	web, db := m.named("web"), m.named("db")
	check := m.unchanged(web, db)
	line := []string{"macvtap:nic0", "-i", "tap0", "netns:web", "0/0", "02:00:00:00:00:99"}
	if a := m.attach(line...); a.Attachment.Host.Kind != "macvtap" || a.Attachment.Host.Name != "nic0" || !*a.Changed {
		t.Errorf("attach: %+v", a)
	}
	if *m.attach(line...).Changed {
		t.Error("the same line again changes something")
	}
	f := m.fails("conflict", append(line, "--mode", "private")...)
	m.says("another mode", f.Error.Message, "mode bridge", "private")
	other := m.attach("nic0", "netns:db", "10.0.0.2/24").Attachment.Interface.MAC

	tap := m.tap(web, "tap0")
	if got := asksByARP(t, tap, "02:00:00:00:00:99", "10.0.0.2"); got != other {
		t.Errorf("10.0.0.2 has the MAC address %s, db has %s", got, other)
	}
	tap.Close()

	m.quiet("detach", "netns:db")
	m.quiet("detach", "netns:web")
	check("after detach")
}

// tap opens the character device of a macvtap, as a program in a container does: the numbers
// that sysfs tells are those of a node of its own.
func (m *machine) tap(g *host.Guest, ifName string) *os.File {
	m.t.Helper()
	var major, minor uint32
	r := m.Run("ip", "netns", "exec", strings.TrimPrefix(g.Word, "netns:"), "sh", "-c", "cat /sys/class/net/"+ifName+"/tap*/dev") // with a sysfs of its own
	if _, err := fmt.Sscanf(r.Stdout, "%d:%d", &major, &minor); err != nil {
		m.t.Fatalf("read the device number: %v\n%v", err, r)
	}
	node := filepath.Join(m.t.TempDir(), "tap")
	m.check(unix.Mknod(node, unix.S_IFCHR|0o600, int(unix.Mkdev(major, minor))))
	tap, err := os.OpenFile(node, os.O_RDWR|unix.O_NONBLOCK, 0)
	m.check(err)
	m.t.Cleanup(func() { tap.Close() })
	// Frames alone, without a header that is for virtual machines.
	var req [40]byte // struct ifreq
	binary.NativeEndian.PutUint16(req[unix.IFNAMSIZ:], unix.IFF_TAP|unix.IFF_NO_PI)
	raw, err := tap.SyscallConn()
	m.check(err)
	var errno unix.Errno
	m.check(raw.Control(func(fd uintptr) {
		_, _, errno = unix.Syscall(unix.SYS_IOCTL, fd, unix.TUNSETIFF, uintptr(unsafe.Pointer(&req)))
	}))
	if errno != 0 {
		m.t.Fatal("set the kind of frames: ", errno)
	}
	m.check(tap.SetDeadline(time.Now().Add(host.Patience)))
	return tap
}

// asksByARP asks for the MAC address of an IPv4 address, and returns the answer.
func asksByARP(t *testing.T, tap *os.File, own, addr string) string {
	t.Helper()
	mac, err := net.ParseMAC(own)
	if err != nil {
		t.Fatal(err)
	}
	const ethernet, arp = 14, 28
	broadcast := net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	question := append(append(append([]byte{}, broadcast...), mac...), 0x08, 0x06,
		0, 1, 0x08, 0, 6, 4, 0, 1) // Ethernet, IPv4, a request
	question = append(append(question, mac...), 10, 0, 0, 9)
	question = append(append(question, make([]byte, 6)...), net.ParseIP(addr).To4()...)
	if _, err := tap.Write(question); err != nil {
		t.Fatal(err)
	}
	frame := make([]byte, 2048)
	for {
		n, err := tap.Read(frame)
		if err != nil {
			t.Fatalf("wait for an answer of %s: %v", addr, err)
		}
		if n >= ethernet+arp && frame[12] == 0x08 && frame[13] == 0x06 && frame[21] == 2 && net.IP(frame[28:32]).String() == addr {
			return net.HardwareAddr(frame[22:28]).String()
		}
	}
}
