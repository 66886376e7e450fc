package graph

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"github.com/gopipework/gopipework/internal/plainname"
)

// SVG draws a graph as one file that needs nothing else: no script, no font, no other file.
// It follows the light or dark colours of whoever looks at it.
func SVG(g Graph) string {
	g = g.sorted()
	c := arrange(&g)
	d := drawing{canvas: c}
	legend := c.height
	c.height += lineHeight + margin/2
	d.printf(`<svg xmlns="http://www.w3.org/2000/svg" width="%s" height="%s" viewBox="0 0 %[1]s %[2]s" role="img">`+"\n", px(c.width), px(c.height))
	d.printf("<title>What is connected to what</title>\n<style>%s</style>\n", style)
	d.printf("<rect class=\"page\" width=\"100%%\" height=\"100%%\"/>\n")
	for _, ours := range []bool{false, true} { // ours above
		for _, x := range c.parts {
			if x.Ours == ours {
				d.line(x)
			}
		}
		for _, x := range c.across {
			if x.Ours == ours {
				d.arc(x)
			}
		}
	}
	for _, b := range c.all {
		d.box(b)
	}
	if c.loneY > 0 {
		d.text(margin, c.loneY+lineHeight-5, "mute", "connected to nothing")
	}
	d.legend(legend)
	d.printf("</svg>\n")
	return d.out.String()
}

// style has the colours: by day and by night.
const style = `
svg{color-scheme:light dark;--page:#fff;--ink:#1b2430;--mute:#5a6575;--line:#8d97a5;--fill:#f4f6f8;--edge:#b9c1cc;--ours:#0a62c4;--tint:#e8f1fc;--bad:#b3261e}
@media (prefers-color-scheme:dark){svg{--page:#12161c;--ink:#e7ebf0;--mute:#9aa5b4;--line:#6d7887;--fill:#1c222b;--edge:#414c5a;--ours:#63aef8;--tint:#15293f;--bad:#ff9088}}
text{font:12px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;fill:var(--ink);white-space:pre}
.page{fill:var(--page)}.name{font-weight:600}.mute{fill:var(--mute)}.bad{fill:var(--bad)}.mark{fill:var(--ours)}
.box{fill:var(--fill);stroke:var(--edge)}.box.ours{fill:var(--tint);stroke:var(--ours)}.away{stroke-dasharray:3 3}
.line{fill:none;stroke:var(--line);stroke-width:1.3;stroke-dasharray:5 3}.line.ours{stroke:var(--ours);stroke-width:1.8;stroke-dasharray:none}
.inner{fill:none;stroke:var(--mute)}
`

// drawing writes a canvas as SVG.
type drawing struct {
	*canvas
	out strings.Builder
}

func (d *drawing) printf(format string, args ...any) { fmt.Fprintf(&d.out, format, args...) }

// px writes a length, with a tenth of a pixel.
func px(v float64) string { return strconv.FormatFloat(float64(int(v*10+0.5))/10, 'f', -1, 64) }

// escaped writes text for SVG. (Package html has its own work to do at the start of every run.)
func escaped(s string) string {
	escape := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&#39;")
	return escape.Replace(plainname.Visible(s))
}

// text writes text, which is escaped.
func (d *drawing) text(x, y float64, class, s string) {
	if s != "" {
		d.printf("<text x=\"%s\" y=\"%s\" class=\"%s\">%s</text>\n", px(x), px(y), class, escaped(s))
	}
}

func (d *drawing) line(x *line) {
	y1, y2 := x.from.end(x.fromRow), x.to.end(x.toRow)
	clamp := func(b *box, y float64) float64 { return max(b.y+padding, min(y, b.y+b.h-padding)) }
	// What is stretched takes a line where that is straight.
	if x.from.node != nil && x.fromRow == nil && x.from.node.Kind.Rank() < 2 {
		y1 = clamp(x.from, y2)
	}
	if x.to.node != nil && x.toRow == nil && x.to.node.Kind.Rank() < 2 && len(x.to.out) == 1 {
		y2 = clamp(x.to, y1)
	}
	x1, x2 := x.from.x+x.from.w, x.to.x
	path := "M" + px(x1) + " " + px(y1)
	if y1 == y2 {
		path += "H" + px(x2)
	} else {
		// Boxes of a column differ in width: the curve is between the columns.
		bend := d.lefts[x.from.column] + max(d.wides[x.from.column], x.from.w)
		mid := px((bend + x2) / 2)
		path += "H" + px(bend) + "C" + mid + " " + px(y1) + " " + mid + " " + px(y2) + " " + px(x2) + " " + px(y2)
	}
	if x.to.node == nil { // on through the column
		path += "H" + px(x.to.x+x.to.w)
	}
	d.path(path, x.Link)
}

