package spec

import (
	"path"
	"strings"
	"unicode"

	"github.com/gopipework/gopipework/internal/fault"
)

// checkTunnelFile checks the path in wireguard:FILE. A relative one would mean another file
// to a service that attaches the guest again.
func checkTunnelFile(word, file string) error {
	const op = "read host interface"
	switch {
	case !path.IsAbs(file):
		return fault.BadWord(op, word, "it is not the absolute path of a file").WithHint("wireguard:/etc/wireguard/wg0.conf")
	case path.Clean(file) != file:
		return fault.BadWord(op, word, "its path is not the shortest one").WithHint("wireguard:%s", path.Clean(file))
	case strings.ContainsFunc(file, unicode.IsControl):
		return fault.BadWord(op, word, "there is a control character in it")
	}
	return nil
}

// inFile reports whether the addresses stand in a file that has not been read yet.
func (s *Spec) inFile() bool { return s.HostIF.Kind.FromFile() && len(s.Addrs) == 0 }

// LeastWords is how many of HOSTIF, GUEST and ADDRESS a line with this HOSTIF has at least.
func LeastWords(hostIF string) int {
	if kind, _, ok := strings.Cut(hostIF, ":"); ok && Kind(kind).FromFile() {
		return 2
	}
	return 3
}

// CheckFileAddrs refuses what does not go with the addresses of a file. With those of the
// line, Parse has refused it.
func (s *Spec) CheckFileAddrs() error {
	if err := s.checkACD(); err != nil {
		return err
	}
	if err := checkMTU(s.MTU, s.Has(true)); err != nil {
		return err
	}
	if err := s.checkIPv6Off(); err != nil {
		return err
	}
	if err := s.CheckSourceRouting(); err != nil {
		return err
	}
	return s.checkFamily(s.Family)
}

// checkTunnel refuses what a line with wireguard:FILE cannot ask for.
func (s *Spec) checkTunnel(w Words) error {
	switch {
	case s.HostIF.Kind != KindWireGuard:
		return nil
	case s.From.Kind != FromLine:
		return fault.BadWord("read address", w.Address, "nobody in a tunnel answers it").WithHint("leave it out: the file has the addresses")
	case len(s.Gateways) > 0:
		return fault.BadWord("read address", w.Address, "a tunnel has no gateway").WithHint("AllowedIPs in the file make the routes: 0.0.0.0/0, ::/0")
	case w.Address != "" && len(s.Addrs) == 0:
		return fault.BadWord("read address", w.Address, "a tunnel without an address carries nothing").WithHint("leave it out: the file has the addresses")
	case len(w.Routes) > 0:
		return fault.BadWord("read flag", "--route", "AllowedIPs in the file make the routes").WithHint("leave it out")
	}
	return nil
}
