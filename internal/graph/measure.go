package graph

import (
	"strconv"

	"github.com/gopipework/gopipework/internal/plainname"
)

// How the text of a box is set. The font has one width for all characters, so that the
// width of a text is known without drawing it.

const (
	charWidth = 7.3 // of the font at its size, and a little for those that are wider
	longest   = 34  // characters of a name that are shown; the tooltip has the rest
	mostLines = 4   // addresses of an interface that are shown
)

// boxText is the text of a box.
type boxText struct {
	words  []word
	height float64
	rowY   []float64 // where the line of each interface begins
}

// word is a piece of text in a box: x from its left, y its baseline from the top.
type word struct {
	x, y  float64
	class string
	text  string
}

// textWidth returns how wide a text is, in pixels. Those of East Asia are twice as wide.
func textWidth(s string) float64 {
	n := 0
	for _, r := range plainname.Visible(s) {
		if n++; r >= 0x1100 {
			n++
		}
	}
	return float64(n) * charWidth
}

// short is a name as it is shown.
func short(name string) string {
	all := []rune(plainname.Visible(name))
	if len(all) > longest {
		return string(all[:longest-1]) + "…"
	}
	return string(all)
}

// measure sets the text of all boxes, and so their sizes. Interfaces and addresses of all
// guests are in the same columns.
func measure(l *layout) {
	var names, ifs float64
	for _, b := range l.all {
		if b.node.Kind == Guest {
			names = max(names, textWidth(short(b.node.Title())))
			for _, r := range b.rows {
				ifs = max(ifs, textWidth(short(r.Name)))
			}
		}
	}
	l.names, l.ifs = names, ifs
	for _, b := range l.all {
		l.set(b)
	}
	widest := 0.0
	for _, b := range l.all {
		if b.node.Kind == Guest {
			widest = max(widest, b.w)
		}
	}
	for _, b := range l.all {
		if b.node.Kind == Guest && len(b.rows) > 0 {
			b.w = widest
		}
	}
}

// set sets the text of a box: again, when its interfaces have another order.
func (l *layout) set(b *box) {
	b.text = boxText{}
	if b.node.Kind == Guest {
		b.setGuest(l.names, l.ifs)
	} else {
		b.setHost()
	}
}

// put adds a word and makes the box as wide as it takes.
func (b *box) put(x, y float64, class, text string) float64 {
	if text == "" {
		return x
	}
	b.text.words = append(b.text.words, word{x, y, class, text})
	end := x + textWidth(text)
	b.w = max(b.w, end+padding+2)
	return end + charWidth
}

// shownAddresses are the addresses of a node, as many as are shown.
func shownAddresses(n *Node) (all []string) {
	for i, p := range n.Addresses {
		if i == mostLines-1 && len(n.Addresses) > mostLines {
			return append(all, strconv.Itoa(len(n.Addresses)-i)+" more")
		}
		all = append(all, p.String())
	}
	return all
}

// setHost sets the text of a node of the host: its name, what it is, its addresses.
func (b *box) setHost() {
	n := b.node
	y := padding + 9
	x := b.put(padding, y, "name", short(n.Name))
	if n.Kind == Port {
		x = b.put(x, y, "mute", at(n.VLAN))
		if n.Type != "veth" {
			x = b.put(x, y, "mute", kindWord(n))
		}
		b.put(x, y, "bad", stateOf(n))
	} else {
		kind := kindWord(n)
		if n.VLAN != "" {
			kind += " " + at(n.VLAN)
		}
		y += lineHeight
		b.put(b.put(padding, y, "mute", kind), y, "bad", stateOf(n))
	}
	for _, a := range shownAddresses(n) {
		y += lineHeight
		b.put(padding, y, "", a)
	}
	if n.Hidden > 0 {
		y += lineHeight
		b.put(padding, y, "mute", strconv.Itoa(n.Hidden)+" more not shown")
	}
	b.h = y + padding - 2
	b.text.height = b.h
}

// setGuest sets the text of a guest: its name, and a line for each interface with an
// address, and one for each other address. With one interface the name is on its line.
func (b *box) setGuest(names, ifs float64) {
	n := b.node
	y := padding + 9
	const indent = padding + 8 // the mark of ours is before the name
	ifAt := indent
	b.put(indent, y, "name", short(n.Title()))
	if len(b.rows) == 1 {
		ifAt += names + 1.5*charWidth
	} else if n.State != "" || len(n.Also) > 0 {
		x := indent + textWidth(short(n.Title())) + charWidth
		if len(n.Also) > 0 {
			x = b.put(x, y, "mute", "and "+strconv.Itoa(len(n.Also))+" more")
		}
		b.put(x, y, "bad", stateOf(n))
	}
	addressAt := indent + names + 1.5*charWidth + ifs + 1.5*charWidth
	if len(b.rows) != 1 {
		y += lineHeight
	}
	for i, r := range b.rows {
		if i > 0 {
			y += lineHeight
		}
		b.text.rowY = append(b.text.rowY, y-4)
		b.put(ifAt, y, "", short(r.Name))
		x := addressAt
		for j, a := range shownAddresses(r) {
			if j > 0 {
				y += lineHeight
			}
			x = b.put(addressAt, y, "", a)
		}
		if r.Type != "veth" {
			x = b.put(x, y, "mute", kindWord(r))
		}
		if r.VLAN != "" {
			x = b.put(x, y, "mute", at(r.VLAN))
		}
		x = b.put(x, y, "bad", stateOf(r))
		if len(b.rows) == 1 {
			b.put(x, y, "bad", stateOf(n))
		}
	}
	if len(b.rows) == 0 {
		y -= lineHeight
	}
	b.h = y + padding - 2
	b.text.height = b.h
}
