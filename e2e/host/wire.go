//go:build linux

package host

import (
	"net"

	"github.com/gopipework/gopipework/internal/rawsocket"
	"golang.org/x/sys/unix"
)

// Frames opens a socket for whole Ethernet frames on an interface of the guest.
func (g *Guest) Frames(ifName string) (s *rawsocket.Socket, err error) {
	err = g.Inside(func() error {
		link, err := net.InterfaceByName(ifName)
		if err == nil {
			s, err = rawsocket.Packet{Name: "frames", Index: link.Index, Protocol: unix.ETH_P_ALL, Headers: true}.Open()
		}
		return err
	})
	return s, err
}
