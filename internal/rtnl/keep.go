package rtnl

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/gopipework/gopipework/internal/shell"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Kept is the configuration of a link as somebody made it: what a card that is
// lent to a guest loses, and what is restored when it is returned. As JSON it can be
// read by a person and outlives the process, but not the kernel: addresses and
// routes are the messages of the kernel that was running.
//
// What the kernel makes by itself is not in it (the link-local address, the
// routes of addresses, all that a router advertised), nor are neighbours that it
// found out about, and queueing disciplines.
type Kept struct {
	Taken    time.Time         `json:"taken"` // lifetimes count from here
	Index    int               `json:"index"` // then
	Name     string            `json:"name"`
	AltNames []string          `json:"altnames,omitempty"`
	Alias    string            `json:"alias,omitempty"`
	Group    uint32            `json:"group"`
	MAC      string            `json:"mac,omitempty"` // "": the link has none
	MTU      int               `json:"mtu"`
	TxQueue  int               `json:"txqueuelen"`
	Up       bool              `json:"up"`
	Flags    uint32            `json:"flags"`              // those of keptFlags that were on
	AddrGen  uint8             `json:"addrgenmode"`        // nl.IN6_ADDR_GEN_MODE_*
	Master   string            `json:"master,omitempty"`   // what it was a port of, but for Open vSwitch, which restores its ports by itself
	Port     []byte            `json:"port,omitempty"`     // its settings as a port of a bridge
	VLANs    []PortVLAN        `json:"vlans"`              // that it is in there; nil: its kernel knows none
	XDP      map[string]uint32 `json:"xdp,omitempty"`      // IDs of programs, by the ways in which they are attached
	Offloads map[string]bool   `json:"offloads,omitempty"` // that can be switched, and whether they are asked for
	// Sysctls are those of net/ipv4/conf/NAME and net/ipv6/conf/NAME, as
	// "ipv6/accept_ra", that are not what a new link gets.
	Sysctls map[string]string `json:"sysctls,omitempty"`
	Token   string            `json:"token,omitempty"` // the end of the IPv6 addresses that routers give it
	Addrs   []KeptPart        `json:"addresses,omitempty"`
	Neighs  []KeptPart        `json:"neighbours,omitempty"` // of forwarding tables too
	Routes  []KeptPart        `json:"routes,omitempty"`     // by this link, of all tables
}

// KeptPart is an address, a neighbour or a route.
type KeptPart struct {
	Command string `json:"command"` // that adds it: "ip address add ..."
	Message []byte `json:"message"` // as the kernel told it, and accepts it
}

// keptFlags are the flags that people set (ip link set dev NAME promisc on,
// allmulticast on, arp off, multicast off, dynamic on).
const keptFlags = unix.IFF_PROMISC | unix.IFF_ALLMULTI | unix.IFF_NOARP | unix.IFF_MULTICAST | unix.IFF_DYNAMIC

// Keep returns the configuration of the link.
//
//	ip -d address show dev NAME; ip route show table all dev NAME
func (c *Conn) Keep(index int) (Kept, error) {
	l, err := c.LinkByIndex(index)
	if err != nil {
		return Kept{}, err
	}
	k := Kept{Taken: time.Now().Round(time.Second), Index: index, Name: l.Name, AltNames: l.AltNames, Alias: l.Alias,
		Group: l.Group, MAC: l.MAC.String(), MTU: l.MTU, TxQueue: l.TxQueue, Up: l.Up,
		Flags: l.Flags & keptFlags, AddrGen: l.AddrGen, Token: l.Token, XDP: l.XDP}
	if l.Master != 0 && l.Slave != "openvswitch" {
		if k.Master, err = c.linkName(l.Master); err != nil {
			return Kept{}, err
		}
	}
	if l.Slave == "bridge" {
		settings, err := c.portOf(index)
		if err != nil {
			return Kept{}, err
		}
		k.Port = settings.append(nil)
		bridge, err := c.LinkByIndex(l.Master)
		if err != nil {
			return Kept{}, err
		}
		if bridge.CanFilter {
			vlans, err := c.PortVLANs()
			if err != nil {
				return Kept{}, err
			}
			k.VLANs = append([]PortVLAN{}, vlans[index]...)
		}
	}
	if k.Offloads, err = c.keepOffloads(index); err != nil {
		return Kept{}, err
	}
	if k.Sysctls, err = c.keepSysctls(l.Name); err != nil {
		return Kept{}, err
	}
	if l.AddrGen == nl.IN6_ADDR_GEN_MODE_RANDOM {
		delete(k.Sysctls, stableSecret) // the kernel made it up, and will again
	}
	if k.Addrs, err = c.keepAddrs(l); err != nil {
		return Kept{}, err
	}
	if k.Neighs, err = c.keepNeighs(l); err != nil {
		return Kept{}, err
	}
	k.Routes, err = c.keepRoutes(l)
	return k, err
}

