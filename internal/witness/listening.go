package witness

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// Listening returns the ports of TCP that somebody listens at who would take a connection to
// the host's address, ascending.
//
//	ss --tcp --listening --numeric
func Listening(h Host) (ports []int, err error) {
	err = h.Run(func() error {
		for _, name := range []string{"tcp", "tcp6"} { // a socket of IPv6 for any address may take IPv4, too
			// proc_net_tcp.txt of the kernel's documentation. It loads no module, as sock_diag would.
			text, err := os.ReadFile("/proc/thread-self/net/" + name)
			if err != nil && !os.IsNotExist(err) {
				return err
			}
			for line := range strings.Lines(string(text)) {
				at, ok := listeningAt(line)
				if ok && (at.Addr() == h.Addr || at.Addr().IsUnspecified() && (at.Addr().Is6() || h.Addr.Is4())) {
					ports = append(ports, int(at.Port()))
				}
			}
		}
		return nil
	})
	slices.Sort(ports)
	return slices.Compact(ports), err
}

// listeningAt reads the address of a line "0: 0100007F:1F90 00000000:0000 0A ...", of which
// each four bytes are a number of the machine's.
func listeningAt(line string) (at netip.AddrPort, ok bool) {
	const local, state, listen = 1, 3, "0A"
	words := strings.Fields(line)
	if len(words) <= state || words[state] != listen {
		return at, false
	}
	host, port, _ := strings.Cut(words[local], ":")
	addr, err := hex.DecodeString(host)
	p, err2 := hex.DecodeString(port)
	if err != nil || err2 != nil || len(addr)%4 != 0 || len(p) != 2 {
		return at, false
	}
	for i := 0; i < len(addr); i += 4 {
		binary.NativeEndian.PutUint32(addr[i:], binary.BigEndian.Uint32(addr[i:]))
	}
	a, ok := netip.AddrFromSlice(addr)
	return netip.AddrPortFrom(a.Unmap(), binary.BigEndian.Uint16(p)), ok
}
