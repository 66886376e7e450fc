package graph

import (
	"cmp"
	"maps"
	"slices"
)

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
}

// layout is the boxes of a graph, in columns.
type layout struct {
	*inward
	boxes   map[string]*box // by the ID of a node
	all     []*box          // in the order of the graph
	columns [][]*box
	lines   []*line // whole ones, that lead inwards
	arcs    []*line

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

// ordering is one component while its columns are put into order.
type ordering struct {
	columns [][]*box
	parts   []*line // of lines: each leads from one column to the next
	arcs    []*line
	left    int // how many more orders may be tried
}

// order puts the boxes of a component into columns, with bends, so that few lines cross.
func (l *layout) order(part []*box) *ordering {
	o := &ordering{left: 4000}
	in := map[*box]bool{}
	for _, b := range part {
		in[b] = true
	}
	width := 0
	for _, b := range part {
		width = max(width, b.column+1)
	}
	o.columns = make([][]*box, width)
	for _, x := range l.lines {
		if in[x.from] {
			o.divide(x)
		}
	}
	for _, x := range l.arcs {
		if in[x.from] {
			o.arcs = append(o.arcs, x)
		}
	}
	// A walk from the outside inwards leaves a tree without any crossing.
	met := map[*box]bool{}
	var walk func(b *box)
	walk = func(b *box) {
		if met[b] {
			return
		}
		met[b] = true
		o.columns[b.column] = append(o.columns[b.column], b)
		for _, x := range b.in {
			walk(x.to)
		}
		for _, x := range b.arcs { // guests that have a wire are best beside each other
			walk(other(x, b))
		}
	}
	for _, b := range part {
		if len(b.out) == 0 {
			walk(b)
		}
	}
	for _, b := range part {
		walk(b)
	}
	o.number()
	o.improve()
	return o
}

func other(x *line, b *box) *box {
	if x.from == b {
		return x.to
	}
	return x.from
}

// divide makes parts of a line, with a bend in each column between its ends.
func (o *ordering) divide(x *line) {
	part := &line{Link: x.Link, from: x.from, fromRow: x.fromRow}
	for column := x.from.column + 1; column < x.to.column; column++ {
		bend := &box{column: column, h: 1}
		o.join(part, bend)
		part = &line{Link: x.Link, from: bend, past: part}
	}
	part.toRow = x.toRow
	o.join(part, x.to)
}

func (o *ordering) join(part *line, to *box) {
	part.to = to
	part.from.in, to.out = append(part.from.in, part), append(to.out, part)
	o.parts = append(o.parts, part)
}

func (o *ordering) number() {
	for _, c := range o.columns {
		for i, b := range c {
			b.order = i
		}
	}
}

// improve moves boxes to the middle of what they are connected to, from column to column,
// and keeps the best order that comes of it.
func (o *ordering) improve() {
	best := o.crossings()
	kept := o.save()
	keep := func() {
		if n := o.crossings(); n < best {
			best, kept = n, o.save()
		}
	}
	o.sortRows()
	keep()
	for round := 0; round < 12 && best > 0; round++ {
		if round%2 == 0 {
			o.sweepOut()
		} else {
			o.sweepIn()
		}
		keep()
	}
	o.restore(kept)
	if best > 0 {
		o.sift(best)
	}
	o.sortRows()
}

// sweepOut sorts each column by the one that is farther inside.
func (o *ordering) sweepOut() {
	for c := len(o.columns) - 2; c >= 0; c-- {
		o.sort(c, func(b *box) []*line { return b.in }, func(x *line) float64 { return place(x.to, x.toRow) })
	}
	o.sortRows()
}

// sweepIn sorts each column by the one that is farther outside.
func (o *ordering) sweepIn() {
	for c := 1; c < len(o.columns); c++ {
		o.sort(c, func(b *box) []*line { return b.out }, func(x *line) float64 { return place(x.from, x.fromRow) })
	}
	o.sortRows()
}

// place is where a line ends in its column, in boxes; within a box, by the interface.
func place(b *box, row *Node) float64 {
	if i := slices.Index(b.rows, row); row != nil && i >= 0 {
		return float64(b.order) + (float64(i)+0.5)/float64(len(b.rows)+1)
	}
	return float64(b.order) + 0.5
}

// sort orders a column by the middle of where lines lead. What has none stays where it is.
func (o *ordering) sort(c int, lines func(*box) []*line, at func(*line) float64) {
	middle := map[*box]float64{}
	var free []int // places of those that move
	var moving []*box
	for i, b := range o.columns[c] {
		if all := lines(b); len(all) > 0 {
			for _, x := range all {
				middle[b] += at(x) / float64(len(all))
			}
			free, moving = append(free, i), append(moving, b)
		}
	}
	slices.SortStableFunc(moving, func(a, b *box) int { return cmp.Compare(middle[a], middle[b]) })
	for i, b := range moving {
		o.columns[c][free[i]] = b
	}
	o.number()
}

// sortRows orders the interfaces of each guest by where their lines lead.
func (o *ordering) sortRows() {
	for _, c := range o.columns {
		for _, b := range c {
			if len(b.rows) < 2 {
				continue
			}
			at := map[*Node]float64{}
			for i, row := range b.rows {
				at[row] = 1e6 + float64(i) // without a line: below
			}
			for _, x := range b.arcs { // towards the other end
				row, end := x.fromRow, x.to
				if x.to == b {
					row, end = x.toRow, x.from
				}
				at[row] = 1e5 * float64(cmp.Compare(end.order, b.order))
				at[row] -= float64(end.order) // of two that lead the same way, the longer one goes around the other
			}
			for _, x := range b.out {
				at[x.toRow] = place(x.from, x.fromRow)
			}
			slices.SortStableFunc(b.rows, func(x, y *Node) int { return cmp.Compare(at[x], at[y]) })
		}
	}
}

// crossings counts the lines that cross, and the arcs.
func (o *ordering) crossings() int {
	n := 0
	byColumn := map[int][]*line{}
	for _, x := range o.parts {
		byColumn[x.from.column] = append(byColumn[x.from.column], x)
	}
	for _, lines := range byColumn {
		slices.SortFunc(lines, func(a, b *line) int {
			return cmp.Or(cmp.Compare(place(a.from, a.fromRow), place(b.from, b.fromRow)), cmp.Compare(place(a.to, a.toRow), place(b.to, b.toRow)))
		})
		ends := make([]float64, len(lines))
		for i, x := range lines {
			ends[i] = place(x.to, x.toRow)
		}
		n += inversions(ends)
	}
	for i, a := range o.arcs {
		lo, hi := span(a)
		for _, b := range o.arcs[i+1:] {
			if p, q := span(b); lo < p && p < hi && hi < q || p < lo && lo < q && q < hi {
				n++
			}
		}
	}
	return n
}

func span(x *line) (lo, hi float64) {
	a, b := place(x.from, x.fromRow), place(x.to, x.toRow)
	return min(a, b), max(a, b)
}

// inversions counts the pairs that are in the wrong order, and sorts.
func inversions(a []float64) int {
	if len(a) < 2 {
		return 0
	}
	half := len(a) / 2
	left, right := slices.Clone(a[:half]), slices.Clone(a[half:])
	n := inversions(left) + inversions(right)
	for i := range a {
		if len(right) == 0 || len(left) > 0 && left[0] <= right[0] {
			a[i], left = left[0], left[1:]
			continue
		}
		n += len(left)
		a[i], right = right[0], right[1:]
	}
	return n
}

// sift moves single guests to where fewer lines cross: beside those that they have something
// to do with. The other columns follow the guests.
func (o *ordering) sift(best int) {
	kept := o.save()
	for again := true; again && best > 0; {
		again = false
		for _, c := range slices.Sorted(maps.Keys(o.withArcs())) {
			for _, b := range slices.Clone(o.columns[c]) {
				for _, to := range o.targets(b) {
					if o.left--; o.left < 0 || best == 0 {
						o.restore(kept)
						return
					}
					o.move(b, to)
					o.sweepOut()
					if n := o.crossings(); n < best {
						best, kept, again = n, o.save(), true
						continue
					}
					o.restore(kept)
				}
			}
		}
	}
	o.restore(kept)
}

// withArcs returns the columns that are worth it: the last, and those that have arcs.
func (o *ordering) withArcs() map[int]bool {
	columns := map[int]bool{len(o.columns) - 1: true}
	for _, x := range o.arcs {
		columns[x.from.column] = true
	}
	return columns
}

// targets returns the places that a box may be better at: both ends, its neighbours', and
// those beside the other ends of its arcs and of its lines' siblings.
func (o *ordering) targets(b *box) (to []int) {
	last := len(o.columns[b.column]) - 1
	add := func(i int) {
		if i >= 0 && i <= last && i != b.order && !slices.Contains(to, i) {
			to = append(to, i)
		}
	}
	for _, x := range b.arcs {
		end := other(x, b).order
		add(end)
		add(end - 1)
		add(end + 1)
	}
	add(b.order - 1)
	add(b.order + 1)
	add(0)
	add(last)
	return to
}

// move puts a box elsewhere in its column.
func (o *ordering) move(b *box, to int) {
	c := slices.DeleteFunc(slices.Clone(o.columns[b.column]), func(x *box) bool { return x == b })
	o.columns[b.column] = slices.Insert(c, to, b)
	o.number()
}

// saved is an order that can be restored.
type saved struct {
	columns [][]*box
	rows    map[*box][]*Node
}

func (o *ordering) save() saved {
	s := saved{rows: map[*box][]*Node{}}
	for _, c := range o.columns {
		s.columns = append(s.columns, slices.Clone(c))
		for _, b := range c {
			if len(b.rows) > 1 {
				s.rows[b] = slices.Clone(b.rows)
			}
		}
	}
	return s
}

func (o *ordering) restore(s saved) {
	for i, c := range s.columns {
		o.columns[i] = slices.Clone(c)
	}
	for b, rows := range s.rows {
		b.rows = slices.Clone(rows)
	}
	o.number()
}
