package host

import (
	"net"
	"os"

	"github.com/gopipework/gopipework/internal/nsfs"
	"github.com/gopipework/gopipework/internal/rawsocket"
	"golang.org/x/sys/unix"
)

// Frames opens a socket for whole Ethernet frames on an interface of the guest.
func (g *Guest) Frames(ifName string) (s *rawsocket.Socket, err error) {
	ns, err := os.Open(g.path)
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	in, err := nsfs.Enter(ns)
	if err != nil {
		return nil, err
	}
	defer in.End()
	err = in.Run(func() error {
		link, err := net.InterfaceByName(ifName)
		if err == nil {
			s, err = rawsocket.Packet{Name: "frames", Index: link.Index, Protocol: unix.ETH_P_ALL, Headers: true}.Open()
		}
		return err
	})
	return s, err
}
