package bridge

import (
	"errors"
	"fmt"
	"net"

	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/shell"
)

// New is a Linux bridge that is to be created.
type New struct {
	Name  string
	MAC   net.HardwareAddr // pinned, because otherwise it is that of a port, and changes with the ports
	MTU   int              // in bytes; pinned, because otherwise it follows the port with the lowest one
	Group uint32
	Alias string
}

// maker is the part of an [rtnl.Conn] that creating a bridge needs.
type maker interface {
	AddBridge(name string, mac net.HardwareAddr, mtu int, group uint32) error
	LinkByName(name string) (*rtnl.Link, error)
	SetLink(index int, ch rtnl.Change) error
	DelLink(index int) error
}

// ErrLeft is in the error of an Add that could not clean up after itself.
var ErrLeft = errors.New("it could not be deleted again")

// Add makes the bridge and sets it up, without the spanning tree protocol, and
// returns its index. On an error there is no bridge, unless it is [ErrLeft].
func (n New) Add(c maker) (int, error) {
	if err := c.AddBridge(n.Name, n.MAC, n.birthMTU(), n.Group); err != nil {
		return 0, err
	}
	l, err := c.LinkByName(n.Name)
	if err == nil {
		if err = c.SetLink(l.Index, n.Finish()); err == nil {
			return l.Index, nil
		}
	}
	if l, again := c.LinkByName(n.Name); again != nil || c.DelLink(l.Index) != nil {
		return 0, fmt.Errorf("%w; %w", err, ErrLeft)
	}
	return 0, err
}

// Finish returns the change that completes a bridge after its creation. It also completes
// one whose creator was killed before it could.
func (n New) Finish() rtnl.Change { return rtnl.Change{MTU: n.MTU, Alias: n.Alias, Up: true} }

// birthMTU returns the MTU to create the bridge with, which is not the final one. The
// kernel pins an MTU only when it is changed (br_change_mtu), not when the bridge is
// created with it.
func (n New) birthMTU() int {
	const maxMTU = 65535
	if n.MTU < maxMTU {
		return n.MTU + 1
	}
	return n.MTU - 1
}

// Commands returns the commands that a person would type for the same bridge.
func (n New) Commands() []string {
	return []string{
		fmt.Sprintf("ip link add name %s address %s mtu %d group %d type bridge", n.Name, n.MAC, n.birthMTU(), n.Group),
		fmt.Sprintf("ip link set dev %s mtu %d alias %s up", n.Name, n.MTU, shell.Quote(n.Alias)),
	}
}
