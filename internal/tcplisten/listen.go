// Package tcplisten listens where a flag of the command line says, and without a host in
// it for this host alone.
package tcplisten

import (
	"net"
	"net/netip"
	"strconv"

	"github.com/gopipework/gopipework/internal/fault"
)

// Listen listens at HOST:PORT, the value of a flag. Without a host that is the loopback
// address; another one must be an IP address. The hint is for a value that cannot be read.
func Listen(flag, addr, hint string) (*net.TCPListener, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fault.BadWord("read flag", flag, "%q is not HOST:PORT", addr).WithHint("%s", hint)
	}
	if host == "" || host == "localhost" {
		host = "127.0.0.1"
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return nil, fault.BadWord("read flag", flag, "%q is not an IP address", host).WithHint("%s", hint)
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, fault.BadWord("read flag", flag, "%q is not a port", port).WithHint("%s", hint)
	}
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(ip, uint16(number))))
	if err != nil {
		return nil, fault.Explain("listen at", addr, err)
	}
	return l, nil
}