// Restore makes the link with the index what it was, whatever it is now. What
// is on it already stays, so restoring twice is once, and one that is as it was
// is not set down. Lifetimes have run on meanwhile, and what has expired is left
// out. A route next to one of another link with the same destination and metric
// comes behind it.
//
// Of what is on the link, missing tells what could not be restored, each part with
// its command: a card with its address but without one of its routes is better
// than one without both. An error says that the link itself could not be made what
// it was, or that it is not known what is missing. It can wait for duplicate address
// detection, which a route that has a source address needs, for dadTimeout.
func (c *Conn) Restore(index int, k Kept) (missing []Part, err error) {
	// First: the link may have been given its own name as an alternative one.
	if err := c.dropAltNames(index, k); err != nil {
		return nil, err
	}
	r := c.restorer(index, k)
	if err := r.dropXDP(); err != nil {
		return nil, err
	}
	if err := c.restoreLink(index, k); err != nil {
		return nil, err
	}
	names, err := c.altNameParts(index, k)
	offloads, oerr := c.offloadPart(index, k)
	sysctls, serr := c.sysctlParts(k)
	now, lerr := c.LinkByIndex(index)
	if lerr != nil {
		return nil, failed(lookAt(k.Name), lerr)
	}
	missing = r.restore(slices.Concat(names, k.xdpParts(now), offloads, sysctls, k.masterPart(), k.portParts()))
	if k.Up {
		if err := c.SetLink(index, Change{Up: true}); err != nil {
			return nil, failed(setCommand(k.Name, "up"), err) // down it can have none of the rest
		}
	}
	missing = append(missing, r.restore(k.upParts())...)
	return missing, errors.Join(err, oerr, serr)
}

// failed is the error of what a person would type the command for: an errno alone
// does not say what of a link could not be restored.
func failed(command string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	return nil
}

func lookAt(name string) string { return shell.Line([]string{"ip", "-d", "link", "show", "dev", name}) }

func setCommand(words ...string) string {
	return shell.Line(append([]string{"ip", "link", "set", "dev"}, words...))
}

// restoreLink sets what one message can, and leaves the link down: some of it
// can only be set then.
func (c *Conn) restoreLink(index int, k Kept) error {
	now, err := c.LinkByIndex(index)
	if err != nil {
		return failed(lookAt(k.Name), err)
	}
	ch := Change{Group: &k.Group, TxQueue: &k.TxQueue, Alias: k.Alias, NoAlias: k.Alias == "",
		Flags: k.Flags & keptFlags, FlagMask: keptFlags}
	if now.Name != k.Name {
		ch.Name = k.Name
	}
	// Not every driver takes an address or an MTU, not even the one it has.
	if now.MAC.String() != k.MAC {
		if ch.MAC, err = net.ParseMAC(k.MAC); err != nil {
			return err
		}
	}
	if now.MTU != k.MTU {
		ch.MTU = k.MTU
	}
	if k.same(now) && c.hasSecret(k) {
		return nil
	}
	if err := c.SetLink(index, Change{Down: true}); err != nil {
		return failed(setCommand(now.Name, "down"), err)
	}
	if err := c.SetLink(index, ch); err != nil {
		return failed(setCommand(k.words()...), err)
	}
	return c.restoreAddrGen(index, k)
}

// restoreAddrGen comes when the link has its MTU: below 1280 it has no IPv6, and
// so no such mode, and neither has one of CAN.
func (c *Conn) restoreAddrGen(index int, k Kept) error {
	// The kernel refuses stable_secret to a link without a secret, and turns it on for
	// one that gets a secret.
	if secret, ok := k.Sysctls[stableSecret]; ok {
		path, err := sysctlPath(k.Name, stableSecret)
		if err == nil {
			err = c.SetSysctl(path, secret)
		}
		if err != nil {
			return failed(sysctlCommand(path, secret), err)
		}
	}
	now, err := c.LinkByIndex(index)
	if err != nil || now.AddrGen == k.AddrGen {
		return failed(lookAt(k.Name), err)
	}
	err = c.SetLink(index, Change{AddrGen: &k.AddrGen})
	if errors.Is(err, unix.EAFNOSUPPORT) && k.AddrGen == nl.IN6_ADDR_GEN_MODE_EUI64 {
		return nil // no mode reads as this one
	}
	return failed(setCommand(k.Name, "addrgenmode", k.addrGenMode()), err)
}

