package graph

import (
	"cmp"
	"maps"
	"math/rand/v2"
	"slices"
)

// ordering is one component while its columns are put into order.
type ordering struct {
	columns [][]*box
	parts   []*line   // of lines: each leads from one column to the next
	between [][]*line // the same, by the column that they come from
	arcs    []*line
	left    int // how many more orders a sift may try

	ends, spare []uint64 // room for crossings
}

// order puts the boxes of a component into columns, with bends, so that few lines cross.
func (l *layout) order(part []*box) *ordering {
	o := &ordering{}
	in := map[*box]bool{}
	for _, b := range part {
		in[b] = true
	}
	width := 0
	for _, b := range part {
		width = max(width, b.column+1)
	}
	o.columns, o.between = make([][]*box, width), make([][]*line, width)
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
	o.walk(part, false)
	o.improve()
	best, kept := o.crossings(), o.save()
	// Other orders to begin with are tried unless there are so many lines that it takes long:
	// what is left of crossings in a small drawing would be seen. The same graph gets the same
	// drawing every time.
	const work = 1200
	random := rand.New(rand.NewPCG(1, 2))
	for tries := 1 + work/(len(o.parts)+1); tries > 0 && best > 0; tries-- {
		o.walk(part, true)
		o.improve()
		if n := o.crossings(); n < best {
			best, kept = n, o.save()
		}
		random.Shuffle(len(part), func(i, j int) { part[i], part[j] = part[j], part[i] })
	}
	o.restore(kept)
	return o
}

// walk puts the boxes into their columns in the order in which they are met on a walk from
// box to box: from the outside inwards, which leaves a tree without any crossing, or both
// ways, which does that for a chain. It begins at what leads to the least.
func (o *ordering) walk(part []*box, outwards bool) {
	for i := range o.columns {
		o.columns[i] = o.columns[i][:0]
	}
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
		if outwards {
			for _, x := range b.out {
				walk(x.from)
			}
		}
	}
	starts := slices.Clone(part)
	if outwards {
		slices.SortStableFunc(starts, func(a, b *box) int {
			return cmp.Compare(len(a.in)+len(a.out)+len(a.arcs), len(b.in)+len(b.out)+len(b.arcs))
		})
	}
	for _, b := range starts {
		if len(b.out) == 0 || outwards {
			walk(b)
		}
	}
	for _, b := range part {
		walk(b)
	}
	o.number()
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
	o.between[part.from.column] = append(o.between[part.from.column], part)
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
		const work = 200000 // lines that are looked at: a tenth of a second
		o.left = work / (len(o.parts) + 1)
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
	for _, lines := range o.between {
		o.ends = o.ends[:0]
		for _, x := range lines {
			o.ends = append(o.ends, uint64(placeNumber(x.from, x.fromRow))<<32|uint64(placeNumber(x.to, x.toRow)))
		}
		slices.Sort(o.ends)
		for i, e := range o.ends {
			o.ends[i] = e & (1<<32 - 1)
		}
		o.spare = append(o.spare[:0], o.ends...)
		n += inversions(o.ends, o.spare)
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

// placeNumber is place as a number that can be sorted quickly.
func placeNumber(b *box, row *Node) uint32 {
	const most = 1 << 10 // interfaces of a guest that are told apart
	at := 0
	if len(b.rows) > 1 && row != nil {
		at = min(slices.Index(b.rows, row), most-1)
	}
	return uint32(b.order*most + at)
}

func span(x *line) (lo, hi uint32) {
	a, b := placeNumber(x.from, x.fromRow), placeNumber(x.to, x.toRow)
	return min(a, b), max(a, b)
}

// inversions counts the pairs that are in the wrong order, and sorts. It needs as much
// room again.
func inversions(a, room []uint64) int {
	if len(a) < 2 {
		return 0
	}
	half := len(a) / 2
	n := inversions(a[:half], room[:half]) + inversions(a[half:], room[half:])
	copy(room, a)
	left, right := room[:half], room[half:]
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
