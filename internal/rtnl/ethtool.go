package rtnl

import (
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The ethtool requests that switch offloads go by name, not by index, and
// through an ioctl in the namespace of the link (linux/ethtool.h).

// ethtoolValue is struct ethtool_value.
type ethtoolValue struct{ cmd, data uint32 }

// ethtoolRequest is struct ifreq as SIOCETHTOOL reads it.
type ethtoolRequest struct {
	name [unix.IFNAMSIZ]byte
	data unsafe.Pointer
	_    [16]byte // the union in struct ifreq is longer than a pointer
}

// TxChecksum reports whether checksums of what the link sends are left to it;
// frames from a veth with that on have none until they meet hardware.
//
//	ethtool -k NAME | grep ^tx-checksumming
func (c *Conn) TxChecksum(index int) (bool, error) {
	v := ethtoolValue{cmd: unix.ETHTOOL_GTXCSUM}
	err := c.ethtool(index, &v)
	return v.data != 0, err
}

// SetTxChecksum turns that on or off; what depends on it, such as segmentation
// offload, follows. A link that cannot change it answers unix.EOPNOTSUPP.
//
//	ethtool -K NAME tx on|off
func (c *Conn) SetTxChecksum(index int, on bool) error {
	v := ethtoolValue{cmd: unix.ETHTOOL_STXCSUM}
	if on {
		v.data = 1
	}
	return c.ethtool(index, &v)
}

func (c *Conn) ethtool(index int, v *ethtoolValue) error {
	return c.ethtoolData(index, unsafe.Pointer(v))
}

// ethtoolData sends a request of any shape that linux/ethtool.h knows.
func (c *Conn) ethtoolData(index int, data unsafe.Pointer) error {
	l, err := c.LinkByIndex(index)
	if err != nil {
		return err
	}
	req := ethtoolRequest{data: data}
	copy(req.name[:unix.IFNAMSIZ-1], l.Name)
	return c.Run(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return os.NewSyscallError("socket", err)
		}
		defer unix.Close(fd)
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req)))
		runtime.KeepAlive(data)
		if errno != 0 {
			return errno
		}
		return nil
	})
}
