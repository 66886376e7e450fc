package witness

import (
	"os"
	"slices"
	"strconv"
	"strings"
)

// Listening returns the ports of TCP that somebody listens at on a host, ascending.
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
				if port, ok := listeningAt(line); ok {
					ports = append(ports, port)
				}
			}
		}
		return nil
	})
	slices.Sort(ports)
	return slices.Compact(ports), err
}

// listeningAt reads the port of a line "0: 0100007F:1F90 00000000:0000 0A ...".
func listeningAt(line string) (port int, ok bool) {
	const local, state, listen = 1, 3, "0A"
	words := strings.Fields(line)
	if len(words) <= state || words[state] != listen {
		return 0, false
	}
	n, err := strconv.ParseUint(words[local][strings.LastIndexByte(words[local], ':')+1:], 16, 16)
	return int(n), err == nil
}
