package wireguard

import (
	"encoding/base64"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/hostaddr"
)

// ofInterface reads a setting of [Interface], whose name is in lower case.
func (r *reader) ofInterface(key, value string) (err error) {
	c := &r.config
	switch key {
	case "privatekey":
		c.PrivateKey, err = r.key("PrivateKey", value)
		c.PrivateKey.clamp()
	case "listenport":
		c.Port, err = r.number16("ListenPort", value)
	case "fwmark":
		c.Mark, err = r.mark(value)
	case "address":
		err = r.addresses(value)
	case "dns":
		err = r.servers(value)
	case "mtu":
		err = r.mtu(value)
	case "table":
		err = r.table(strings.ToLower(value))
	case "preup", "postup", "predown", "postdown":
		return r.wrong("it has a command (PreUp, PostUp, PreDown or PostDown), and no command of a file is run").
			WithHint("delete the line, or use a copy of the file without it")
	case "saveconfig":
		return r.wrong("it has SaveConfig, and no file is written").WithHint("delete the line")
	default:
		return r.wrong("there is no such setting in [Interface]")
	}
	return err
}

// ofPeer reads a setting of [Peer].
func (r *reader) ofPeer(p *Peer, key, value string) (err error) {
	switch key {
	case "publickey":
		p.PublicKey, err = r.key("PublicKey", value)
	case "presharedkey":
		p.PresharedKey, err = r.key("PresharedKey", value)
	case "endpoint":
		err = r.endpoint(p, value)
	case "persistentkeepalive":
		if strings.ToLower(value) != "off" {
			p.Keepalive, err = r.number16("PersistentKeepalive", value)
		}
	case "allowedips":
		err = r.allowedIPs(p, value)
	default:
		return r.wrong("there is no such setting in [Peer]")
	}
	return err
}

// clamp sets the bits that Curve25519 asks for (RFC 7748), as the kernel does with a private
// key. It leaves alone the zero Key, which is none.
func (k *Key) clamp() {
	if *k != (Key{}) {
		k[0] &= 0xf8
		k[31] = k[31]&0x7f | 0x40
	}
}

func (r *reader) key(what, value string) (k Key, err error) {
	b, err := base64.StdEncoding.Strict().DecodeString(value)
	if err != nil || len(b) != len(k) {
		return k, r.wrong("%s is not 32 bytes in base64", what)
	}
	return Key(b), nil
}

func (r *reader) number16(what, value string) (uint16, error) {
	n, err := strconv.ParseUint(value, 10, 16)
	if err != nil {
		return 0, r.wrong("%s is not a number from 0 to 65535", what)
	}
	return uint16(n), nil
}

func (r *reader) mark(value string) (uint32, error) {
	if strings.ToLower(value) == "off" {
		return 0, nil
	}
	n, err := strconv.ParseUint(value, 0, 32)
	if err != nil {
		return 0, r.wrong("FwMark is not a number of 32 bits, such as 0x51, or off")
	}
	return uint32(n), nil
}

func (r *reader) mtu(value string) error {
	n, err := strconv.ParseUint(value, 10, 16)
	if err != nil || n < 68 {
		return r.wrong("MTU is not a number from 68 to 65535")
	}
	r.config.MTU = int(n)
	return nil
}

func (r *reader) table(value string) error {
	if value != "auto" && value != "off" {
		return r.wrong("Table is neither auto nor off, and routes go into no other table")
	}
	r.config.NoRoutes = value == "off"
	return nil
}

// list calls read for each part of a list with commas.
func list(value string, read func(string) error) error {
	for part := range strings.SplitSeq(value, ",") {
		if err := read(strings.TrimSpace(part)); err != nil {
			return err
		}
	}
	return nil
}

// prefix reads ADDRESS[/LENGTH]; without a length it is one address.
func (r *reader) prefix(what, word string) (netip.Prefix, *fault.Error) {
	if a, err := netip.ParseAddr(word); err == nil && a.Zone() == "" {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(word)
	if err != nil {
		return p, r.wrong("%s is not a list of ADDRESS/LENGTH", what)
	}
	return p, nil
}

func (r *reader) addresses(value string) error {
	return list(value, func(word string) error {
		p, wrong := r.prefix("Address", word)
		if wrong != nil {
			return wrong
		}
		same := func(o netip.Prefix) bool { return o.Addr() == p.Addr() }
		switch why := hostaddr.Unusable(p.Addr()); {
		case why != "":
			return r.wrong("Address: %s", why)
		case p.Bits() == 0 || hostaddr.NotHost(p, p.Addr()) != "":
			return r.wrong("Address is that of a network, not of a host")
		case slices.ContainsFunc(r.config.Addrs, same):
			return r.wrong("the Address is given twice")
		}
		r.config.Addrs = append(r.config.Addrs, p)
		return nil
	})
}

// maxServers is how many name servers a resolver asks (resolv.conf(5), MAXNS).
const maxServers = 3

func (r *reader) servers(value string) error {
	return list(value, func(word string) error {
		a, err := netip.ParseAddr(word)
		switch {
		case err != nil:
			r.config.Warnings = append(r.config.Warnings, r.wrong("DNS has a search domain, which is left out").Error())
			return nil
		case a.Zone() != "" || a.Is4In6() || hostaddr.Unusable(a) != "" || slices.Contains(r.config.DNS, a):
			return r.wrong("DNS has an address that cannot be a name server, or is given twice")
		case len(r.config.DNS) == maxServers:
			return r.wrong("a resolver asks %d name servers at most", maxServers)
		}
		r.config.DNS = append(r.config.DNS, a)
		return nil
	})
}

// allowedIPs reads those of a peer. The kernel gives each to one peer alone, the last.
func (r *reader) allowedIPs(p *Peer, value string) error {
	if value == "" {
		return nil
	}
	return list(value, func(word string) error {
		to, wrong := r.prefix("AllowedIPs", word)
		if wrong != nil {
			return wrong
		}
		to = to.Masked()
		switch by := r.allowed[to]; {
		case to.Addr().Is4In6():
			return r.wrong("AllowedIPs has an IPv4 address within an IPv6 one")
		case by != 0 && by != len(r.config.Peers):
			return r.wrong("AllowedIPs has a network that an earlier peer has")
		case by == 0:
			p.AllowedIPs = append(p.AllowedIPs, to)
		}
		r.allowed[to] = len(r.config.Peers)
		return nil
	})
}

// endpoint reads HOST:PORT or [IPV6]:PORT. The address of a name is asked for when all of
// the file has been read.
func (r *reader) endpoint(p *Peer, value string) error {
	if at, err := netip.ParseAddrPort(value); err == nil {
		p.Endpoint = netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
		if at.Addr().IsLinkLocalUnicast() && at.Addr().Is6() {
			return r.wrong("Endpoint is a link-local address, which says nothing without its link")
		}
		if at.Port() == 0 || hostaddr.Unusable(at.Addr()) != "" && !at.Addr().IsLoopback() {
			return r.wrong("Endpoint is nowhere that could be reached")
		}
		return nil
	}
	host, port, err := net.SplitHostPort(value)
	n, wrong := strconv.ParseUint(port, 10, 16)
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789-._"
	if err != nil || wrong != nil || n == 0 || host == "" || strings.Trim(strings.ToLower(host), letters) != "" {
		return r.wrong("Endpoint is not HOST:PORT")
	}
	p.Named = true
	r.config.names = append(r.config.names, named{peer: len(r.config.Peers) - 1, line: r.line, host: host, port: uint16(n)})
	return nil
}
