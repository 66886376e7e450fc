// Package wireguard reads the files of wg-quick(8), which say how a WireGuard link is to be
// set up.
//
// Whoever may name a file may not be allowed to read it, and there are keys in it. So no
// error and no warning repeats anything of a file: they name a line, and what it is about.
package wireguard

import (
	"fmt"
	"io"
	"net/netip"
)

// Key is a public, private or preshared key. The zero Key is none.
type Key [32]byte

// Format writes no key, whatever the verb: none is to get into an error or a log.
func (Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "(key)") }

// Device is how a link is set up.
type Device struct {
	PrivateKey Key
	Port       uint16 // of the UDP socket; 0: the kernel chooses
	Mark       uint32 // of the packets that the socket sends; 0: none
	Peers      []Peer
}

// Peer is who is at the other end of a tunnel.
type Peer struct {
	PublicKey    Key
	PresharedKey Key            // the zero Key: none
	Endpoint     netip.AddrPort // where it is; the zero AddrPort: where it sends from
	Keepalive    uint16         // seconds between packets that keep a firewall open; 0: none are sent
	AllowedIPs   []netip.Prefix // whose packets it sends and gets

	Named bool // the endpoint is a name in the file, whose address can change
	Heard bool // it has answered; from then on the kernel follows it to other addresses
}

// Config is what a file asks for.
type Config struct {
	Device
	Addrs    []netip.Prefix
	DNS      []netip.Addr
	MTU      int  // bytes; 0: nothing is said
	NoRoutes bool // AllowedIPs make no routes
	Warnings []string

	names []named
}

// named is an endpoint whose address is to be asked for.
type named struct {
	peer, line int
	host       string
	port       uint16
}
