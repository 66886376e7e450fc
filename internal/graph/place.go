package graph

import (
	"cmp"
	"slices"
)

// Where everything is, in pixels.
const (
	lineHeight = 17.0
	padding    = 7.0  // inside a box
	gap        = 9.0  // between two boxes of a column
	bendGap    = 5.0  // between two lines that pass a column
	between    = 56.0 // from a column to the next
	apart      = 26.0 // from what is connected to what is not connected to it
	margin     = 18.0
)

// canvas is a drawing whose boxes all have their places.
type canvas struct {
	*layout
	parts  []*line // of all lines
	across []*line // arcs
	lone   []*box
	width  float64
	height float64
	lefts  []float64 // where each column begins
	wides  []float64
	loneY  float64 // top of what is connected to nothing; 0: there is nothing
}

// arrange gives each box its place.
func arrange(g *Graph) *canvas {
	l := newLayout(g)
	l.connect(g)
	c := &canvas{layout: l, height: margin}
	measure(l)
	components, lone := l.components()
	c.lone = lone
	var orders []*ordering
	columns := 0
	for _, part := range components {
		o := l.order(part)
		for _, b := range part {
			l.set(b)
		}
		orders = append(orders, o)
		c.parts, c.across = append(c.parts, o.parts...), append(c.across, o.arcs...)
		columns = max(columns, len(o.columns))
	}
	c.wides = make([]float64, columns)
	for _, o := range orders {
		for i, column := range o.columns {
			for _, b := range column {
				c.wides[i] = max(c.wides[i], b.w)
			}
		}
	}
	c.lefts = make([]float64, columns)
	x := margin
	for i, w := range c.wides {
		c.lefts[i] = x
		if w > 0 {
			x += w + between
		}
	}
	for _, o := range orders {
		o.setHeights()
		bottom := c.height
		for i, column := range o.columns {
			for _, b := range column {
				b.x, b.y = c.lefts[i], b.y+c.height
				if b.node == nil || b.node.Kind.Rank() < 2 {
					b.w = c.wides[i]
				}
				bottom = max(bottom, b.y+b.h)
			}
		}
		c.height = bottom + apart
	}
	c.width = max(x-between+margin, 420)
	for _, o := range orders {
		o.giveLanes()
		for _, a := range o.arcs {
			c.width = max(c.width, a.reach()+margin)
		}
	}
	c.placeLone()
	return c
}

// giveLanes tells each arc how far it reaches out: beyond all shorter ones beside it, so that
// none crosses another that it encloses.
func (o *ordering) giveLanes() {
	ends := func(a *line) (lo, hi float64) {
		y1, y2 := a.from.end(a.fromRow), a.to.end(a.toRow)
		return min(y1, y2), max(y1, y2)
	}
	long := func(a *line) float64 { lo, hi := ends(a); return hi - lo }
	slices.SortStableFunc(o.arcs, func(a, b *line) int { return cmp.Compare(long(a), long(b)) })
	for i, a := range o.arcs {
		a.lane = 1
		lo, hi := ends(a)
		for _, b := range o.arcs[:i] {
			if p, q := ends(b); p <= hi && lo <= q && a.from.column == b.from.column {
				a.lane = max(a.lane, b.lane+1)
			}
		}
	}
}

// reach is how far to the right an arc goes.
func (x *line) reach() float64 {
	const first, next = 10.0, 7.0
	return max(x.from.x+x.from.w, x.to.x+x.to.w) + first + next*float64(x.lane)
}

// placeLone puts what is connected to nothing below all else, in rows.
func (c *canvas) placeLone() {
	if len(c.lone) == 0 {
		return
	}
	c.loneY = c.height
	x, y, tallest := margin, c.height+lineHeight+6, 0.0
	for _, b := range c.lone {
		c.width = max(c.width, b.w+2*margin)
		if x > margin && x+b.w > c.width-margin {
			x, y, tallest = margin, y+tallest+gap, 0
		}
		b.x, b.y = x, y
		x += b.w + gap
		tallest = max(tallest, b.h)
	}
	c.height = y + tallest + apart
}