func (k Kept) addrGenMode() string {
	if mode, ok := addrGenModes[k.AddrGen]; ok {
		return mode
	}
	return "eui64"
}

// hasSecret reports whether the link has the secret that its stable addresses are
// made of, if it had one.
func (c *Conn) hasSecret(k Kept) bool {
	secret, ok := k.Sysctls[stableSecret]
	if !ok {
		return true
	}
	path, err := sysctlPath(k.Name, stableSecret)
	if err != nil {
		return false
	}
	now, err := c.Sysctl(path)
	return err == nil && now == secret
}

// same reports whether restoreLink has nothing to do.
func (k Kept) same(now *Link) bool {
	return now.Name == k.Name && now.MAC.String() == k.MAC && now.MTU == k.MTU && now.AddrGen == k.AddrGen &&
		now.Group == k.Group && now.TxQueue == k.TxQueue && now.Alias == k.Alias && now.Flags&keptFlags == k.Flags&keptFlags
}

// Commands returns what a person would type instead of Restore on the link that
// has been returned as now. Lifetimes are those of the moment of Keep.
func (k Kept) Commands(now *Link) []string {
	del, add := k.altNames(now)
	var lines []string
	for _, name := range del {
		lines = append(lines, altNameCommand("del", now.Name, name))
	}
	lines = append(lines, setCommand(now.Name, "down"))
	if now.Name != k.Name {
		lines = append(lines, setCommand(now.Name, "name", k.Name))
	}
	lines = append(lines, setCommand(k.words()...))
	// A line of its own, for the alias may be empty.
	lines = append(lines, "ip link set dev "+shell.Quote(k.Name)+" alias "+shell.Quote(k.Alias))
	if secret, ok := k.Sysctls[stableSecret]; ok {
		if path, err := sysctlPath(k.Name, stableSecret); err == nil {
			lines = append(lines, sysctlCommand(path, secret), setCommand(k.Name, "addrgenmode", k.addrGenMode()))
		}
	} else if mode, ok := addrGenModes[k.AddrGen]; ok {
		lines = append(lines, setCommand(k.Name, "addrgenmode", mode))
	}
	for _, name := range add {
		lines = append(lines, altNameCommand("add", k.Name, name))
	}
	for _, p := range k.xdpParts(now) {
		lines = append(lines, p.Command)
	}
	if len(k.Offloads) > 0 {
		lines = append(lines, "# ethtool -K "+shell.Quote(k.Name)+" switches back the offloads that have been switched")
	}
	lines = append(lines, k.sysctlCommands()...)
	for _, p := range slices.Concat(k.masterPart(), k.portParts()) {
		lines = append(lines, p.Command)
	}
	if k.Up {
		lines = append(lines, setCommand(k.Name, "up"))
	}
	for _, p := range k.upParts() {
		lines = append(lines, p.Command)
	}
	return lines
}

// words set what one command can.
func (k Kept) words() []string {
	words := []string{k.Name, "mtu", strconv.Itoa(k.MTU), "txqueuelen", strconv.Itoa(k.TxQueue),
		"group", strconv.FormatUint(uint64(k.Group), 10)}
	if k.MAC != "" {
		words = append(words, "address", k.MAC)
	}
	for _, f := range []struct {
		word string
		on   bool
	}{
		{"promisc", k.Flags&unix.IFF_PROMISC != 0}, {"allmulticast", k.Flags&unix.IFF_ALLMULTI != 0},
		{"arp", k.Flags&unix.IFF_NOARP == 0}, {"multicast", k.Flags&unix.IFF_MULTICAST != 0},
		{"dynamic", k.Flags&unix.IFF_DYNAMIC != 0},
	} {
		words = append(words, f.word, onOff(f.on))
	}
	return words
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

// addrGenModes are those that are not the kernel's default.
var addrGenModes = map[uint8]string{
	nl.IN6_ADDR_GEN_MODE_NONE:           "none",
	nl.IN6_ADDR_GEN_MODE_STABLE_PRIVACY: "stable_secret",
	nl.IN6_ADDR_GEN_MODE_RANDOM:         "random",
}
