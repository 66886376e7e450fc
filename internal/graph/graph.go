// Package graph holds what is connected to what on a host, as data, and draws it: as a tree
// for a terminal, as SVG, and in the languages of Graphviz and Mermaid.
//
// The data is a plain value. How it is read from the kernel is not known here, and neither
// is what becomes of the text. Names can contain anything: every format escapes them.
package graph

import (
	"cmp"
	"net/netip"
	"slices"
)

// Graph is what is connected to what on a host. Its JSON is the command's.
type Graph struct {
	Nodes    []Node   `json:"nodes"`
	Links    []Link   `json:"links"`
	Warnings []string `json:"warnings,omitempty"` // what could not be found out
}

// Node is an interface, or a guest, in which interfaces are.
type Node struct {
	// ID is the same for as long as the node has its name: host/NAME,
	// guest/WORD or guest/WORD/NAME. No two nodes have the same.
	ID     string `json:"id"`
	Kind   Kind   `json:"kind"`
	Name   string `json:"name"`             // of the interface, or of the guest
	Parent string `json:"parent,omitempty"` // ID of the guest that an interface is in; "": the host has it
	Ours   bool   `json:"ours"`             // made, lent or attached by gopipework
	State  State  `json:"state,omitempty"`  // "": of a guest that runs

	// Of an interface.
	Type      string         `json:"type,omitempty"`  // as "ip -d link" calls it: "veth", ...; "": a card
	Mode      string         `json:"mode,omitempty"`  // of a macvlan or ipvlan: "bridge", "l2", ...
	Index     int            `json:"index,omitempty"` // in its namespace; 0: not known
	MAC       string         `json:"mac,omitempty"`
	MTU       int            `json:"mtu,omitempty"`       // in bytes; 0: not known
	VLAN      string         `json:"vlan,omitempty"`      // the tag of a vlan, or what a port of a bridge carries, as on a command line
	Addresses []netip.Prefix `json:"addresses,omitempty"` // without the link-local ones that the kernel made up
	Gateway   []netip.Addr   `json:"gateway,omitempty"`   // of default routes by it

	// Of a guest.
	Word  string `json:"word,omitempty"`  // for the command line; "": it has none
	PID   int    `json:"pid,omitempty"`   // of a process in it; 0: none is known
	NetNS uint64 `json:"netns,omitempty"` // inode number of its namespace; 0: not known

	Also []string `json:"also,omitempty"` // words of other guests that have the same namespace, as those of a pod

	// Hidden counts what is linked to it and was left out, because only some guests were
	// asked for.
	Hidden int `json:"hidden,omitempty"`
}

// Kind is what a node is. Those of the host are ranked by how far they are from guests.
type Kind string

// The kinds.
const (
	Card   Kind = "card"   // a network card of the host, or what is used like one: a dummy, a wireless one
	Bond   Kind = "bond"   // several cards that are used as one; a team too
	VLAN   Kind = "vlan"   // a sub-interface of a card
	Tunnel Kind = "tunnel" // vxlan, gre, wireguard and so on
	Bridge Kind = "bridge" // a Linux bridge
	OVS    Kind = "ovs"    // an Open vSwitch bridge
	VRF    Kind = "vrf"    // a routing domain of the kernel
	Port   Kind = "port"   // the host's end of a pair or of a tap, or a macvlan or ipvlan that the host has itself

	Guest     Kind = "guest"
	Interface Kind = "interface" // in a guest, whatever its Type is
)

// Rank is how far a node is from the outside: 0 a card and what is on one, 1 a bridge,
// 2 a port, 3 a guest and its interfaces.
func (k Kind) Rank() int {
	switch k {
	case Bridge, OVS, VRF:
		return 1
	case Port:
		return 2
	case Guest, Interface:
		return 3
	}
	return 0
}

// State is how a node is.
type State string

// The states.
const (
	Up        State = "up"         // and has carrier
	NoCarrier State = "no carrier" // up, but nothing answers at the other end
	Down      State = "down"
	Unseen    State = "unseen" // its namespace cannot be found from here
	Parked    State = "parked" // its guest is away, and its port waits for it
)

