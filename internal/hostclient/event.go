package hostclient

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/gopipework/gopipework/internal/lease"
)

// event is a run of a client's script: its arguments and its environment.
type event struct {
	Args []string
	Env  []string
}

// change is what an event means.
type change struct {
	lease *lease.Reported // it has this lease
	lost  bool            // it has none any more
}

// maxEvent bounds what is read of one: an option holds 255 bytes.
const maxEvent = 1 << 18

// Tell is the script that clients run. It passes the event to the process that looks
// after the client, and returns when that has acted on it.
func Tell(args, env []string) error {
	c, err := net.DialTimeout("unix", socketPath, scriptTime)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(scriptTime))
	if err := json.NewEncoder(c).Encode(event{args, env}); err != nil {
		return err
	}
	answer, err := io.ReadAll(io.LimitReader(c, maxEvent))
	if err == nil && string(answer) != done {
		err = fmt.Errorf("%s", answer)
	}
	return err
}

const (
	scriptTime = 10 * time.Second
	done       = "done"
)

// readUdhcpc reads what udhcpc tells: its script's argument is in "reason".
func readUdhcpc(env map[string]string) (change, error) {
	switch env["reason"] {
	case "bound", "renew":
	case "deconfig", "leasefail", "nak":
		return change{lost: true}, nil
	default:
		return change{}, nil
	}
	s, err := readLease(env["ip"], env["subnet"], env["serverid"], env["lease"], env["router"], env["mtu"])
	if err != nil {
		return change{}, err
	}
	s.Routes, err = readPairs(strings.Fields(env["staticroutes"]))
	return change{lease: s}, err
}

// readPairs reads routes that are each a destination and a router.
func readPairs(words []string) (out []lease.Route, err error) {
	for ; len(words) >= 2; words = words[2:] {
		dst, err1 := netip.ParsePrefix(words[0])
		gw, err2 := netip.ParseAddr(words[1])
		if err1 != nil || err2 != nil || !dst.Addr().Is4() || !gw.Is4() {
			return nil, fmt.Errorf("it gives an invalid route")
		}
		out = append(out, lease.Route{Dst: dst, Gateway: gw})
	}
	return out, nil
}

// readDhclient reads what dhclient tells (dhclient-script(8)).
func readDhclient(env map[string]string) (change, error) {
	s, err := readVariables(env)
	if err == nil && s.lease != nil {
		s.lease.Routes, err = readOctets(strings.Fields(env["new_classless_routes"]))
	}
	return s, err
}

// readDhcpcd reads what dhcpcd tells (dhcpcd-run-hooks(8)).
func readDhcpcd(env map[string]string) (change, error) {
	s, err := readVariables(env)
	if err == nil && s.lease != nil {
		s.lease.Routes, err = readPairs(strings.Fields(env["new_classless_static_routes"]))
	}
	return s, err
}

// readVariables reads what dhclient and dhcpcd tell alike.
func readVariables(env map[string]string) (change, error) {
	switch env["reason"] {
	case "BOUND", "RENEW", "REBIND", "REBOOT":
	case "EXPIRE", "FAIL", "NAK", "STOP", "STOPPED", "RELEASE":
		return change{lost: true}, nil
	default:
		return change{}, nil
	}
	s, err := readLease(env["new_ip_address"], env["new_subnet_mask"], env["new_dhcp_server_identifier"],
		env["new_dhcp_lease_time"], env["new_routers"], env["new_interface_mtu"])
	if err != nil {
		return change{}, err
	}
	return change{lease: s}, nil
}

// readLease reads what all clients tell.
func readLease(ip, mask, server, seconds, routers, mtu string) (*lease.Reported, error) {
	s := &lease.Reported{}
	var err error
	if s.Address, err = netip.ParseAddr(ip); err != nil || !s.Address.Is4() {
		return nil, fmt.Errorf("it gives an invalid address")
	}
	m, err := netip.ParseAddr(mask)
	if err != nil || !m.Is4() {
		return nil, fmt.Errorf("it gives an invalid subnet mask")
	}
	s.Mask = net.IPMask(m.AsSlice())
	if s.Server, err = netip.ParseAddr(server); err != nil || !s.Server.Is4() {
		return nil, fmt.Errorf("it does not say which server it is from")
	}
	n, err := strconv.ParseUint(seconds, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("it gives no lease time")
	}
	s.Time = time.Duration(n) * time.Second
	for _, w := range strings.Fields(routers) {
		if a, err := netip.ParseAddr(w); err == nil && a.Is4() {
			s.Routers = append(s.Routers, a)
		}
	}
	if n, err := strconv.ParseUint(mtu, 10, 16); err == nil {
		s.MTU = int(n)
	}
	return s, nil
}

// readOctets reads option 121 as it is on the wire, each octet a number: a
// prefix length, as much of the destination as it covers, and a router
// (RFC 3442).
func readOctets(words []string) (out []lease.Route, err error) {
	var b []byte
	for _, w := range words {
		n, err := strconv.ParseUint(w, 10, 8)
		if err != nil {
			return nil, fmt.Errorf("it gives an invalid route")
		}
		b = append(b, byte(n))
	}
	for len(b) > 0 {
		bits := int(b[0])
		have := (bits + 7) / 8
		if bits > 32 || len(b) < 1+have+4 {
			return nil, fmt.Errorf("its routes end in the middle or have a mask over 32")
		}
		var dst [4]byte
		copy(dst[:], b[1:1+have])
		out = append(out, lease.Route{
			Dst:     netip.PrefixFrom(netip.AddrFrom4(dst), bits).Masked(),
			Gateway: netip.AddrFrom4([4]byte(b[1+have : 1+have+4])),
		})
		b = b[1+have+4:]
	}
	return out, nil
}
