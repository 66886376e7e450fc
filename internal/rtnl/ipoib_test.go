package rtnl

import (
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/gopipework/gopipework/e2e/host"
	"github.com/gopipework/gopipework/e2e/table"
)

// sent is a request as the kernel would get it, in the byte order of a
// little-endian machine, whose headers these tests were written from.
func sent(t *testing.T, b []byte) string {
	t.Helper()
	if u32([]byte{1, 0, 0, 0}) != 1 {
		host.Lacking(t, "little-endian", "the bytes are those of a little-endian machine")
	}
	return hex.EncodeToString(b)
}

// bytes joins lines of hexadecimal bytes, each with a comment behind //.
func bytes(lines string) string {
	var b strings.Builder
	for line := range strings.Lines(lines) {
		line, _, _ = strings.Cut(line, "//")
		b.WriteString(strings.Join(strings.Fields(line), ""))
	}
	return b.String()
}

// TestIPoIBRequest: no machine of ours has InfiniBand, so the message is held
// against one written out by hand from the kernel's headers.
func TestIPoIBRequest(t *testing.T) {
	const want = `
	64000000                                 // nlmsg_len: 100
	1000                                     // nlmsg_type: RTM_NEWLINK, 16
	0106                                     // nlmsg_flags: REQUEST 0x1, EXCL 0x200, CREATE 0x400
	00000000 00000000                        // nlmsg_seq, nlmsg_pid: set when it is sent
	00 00 0000 00000000 00000000 00000000    // struct ifinfomsg: all 0
	0800 0300 69623000                       // IFLA_IFNAME 3: "ib0" and a zero
	0800 1b00 70670000                       // IFLA_GROUP 27: 0x6770
	0800 0400 dc050000                       // IFLA_MTU 4: 1500
	0800 0500 07000000                       // IFLA_LINK 5: 7
	0800 1c00 01000000                       // IFLA_NET_NS_FD 28: 1
	1c00 1200                                // IFLA_LINKINFO 18, 28 bytes:
	  0900 0100 69706f6962 000000            //   IFLA_INFO_KIND 1: "ipoib", no zero, 3 bytes of padding
	  0c00 0200                              //   IFLA_INFO_DATA 2:
	    0600 0100 0180 0000                  //     IFLA_IPOIB_PKEY 1: 0x8001, 2 bytes of padding
`
	c := &Conn{}
	req := c.childRequest(Child{Kind: "ipoib", Name: "ib0", Group: 0x6770, MTU: 1500, Parent: 7, PKey: 0x8001})
	if strings.Contains(sent(t, req.Serialize()), "1c0001000000") {
		t.Error("a namespace that nobody gave")
	}
	req = c.childRequest(Child{Kind: "ipoib", Name: "ib0", Group: 0x6770, MTU: 1500, Parent: 7, PKey: 0x8001, NS: os.Stdout})
	if diff := cmp.Diff(bytes(want), sent(t, req.Serialize())); diff != "" {
		t.Errorf("request (-want +got):\n%s", diff)
	}
	table.Instead(t, "IPoIB", "the request, byte for byte")
}

// TestNoIPoIB: a kernel without the module does not know the kind; one that has
// it wants a parent of that hardware.
func TestNoIPoIB(t *testing.T) {
	needRoot(t)
	s := newSpace(t)
	s.sh("ip link add nic type veth peer name wire")
	nic := s.link("nic")
	if nic.Type == unix.ARPHRD_INFINIBAND {
		t.Fatalf("a veth of type %d", nic.Type)
	}
	err := s.AddChild(Child{Kind: "ipoib", Name: "ib0", Parent: nic.Index, PKey: 0x8001})
	if s.has("ib0") {
		t.Fatal("it is there")
	}
	if !answersOne(err, unix.EOPNOTSUPP, unix.EINVAL) {
		t.Errorf("ipoib on Ethernet: %v", err)
	}
	table.Instead(t, "IPoIB", "the kernel's refusal")
}