// setHeights finds the vertical places of a component, from 0 down: the guests as close as
// they can be, and the others where their lines are straight.
func (o *ordering) setHeights() {
	last := len(o.columns) - 1
	y := 0.0
	for _, b := range o.columns[last] {
		b.y = y
		y += b.h + gap
	}
	for c := last - 1; c >= 0; c-- {
		o.straighten(c, true)
	}
	for c := 1; c <= last; c++ {
		o.straighten(c, false)
	}
	for c := last - 1; c >= 0; c-- {
		o.straighten(c, true)
	}
	o.stretch()
	top := 0.0
	first := true
	for _, column := range o.columns {
		for _, b := range column {
			if first || b.y < top {
				top, first = b.y, false
			}
		}
	}
	for _, column := range o.columns {
		for _, b := range column {
			b.y -= top
		}
	}
}

// end is the height of the end of a line at a box.
func (b *box) end(row *Node) float64 {
	for i, r := range b.rows {
		if r == row && i < len(b.text.rowY) {
			return b.y + b.text.rowY[i]
		}
	}
	return b.y + b.h/2
}

// straighten moves the boxes of a column to the middle of the other ends of their lines:
// those that are farther inside, or outside. It is the closest that the order allows
// (isotonic regression, by pooling what would overlap).
func (o *ordering) straighten(c int, inner bool) {
	type pool struct {
		from, to  int
		sum, mass float64
	}
	column := o.columns[c]
	offset := make([]float64, len(column)) // of each box, if all were as close as can be
	wanted, weight := make([]float64, len(column)), make([]float64, len(column))
	y := 0.0
	for i, b := range column {
		if i > 0 {
			y += column[i-1].h + spacing(column[i-1], b)
		}
		offset[i] = y
		sum, n := 0.0, 0.0
		lines := b.out
		if inner {
			lines = b.in
		}
		for _, x := range lines {
			here, there := b.end(x.toRow), x.from.end(x.fromRow)
			if inner {
				here, there = b.end(x.fromRow), x.to.end(x.toRow)
			}
			sum, n = sum+there-(here-b.y), n+1
		}
		wanted[i], weight[i] = b.y, 0.01
		if n > 0 {
			wanted[i], weight[i] = sum/n, n
		}
	}
	var pools []pool
	for i := range column {
		pools = append(pools, pool{i, i + 1, (wanted[i] - offset[i]) * weight[i], weight[i]})
		for len(pools) > 1 {
			a, b := pools[len(pools)-2], pools[len(pools)-1]
			if a.sum/a.mass <= b.sum/b.mass {
				break
			}
			pools = append(pools[:len(pools)-2], pool{a.from, b.to, a.sum + b.sum, a.mass + b.mass})
		}
	}
	for _, p := range pools {
		for i := p.from; i < p.to; i++ {
			column[i].y = p.sum/p.mass + offset[i]
		}
	}
}

func spacing(a, b *box) float64 {
	if a.node == nil && b.node == nil {
		return bendGap
	}
	return gap
}

// stretch makes what several lines come from as tall as it takes for them to be straight,
// but not into its neighbours: a bridge becomes a bar beside its ports.
func (o *ordering) stretch() {
	for _, column := range o.columns {
		for i, b := range column {
			if b.node == nil || b.node.Kind.Rank() > 1 || len(b.in) < 2 {
				continue
			}
			top, bottom := b.y, b.y+b.h
			for _, x := range b.in {
				at := x.to.end(x.toRow)
				top, bottom = min(top, at-padding), max(bottom, at+padding)
			}
			if i > 0 {
				above := column[i-1]
				top = max(top, min(b.y, above.y+above.h+spacing(above, b)))
			}
			if i < len(column)-1 {
				bottom = min(bottom, max(b.y+b.h, column[i+1].y-spacing(b, column[i+1])))
			}
			b.y, b.h = top, bottom-top
		}
	}
}