// Link joins two nodes. It leads from what is nearer to the guests to what is nearer to the
// outside: from an interface to its port, from a port to its bridge, from a macvlan to its
// parent.
type Link struct {
	From string   `json:"from"`
	To   string   `json:"to"`
	Kind LinkKind `json:"kind"`
	Ours bool     `json:"ours"`
	VLAN string   `json:"vlan,omitempty"` // what passes, as on a command line; "": all, or not known
}

// LinkKind is what joins two nodes.
type LinkKind string

// The kinds of link.
const (
	Pair   LinkKind = "pair"   // the two ends of a veth pair, one of them the host's
	Wire   LinkKind = "wire"   // the same, between two guests
	Member LinkKind = "port"   // a port and its bridge, a card and its bond
	On     LinkKind = "parent" // a macvlan, ipvlan or vlan, and what it is on
	Under  LinkKind = "tunnel" // a tunnel, and what it sends by
)

// Sort puts nodes and links into an order that does not depend on how they were found.
func (g *Graph) Sort() {
	slices.SortFunc(g.Nodes, func(a, b Node) int {
		return cmp.Or(cmp.Compare(a.Kind.Rank(), b.Kind.Rank()), natural(a.ID, b.ID))
	})
	slices.SortFunc(g.Links, func(a, b Link) int {
		return cmp.Or(natural(a.From, b.From), natural(a.To, b.To), cmp.Compare(a.Kind, b.Kind))
	})
}

// sorted returns the same graph in order, and leaves the caller's as it is.
func (g Graph) sorted() Graph {
	g.Nodes, g.Links = slices.Clone(g.Nodes), slices.Clone(g.Links)
	g.Sort()
	return g
}

// natural compares names so that eth10 comes after eth9.
func natural(a, b string) int { return cmp.Or(byNumbers(a, b), cmp.Compare(a, b)) }

func byNumbers(a, b string) int {
	for a != "" && b != "" {
		if n, m := digits(a), digits(b); n > 0 && m > 0 {
			// Longer numbers without leading zeros are larger.
			x, y := a[:n], b[:m]
			for len(x) > len(y) && x[0] == '0' {
				x = x[1:]
			}
			for len(y) > len(x) && y[0] == '0' {
				y = y[1:]
			}
			if c := cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(x, y)); c != 0 {
				return c
			}
			a, b = a[n:], b[m:]
			continue
		}
		if a[0] != b[0] {
			return cmp.Compare(a[0], b[0])
		}
		a, b = a[1:], b[1:]
	}
	return cmp.Compare(len(a), len(b))
}

// digits returns how many digits s begins with.
func digits(s string) int {
	n := 0
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	return n
}

// Only returns what the guests with these IDs are connected to: their interfaces, the
// other end of each, and so on outwards. Of a bridge, other guests' ports are counted in
// Hidden.
func (g *Graph) Only(ids ...string) Graph {
	at := make(map[string]*Node, len(g.Nodes))
	for i := range g.Nodes {
		at[g.Nodes[i].ID] = &g.Nodes[i]
	}
	keep := map[string]bool{}
	var take func(id string)
	take = func(id string) {
		if keep[id] || at[id] == nil {
			return
		}
		keep[id] = true
		for _, l := range g.Links {
			switch {
			case l.From == id:
				take(l.To)
			case l.To == id && (l.Kind == Wire || outer(at, l)):
				take(l.From)
			}
		}
		if up := at[id].Parent; up != "" {
			keep[up] = true
		}
	}
	for _, n := range g.Nodes {
		if slices.Contains(ids, n.ID) || slices.Contains(ids, n.Parent) {
			take(n.ID)
		}
	}
	out := Graph{Nodes: []Node{}, Links: []Link{}, Warnings: g.Warnings}
	hidden := map[string]int{}
	for _, l := range g.Links {
		switch {
		case keep[l.From] && keep[l.To]:
			out.Links = append(out.Links, l)
		case keep[l.To]:
			hidden[l.To]++
		case keep[l.From]:
			hidden[l.From]++
		}
	}
	for _, n := range g.Nodes {
		if keep[n.ID] {
			n.Hidden = hidden[n.ID]
			out.Nodes = append(out.Nodes, n)
		}
	}
	return out
}

// outer reports whether a link leads to a bridge or bond from what is farther outside, such
// as its uplink.
func outer(at map[string]*Node, l Link) bool {
	return l.Kind == Member && at[l.From] != nil && at[l.From].Kind.Rank() == 0
}
