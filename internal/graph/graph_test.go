package graph

import (
	"encoding/json"
	"net/netip"
	"slices"
	"testing"
)

// lab is a bridge with an uplink and two guests, which also have a wire; a macvlan of a
// third is on a card.
func lab() Graph {
	at := func(s ...string) (all []netip.Prefix) {
		for _, p := range s {
			all = append(all, netip.MustParsePrefix(p))
		}
		return all
	}
	return Graph{
		Nodes: []Node{
			{ID: "host/eth0", Kind: Card, Name: "eth0", State: Up, Index: 2, MAC: "52:54:00:12:34:56", MTU: 1500},
			{ID: "host/eth1", Kind: Card, Name: "eth1", State: NoCarrier, Index: 3, MAC: "52:54:00:12:34:57", MTU: 9000},
			{ID: "host/br1", Kind: Bridge, Name: "br1", Type: "bridge", Ours: true, State: Up, Index: 4, MTU: 1500, Addresses: at("192.168.1.254/24")},
			{ID: "host/veth1pl10", Kind: Port, Name: "veth1pl10", Type: "veth", Ours: true, State: Up, Index: 5, MTU: 1500, VLAN: "10"},
			{ID: "host/veth1pl11", Kind: Port, Name: "veth1pl11", Type: "veth", Ours: true, State: Up, Index: 6, MTU: 1500},
			{ID: "host/vethd0c", Kind: Port, Name: "vethd0c", Type: "veth", State: Up, Index: 7, MTU: 1500},
			{ID: "host/docker0", Kind: Bridge, Name: "docker0", Type: "bridge", State: Up, Index: 8, MTU: 1500, Addresses: at("172.17.0.1/16")},
			{ID: "guest/docker:web", Kind: Guest, Name: "web", Word: "docker:web", PID: 10, NetNS: 4026532001},
			{ID: "guest/docker:web/eth0", Kind: Interface, Parent: "guest/docker:web", Name: "eth0", Type: "veth", State: Up, Index: 2, Addresses: at("172.17.0.2/16"), Gateway: []netip.Addr{netip.MustParseAddr("172.17.0.1")}},
			{ID: "guest/docker:web/eth1", Kind: Interface, Parent: "guest/docker:web", Name: "eth1", Type: "veth", Ours: true, State: Up, Index: 3, MAC: "02:42:00:00:00:01", Addresses: at("192.168.1.2/24", "2001:db8::2/64")},
			{ID: "guest/docker:web/wire0", Kind: Interface, Parent: "guest/docker:web", Name: "wire0", Type: "veth", Ours: true, State: Up, Index: 4, Addresses: at("10.0.0.1/30")},
			{ID: "guest/lxc:db", Kind: Guest, Name: "db", Word: "lxc:db", PID: 11, NetNS: 4026532002},
			{ID: "guest/lxc:db/eth1", Kind: Interface, Parent: "guest/lxc:db", Name: "eth1", Type: "veth", Ours: true, State: Down, Index: 3, Addresses: at("192.168.1.3/24")},
			{ID: "guest/lxc:db/wire0", Kind: Interface, Parent: "guest/lxc:db", Name: "wire0", Type: "veth", Ours: true, State: Up, Index: 4, Addresses: at("10.0.0.2/30")},
			{ID: "guest/netns:lab", Kind: Guest, Name: "lab", Word: "netns:lab", NetNS: 4026532003, Also: []string{"docker:side"}},
			{ID: "guest/netns:lab/eth1", Kind: Interface, Parent: "guest/netns:lab", Name: "eth1", Type: "macvlan", Mode: "bridge", Ours: true, State: NoCarrier, Index: 2, Addresses: at("10.1.0.9/16")},
		},
		Links: []Link{
			{From: "guest/docker:web/eth0", To: "host/vethd0c", Kind: Pair},
			{From: "guest/docker:web/eth1", To: "host/veth1pl10", Kind: Pair, Ours: true},
			{From: "guest/docker:web/wire0", To: "guest/lxc:db/wire0", Kind: Wire, Ours: true},
			{From: "guest/lxc:db/eth1", To: "host/veth1pl11", Kind: Pair, Ours: true},
			{From: "guest/netns:lab/eth1", To: "host/eth1", Kind: On, Ours: true},
			{From: "host/eth0", To: "host/br1", Kind: Member, Ours: true},
			{From: "host/veth1pl10", To: "host/br1", Kind: Member, Ours: true, VLAN: "10"},
			{From: "host/veth1pl11", To: "host/br1", Kind: Member, Ours: true},
			{From: "host/vethd0c", To: "host/docker0", Kind: Member},
		},
	}
}

func ids(g Graph) (all []string) {
	for _, n := range g.Nodes {
		all = append(all, n.ID)
	}
	return all
}

// What one guest is connected to has neither the siblings on its bridge nor other guests'
// ports, but the guest at the other end of a wire, and the uplink.
func TestOnly(t *testing.T) {
	g := lab()
	g.Sort()
	only := g.Only("guest/docker:web")
	want := []string{
		"host/eth0", "host/br1", "host/docker0", "host/veth1pl10", "host/vethd0c",
		"guest/docker:web", "guest/docker:web/eth0", "guest/docker:web/eth1", "guest/docker:web/wire0", "guest/lxc:db", "guest/lxc:db/wire0",
	}
	if got := ids(only); !slices.Equal(got, want) {
		t.Errorf("nodes:\n%q\nwant\n%q", got, want)
	}
	if n := only.Nodes[1]; n.Hidden != 1 {
		t.Errorf("of the bridge %d are hidden, want 1: the port of db", n.Hidden)
	}
	if len(only.Links) != 6 {
		t.Errorf("%d links: %v", len(only.Links), only.Links)
	}
}

func TestSort(t *testing.T) {
	names := []string{"eth10", "eth9", "eth", "eth01", "eth1", "a", "eth9.100", "eth9.20", "99999999999999999999998", "99999999999999999999999"}
	slices.SortFunc(names, natural)
	want := []string{"99999999999999999999998", "99999999999999999999999", "a", "eth", "eth01", "eth1", "eth9", "eth9.20", "eth9.100", "eth10"}
	if !slices.Equal(names, want) {
		t.Errorf("%q, want %q", names, want)
	}
}

// The JSON is read by the page of --serve, and by others: what is read from it is the same value.
func TestJSON(t *testing.T) {
	g := lab()
	text, err := json.Marshal(g)
	if err != nil {
		t.Fatal(err)
	}
	var back Graph
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	again, _ := json.Marshal(back)
	if string(again) != string(text) {
		t.Errorf("%s\nread and written again is\n%s", text, again)
	}
}
