package graph

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
)

// drawn is a graph that is built by the names of its links.
type drawn struct{ Graph }

func (d *drawn) node(k Kind, parent, name string) string {
	id := parent + "/" + name
	if !slices.ContainsFunc(d.Nodes, func(n Node) bool { return n.ID == id }) {
		n := Node{ID: id, Kind: k, Name: name, Type: "veth", State: Up, Ours: true}
		if k == Interface {
			n.Parent, n.Addresses = parent, []netip.Prefix{netip.MustParsePrefix("192.168.1.2/24")}
		}
		d.Nodes = append(d.Nodes, n)
	}
	return id
}

// plug connects a guest to bridges of the host, by a port each.
func (d *drawn) plug(guest string, bridges ...string) {
	g := d.node(Guest, "guest", guest)
	for _, b := range bridges {
		port := d.node(Port, "host", b+"-"+guest)
		d.Links = append(d.Links,
			Link{From: port, To: d.node(Bridge, "host", b), Kind: Member, Ours: true},
			Link{From: d.node(Interface, g, "to-"+b), To: port, Kind: Pair, Ours: true})
	}
}

func (d *drawn) wire(a, b string) {
	name := "w-" + a + "-" + b
	d.Links = append(d.Links, Link{From: d.node(Interface, d.node(Guest, "guest", a), name), To: d.node(Interface, d.node(Guest, "guest", b), name), Kind: Wire})
}

// crossingsOf counts what crosses in a drawing.
func crossingsOf(g Graph) (n int) {
	l := newLayout(&g)
	l.connect(&g)
	measure(l)
	components, _ := l.components()
	for _, part := range components {
		n += l.order(part).crossings()
	}
	return n
}

// Nothing crosses that does not have to, in whatever order the graph comes.
func TestCrossings(t *testing.T) {
	chain := func(d *drawn) { // bridge 1 - guest - bridge 2 - guest - bridge 3 ...
		for i := range 9 {
			d.plug(fmt.Sprintf("g%d", i), fmt.Sprintf("b%d", i), fmt.Sprintf("b%d", i+1))
		}
	}
	for _, c := range []struct {
		name string
		make func(*drawn)
		want int
	}{
		{"a hundred on a bridge", func(d *drawn) {
			for i := range 100 {
				d.plug(fmt.Sprintf("g%d", i), "b")
			}
		}, 0},
		{"chain", chain, 0},
		{"two bridges, some on both", func(d *drawn) {
			for i := range 30 {
				d.plug(fmt.Sprintf("a%d", i), "b1")
				d.plug(fmt.Sprintf("c%d", i), "b2")
			}
			d.plug("both", "b1", "b2")
		}, 0},
		{"two on both of two", func(d *drawn) { d.plug("x", "b1", "b2"); d.plug("y", "b1", "b2") }, 1},
		{"a row of wires", func(d *drawn) {
			for i := range 20 {
				d.plug(fmt.Sprintf("g%d", i), "b")
			}
			for i := range 19 {
				d.wire(fmt.Sprintf("g%d", (i*7)%20), fmt.Sprintf("g%d", ((i+1)*7)%20))
			}
		}, 0},
		{"a star of wires", func(d *drawn) {
			for i := range 9 {
				d.plug(fmt.Sprintf("g%d", i), "b")
				if i > 0 {
					d.wire("g0", fmt.Sprintf("g%d", i))
				}
			}
		}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			for seed := range uint64(5) {
				var d drawn
				c.make(&d)
				random := rand.New(rand.NewPCG(seed, 0))
				random.Shuffle(len(d.Nodes), func(i, j int) { d.Nodes[i], d.Nodes[j] = d.Nodes[j], d.Nodes[i] })
				random.Shuffle(len(d.Links), func(i, j int) { d.Links[i], d.Links[j] = d.Links[j], d.Links[i] })
				if n := crossingsOf(d.Graph); n > c.want {
					t.Errorf("%d lines cross, %d have to", n, c.want)
				}
			}
		})
	}
}

// Boxes do not overlap, all are on the page, and no arc crosses one that it encloses.
func TestBoxesApart(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 7))
	for range 30 {
		var d drawn
		for i := range 1 + random.IntN(40) {
			var bridges []string
			for range random.IntN(4) {
				if b := fmt.Sprintf("b%d", random.IntN(4)); !slices.Contains(bridges, b) {
					bridges = append(bridges, b)
				}
			}
			d.plug(fmt.Sprintf("g%d", i), bridges...)
			if i > 0 && random.IntN(3) == 0 {
				d.wire(fmt.Sprintf("g%d", i), fmt.Sprintf("g%d", random.IntN(i)))
			}
		}
		c := arrange(&d.Graph)
		for _, a := range c.across {
			if a.reach() > c.width {
				t.Errorf("%s - %s is off the page", a.From, a.To)
			}
			for _, b := range c.across {
				lo, hi := a.from.end(a.fromRow), a.to.end(a.toRow)
				p, q := b.from.end(b.fromRow), b.to.end(b.toRow)
				if a != b && min(lo, hi) < min(p, q) && max(p, q) < max(lo, hi) && a.reach() <= b.reach() {
					t.Errorf("%s - %s crosses %s - %s", a.From, a.To, b.From, b.To)
				}
			}
		}
		for i, a := range c.all {
			if a.x < 0 || a.y < 0 || a.x+a.w > c.width || a.y+a.h > c.height {
				t.Errorf("%s is off the page", a.node.ID)
			}
			for _, b := range c.all[i+1:] {
				if a.x < b.x+b.w && b.x < a.x+a.w && a.y < b.y+b.h && b.y < a.y+a.h {
					t.Errorf("%s and %s overlap", a.node.ID, b.node.ID)
				}
			}
		}
	}
}

func BenchmarkSVG(b *testing.B) {
	var d drawn
	for i := range 100 {
		d.plug(fmt.Sprintf("g%d", i), "b1", fmt.Sprintf("c%d", i%5))
	}
	for b.Loop() {
		SVG(d.Graph)
	}
}