// arc is a link between two guests, beside them.
func (d *drawing) arc(x *line) {
	x1, y1, x2, y2 := x.from.x+x.from.w, x.from.end(x.fromRow), x.to.x+x.to.w, x.to.end(x.toRow)
	if y1 > y2 {
		x1, y1, x2, y2 = x2, y2, x1, y1
	}
	out, round := x.reach(), min(6, (y2-y1)/2)
	d.path("M"+px(x1)+" "+px(y1)+"H"+px(out-round)+"Q"+px(out)+" "+px(y1)+" "+px(out)+" "+px(y1+round)+
		"V"+px(y2-round)+"Q"+px(out)+" "+px(y2)+" "+px(out-round)+" "+px(y2)+"H"+px(x2), x.Link)
}

func (d *drawing) path(path string, l Link) {
	class := "line"
	if l.Ours {
		class += " ours"
	}
	d.printf("<path class=\"%s\" d=\"%s\"><title>%s</title></path>\n", class, path, escaped(d.about(l)))
}

// about tells what a link is.
func (d *drawing) about(l Link) string {
	name := func(id string) string {
		n := d.at[id]
		if guest := d.at[n.Parent]; guest != nil {
			return guest.Title() + " " + n.Name
		}
		return n.Name
	}
	return name(l.From) + " – " + name(l.To) + ", " + string(l.Kind) + at(l.VLAN)
}

// box draws a node of the host, or a guest with its interfaces.
func (d *drawing) box(b *box) {
	class := "box"
	if b.node.Ours {
		class += " ours"
	}
	if b.node.State == Unseen || b.node.State == Parked {
		class += " away"
	}
	d.printf("<g><title>%s</title><rect class=\"%s\" x=\"%s\" y=\"%s\" width=\"%s\" height=\"%s\" rx=\"4\"/>\n",
		escaped(tooltip(b.node)), class, px(b.x), px(b.y), px(b.w), px(b.h))
	// The text of what is stretched is in its middle, and in a long bar several times: there
	// is one on every screen.
	const screen = 640.0
	times := max(1, int(b.h/screen))
	for i := range times {
		part := b.h / float64(times)
		top := b.y + (float64(i)+0.5)*part - b.text.height/2
		for _, w := range b.text.words {
			d.text(b.x+w.x, top+w.y, w.class, w.text)
		}
	}
	for i, row := range b.rows {
		if row.Ours {
			d.printf("<circle class=\"mark\" cx=\"%s\" cy=\"%s\" r=\"2.5\"/>\n", px(b.x+padding+1), px(b.y+b.text.rowY[i]))
		}
	}
	d.joints(b)
	d.printf("</g>\n")
}

// joints draws what is connected to what inside a guest, such as a bridge in it.
func (d *drawing) joints(b *box) {
	for i, row := range b.rows {
		for _, s := range d.inner[row.ID] {
			for j, other := range b.rows {
				if other != s.to {
					continue
				}
				x, y1, y2 := b.x+b.w-4, b.y+b.text.rowY[i], b.y+b.text.rowY[j]
				d.printf("<path class=\"inner\" d=\"M%s %sH%sV%sH%s\"/>\n", px(x-4), px(y1), px(x), px(y2), px(x-4))
			}
		}
	}
}

// tooltip is all that is known of a node.
func tooltip(n *Node) string {
	var lines []string
	add := func(name, value string) {
		if value != "" && value != "0" {
			lines = append(lines, name+value)
		}
	}
	add("", n.Title())
	add("", cmp.Or(kindWord(n), string(n.Kind)))
	add("state ", string(n.State))
	add("MAC ", n.MAC)
	add("MTU ", strconv.Itoa(n.MTU))
	add("VLAN ", n.VLAN)
	add("", joinPrefixes(n.Addresses))
	for _, gw := range n.Gateway {
		add("default route via ", gw.String())
	}
	add("process ", strconv.Itoa(n.PID))
	for _, also := range n.Also {
		add("also ", also)
	}
	if n.Ours {
		add("", "made or lent by gopipework")
	}
	return strings.Join(lines, "; ")
}

// legend says what the lines mean.
func (d *drawing) legend(y float64) {
	x := margin
	for _, one := range []struct{ class, text string }{{"line ours", "made or lent by gopipework"}, {"line", "made by others"}} {
		d.printf("<path class=\"%s\" d=\"M%s %sh26\"/>\n", one.class, px(x), px(y+lineHeight/2))
		d.text(x+34, y+lineHeight/2+4, "mute", one.text)
		x += 34 + textWidth(one.text) + 24
	}
}
