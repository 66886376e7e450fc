package graph

import "slices"

// A host is nearly a tree, in columns from the outside to the guests. The layout is the
// usual one for that: each box gets a column, long lines get a bend in each column that
// they pass, the order in each column is improved until fewer lines cross, and then each
// box moves to where its lines are straight, as far as its neighbours let it.

// box is something that has a place in a column: a node of the host, a guest with its
// interfaces, or the bend of a long line, which has no node.
type box struct {
	node   *Node
	rows   []*Node // interfaces of a guest, from above
	column int
	order  int // in its column
	text   boxText

	x, y, w, h float64
	out, in    []*line // lines to the outside, and to the guests
	arcs       []*line // lines to others in the same column
}

// line is a link, or a part of one that leads from one column to the next.
type line struct {
	Link
	from, to       *box  // the outer end and the inner one
	fromRow, toRow *Node // of guests: the interfaces
	past           *line // the part before, if from is a bend
	lane           int   // of an arc: how many it goes around, and itself
}

// layout is the boxes of a graph, in columns.
type layout struct {
	*inward
	boxes map[string]*box // by the ID of a node
	all   []*box          // in the order of the graph
	lines []*line         // whole ones, that lead inwards
	arcs  []*line

	names, ifs float64 // the widest name of a guest, and of an interface in one
}

func newLayout(g *Graph) *layout {
	l := &layout{inward: lookInward(g), boxes: map[string]*box{}}
	for i := range g.Nodes {
		n := &g.Nodes[i]
		if n.Parent == "" || l.at[n.Parent] == nil {
			b := &box{node: n, rows: l.parts[n.ID]}
			l.all = append(l.all, b)
			l.boxes[n.ID] = b
		}
	}
	for id, n := range l.at {
		if b := l.boxes[n.Parent]; n.Parent != "" && b != nil {
			l.boxes[id] = b
		}
	}
	return l
}

// rowOf returns the interface of a guest that a line ends at; nil: the end is no guest's.
func (l *layout) rowOf(id string) *Node {
	if n := l.at[id]; n.Parent != "" {
		return n
	}
	return nil
}

// connect makes lines of the links, and gives each box its column.
func (l *layout) connect(g *Graph) {
	add := func(out, inn *Node, link Link) *line {
		return &line{Link: link, from: l.boxes[out.ID], to: l.boxes[inn.ID], fromRow: l.rowOf(out.ID), toRow: l.rowOf(inn.ID)}
	}
	var wires []*line
	l.eachLink(g, func(out, inn *Node, link Link) {
		switch x := add(out, inn, link); {
		case x.from == x.to: // inside a guest
		case link.Kind == Wire && slices.ContainsFunc(l.wires, func(w Link) bool { return w == link }):
			wires = append(wires, x)
		default:
			l.lines = append(l.lines, x)
		}
	})
	l.assignColumns()
	for _, x := range wires {
		switch {
		case x.from.column == x.to.column:
			l.arcs = append(l.arcs, x)
		case x.from.column > x.to.column:
			x.from, x.to, x.fromRow, x.toRow = x.to, x.from, x.toRow, x.fromRow
			l.lines = append(l.lines, x)
		default:
			l.lines = append(l.lines, x)
		}
	}
	for _, x := range l.arcs {
		x.from.arcs, x.to.arcs = append(x.from.arcs, x), append(x.to.arcs, x)
	}
}

// assignColumns puts each box into the first column that is farther inside than all that it
// leads to, and then what has anything inside it as near to that as can be. Cards stay
// outside.
func (l *layout) assignColumns() {
	rank := func(b *box) int { return b.node.Kind.Rank() }
	for _, b := range l.all {
		b.column = rank(b)
	}
	push := func() {
		for range l.all { // more rounds are needed only for a circle, which has no order
			moved := false
			for _, x := range l.lines {
				if x.to.column <= x.from.column && x.from.column < len(l.all)+3 {
					x.to.column, moved = x.from.column+1, true
				}
			}
			if !moved {
				return
			}
		}
	}
	push()
	port := 2
	for _, b := range l.all {
		if rank(b) < 2 {
			port = max(port, b.column+1)
		}
	}
	for _, b := range l.all {
		if rank(b) >= 2 {
			b.column = max(b.column, port+rank(b)-2)
		}
	}
	push()
	inner := map[*box]int{}
	outer := map[*box]bool{}
	for range l.all {
		moved := false
		clear(inner)
		for _, x := range l.lines {
			if at, ok := inner[x.from]; !ok || x.to.column < at {
				inner[x.from] = x.to.column
			}
			outer[x.to] = true
		}
		for _, b := range l.all {
			to := min(inner[b], port) - 1
			if rank(b) < 2 && (rank(b) == 1 || outer[b]) && to > b.column {
				b.column, moved = to, true
			}
		}
		if !moved {
			return
		}
	}
}

// components returns the boxes that are connected, apart from each other, and at the end
// those that are connected to nothing.
func (l *layout) components() (all [][]*box, lone []*box) {
	beside := map[*box][]*box{}
	for _, x := range slices.Concat(l.lines, l.arcs) {
		beside[x.from], beside[x.to] = append(beside[x.from], x.to), append(beside[x.to], x.from)
	}
	met := map[*box]bool{}
	for _, b := range l.all {
		if met[b] {
			continue
		}
		met[b] = true
		part := []*box{b}
		for i := 0; i < len(part); i++ {
			for _, n := range beside[part[i]] {
				if !met[n] {
					met[n] = true
					part = append(part, n)
				}
			}
		}
		if len(part) == 1 {
			lone = append(lone, b)
			continue
		}
		all = append(all, part)
	}
	return all, lone
}
