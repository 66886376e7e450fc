package build

import (
	"crypto/sha256"
	"net"
	"strings"

	"github.com/gopipework/gopipework/internal/guests"
)

// NamedMAC is the MAC address that an interface of a guest always gets on a machine:
// locally administered, and the same again after the guest, gopipework or the machine was
// restarted. Neighbours that know the address need not learn another. The machine is part
// of it, because hosts on one network may well have guests of the same name.
func NamedMAC(machine string, g guests.GuestInfo, ifName string) net.HardwareAddr {
	sum := sha256.Sum256([]byte(strings.Join([]string{"gopipework", machine, g.Word(), ifName}, "\n")))
	return append(net.HardwareAddr{0x02}, sum[:5]...)
}
