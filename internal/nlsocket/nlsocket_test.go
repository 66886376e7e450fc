package nlsocket

import (
	"errors"
	"testing"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

func open(t *testing.T, protocol int) int {
	t.Helper()
	fd, err := Open(protocol, 100*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// TestOthers: what another process sends is not taken for the kernel's, and the wait for
// the kernel ends.
func TestOthers(t *testing.T) {
	ours, other := open(t, unix.NETLINK_USERSOCK), open(t, unix.NETLINK_USERSOCK)
	if err := unix.Bind(ours, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(ours)
	if err != nil {
		t.Fatal(err)
	}
	forged := nl.NewNetlinkRequest(unix.NLMSG_NOOP, 0).Serialize()
	if err := unix.Sendto(other, forged, 0, name); err != nil {
		t.Fatal(err)
	}
	if msgs, err := Receive(ours, 0); !errors.Is(err, unix.EAGAIN) {
		t.Errorf("received %v, %v", msgs, err)
	}
	if _, _, err := unix.Recvfrom(ours, make([]byte, 64), unix.MSG_DONTWAIT); !errors.Is(err, unix.EAGAIN) {
		t.Errorf("the message is still in the socket: %v", err)
	}
}

// TestKernel: what the kernel answers is received.
func TestKernel(t *testing.T) {
	fd := open(t, unix.NETLINK_ROUTE)
	ask := nl.NewNetlinkRequest(unix.RTM_GETLINK, unix.NLM_F_DUMP)
	ask.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	if err := unix.Sendto(fd, ask.Serialize(), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		t.Fatal(err)
	}
	msgs, err := Receive(fd, 0)
	if err != nil || len(msgs) == 0 || msgs[0].Header.Type != unix.RTM_NEWLINK {
		t.Errorf("received %v, %v", msgs, err)
	}
}
