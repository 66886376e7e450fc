package rtnl

import (
	"encoding/binary"
	"fmt"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// UnixSocket is a unix socket as sock_diag(7) describes it. Two of them are equal if
// they are the same socket.
type UnixSocket struct {
	Inode  uint32
	UID    uint32 // of the process that made it
	cookie [8]byte
}

// AbstractSocket finds the socket that is bound to an abstract address (unix(7)),
// written with "@". It returns ErrNotFound if there is none.
func (c *Conn) AbstractSocket(address string) (UnixSocket, error) {
	name := "\x00" + address[1:]
	var all [][]byte
	err := c.Run(func() (err error) { // the request's own socket is made in the namespace
		req := nl.NewNetlinkRequest(nl.SOCK_DIAG_BY_FAMILY, unix.NLM_F_DUMP)
		req.AddRawData(unixDiagRequest())
		all, err = req.Execute(unix.NETLINK_SOCK_DIAG, nl.SOCK_DIAG_BY_FAMILY)
		return err
	})
	if err != nil {
		return UnixSocket{}, fmt.Errorf("list unix sockets: %w", err)
	}
	for _, b := range all {
		if s, got, ok := parseUnixSocket(b); ok && got == name {
			return s, nil
		}
	}
	return UnixSocket{}, ErrNotFound
}

// unixDiagRequest is struct unix_diag_req: every state, with names and owners.
func unixDiagRequest() []byte {
	b := make([]byte, 24)
	b[0] = unix.AF_UNIX
	binary.NativeEndian.PutUint32(b[4:], ^uint32(0))
	const showName, showUID = 0x1, 0x40 // not the numbers of the attributes
	binary.NativeEndian.PutUint32(b[12:], showName|showUID)
	return b
}

// parseUnixSocket reads struct unix_diag_msg and what follows it. A socket without a
// name, or whose owner the kernel does not tell (before 5.3), is not ok.
func parseUnixSocket(b []byte) (s UnixSocket, name string, ok bool) {
	const size = 16
	if len(b) < size || b[0] != unix.AF_UNIX {
		return s, "", false
	}
	s.Inode = binary.NativeEndian.Uint32(b[4:])
	copy(s.cookie[:], b[8:size])
	attrs, err := nl.ParseRouteAttr(b[size:])
	if err != nil {
		return s, "", false
	}
	owned := false
	for _, a := range attrs {
		switch a.Attr.Type {
		case netlink.UNIX_DIAG_NAME:
			name = string(a.Value)
		case netlink.UNIX_DIAG_UID:
			if owned = len(a.Value) >= 4; owned {
				s.UID = binary.NativeEndian.Uint32(a.Value)
			}
		}
	}
	return s, name, owned && name != ""
}
