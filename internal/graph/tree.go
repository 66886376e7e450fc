package graph

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/gopipework/gopipework/internal/plainname"
)

// Tree draws a graph as text: from each card inwards, and after that the links that lead
// from guest to guest.
func Tree(g Graph) string {
	g = g.sorted()
	t := tree{inward: lookInward(&g), drawn: map[string]bool{}}
	for i := range g.Nodes {
		n := &g.Nodes[i]
		row := len(t.inner[n.ID]) > 0 || n.Kind != Interface && !t.wired(n)
		if n.Kind != Guest && len(t.outer[n.ID]) == 0 && row {
			t.branch(n, step{}, "", "")
		}
	}
	for i := range g.Nodes { // what leads only to itself
		if n := &g.Nodes[i]; n.Kind != Guest && n.Kind != Interface && !t.drawn[n.ID] && !t.wired(n) {
			t.branch(n, step{}, "", "")
		}
	}
	for i := range g.Nodes {
		t.alone(&g.Nodes[i])
	}
	for _, l := range t.wires {
		a, b := t.at[l.From], t.at[l.To]
		t.rows = append(t.rows, row{name: t.title(a) + " ── " + t.title(b), ours: l.Ours, kind: cmp.Or(a.Type, "wire"),
			address: strings.Trim(addresses(a)+" ── "+addresses(b), " ─"), state: stateOf(a, b)})
	}
	return t.text()
}

// tree collects rows.
type tree struct {
	*inward
	rows  []row
	drawn map[string]bool
}

// row is a line of the text, in columns.
type row struct {
	branch, name string
	ours         bool
	kind         string
	address      string
	port         string
	state        string
}

// title is the name of a node: of an interface in a guest, with the guest's.
func (t *tree) title(n *Node) string {
	guest := t.at[n.Parent]
	if guest == nil {
		return n.titleOfAll()
	}
	return guest.titleOfAll() + " " + n.Name
}

// Title is what a node is called in a drawing: a guest, by the word for the command line.
func (n Node) Title() string {
	switch {
	case n.Kind != Guest || n.Word == "":
		return n.Name
	case strings.HasPrefix(n.Word, "pid:") && n.Name != n.Word && n.Name != "":
		return n.Word + " (" + n.Name + ")"
	}
	return n.Word
}

// titleOfAll is the title with the number of other guests that have the same namespace.
func (n Node) titleOfAll() string {
	if len(n.Also) == 0 {
		return n.Title()
	}
	return n.Title() + " (+" + strconv.Itoa(len(n.Also)) + ")"
}

// branch adds a node, and below it what is farther inside.
func (t *tree) branch(n *Node, by step, first, rest string) {
	r := row{branch: first, name: t.title(n), ours: n.Ours, kind: kindWord(n), address: addresses(n), state: stateOf(n), port: n.tag()}
	next := t.inner[n.ID]
	if t.folds(n, next) { // the port and the interface are one line
		inside := next[0].to
		r.name, r.kind, r.address, r.state = t.title(inside), kindWord(inside), addresses(inside), stateOf(inside, n)
		r.port, r.ours = n.Name+at(n.tag()), inside.Ours || n.Ours
		t.drawn[n.ID] = true
		n, next = inside, t.inner[inside.ID]
	}
	if t.drawn[n.ID] {
		r.kind, r.address, r.port, r.state = "", "", "", "see above"
		t.rows = append(t.rows, r)
		return
	}
	t.drawn[n.ID] = true
	if n.Hidden > 0 {
		r.state = strings.TrimPrefix(r.state+", "+strconv.Itoa(n.Hidden)+" more not shown", ", ")
	}
	t.rows = append(t.rows, r)
	for i, s := range next {
		f, o := "├─ ", "│  "
		if i == len(next)-1 {
			f, o = "└─ ", "   "
		}
		t.branch(s.to, s, rest+f, rest+o)
	}
}

// folds reports whether a port has nothing to tell but what its guest's interface tells.
func (t *tree) folds(n *Node, next []step) bool {
	return n.Kind == Port && len(next) == 1 && next[0].Kind == Pair && len(n.Addresses) == 0 && len(t.outer[n.ID]) > 0
}

// alone adds a guest that nothing leads to, or what of its interfaces nothing leads to.
func (t *tree) alone(n *Node) {
	switch {
	case n.Kind == Guest && len(t.parts[n.ID]) == 0:
		t.rows = append(t.rows, row{name: n.titleOfAll(), kind: "guest", state: cmp.Or(string(n.State), "not connected")})
	case n.Kind == Interface && !t.drawn[n.ID] && !t.wired(n):
		t.rows = append(t.rows, row{name: t.title(n), ours: n.Ours, kind: kindWord(n), address: addresses(n), state: strings.TrimSuffix("not connected, "+stateOf(n), ", ")})
	}
}

func (t *tree) wired(n *Node) bool {
	return slices.ContainsFunc(t.wires, func(l Link) bool { return l.From == n.ID || l.To == n.ID })
}

// kindWord says what a node is: the kernel's word, or that of its kind.
func kindWord(n *Node) string {
	word := cmp.Or(n.Type, string(n.Kind))
	switch {
	case n.Kind == OVS, n.Kind == Guest:
		word = string(n.Kind)
	case n.Kind == Interface && n.Type == "":
		word = string(Card)
	}
	if n.Mode != "" {
		word += " " + n.Mode
	}
	return word
}

// tag is the VLAN of a node that a drawing shows beside its name.
func (n Node) tag() string { return n.VLAN }

func at(vlan string) string {
	if vlan == "" {
		return ""
	}
	return "@" + vlan
}

// stateOf is what is worth telling about the state of nodes: the first that is not up.
func stateOf(nodes ...*Node) string {
	for _, n := range nodes {
		if n.State != Up && n.State != "" {
			return string(n.State)
		}
	}
	return ""
}

func addresses(n *Node) string { return joinPrefixes(n.Addresses) }

func joinPrefixes(all []netip.Prefix) string {
	var words []string
	for _, p := range all {
		words = append(words, p.String())
	}
	return strings.Join(words, ",")
}

// text aligns the rows in columns. Names are cleaned first: that can make them longer.
func (t *tree) text() string {
	if len(t.rows) == 0 {
		return ""
	}
	head := [6]string{"INTERFACE", "KIND", "ADDRESS", "PORT", "STATE", ""}
	lines := [][6]string{head}
	ours := false
	for _, r := range t.rows {
		name := r.branch + plainname.Visible(r.name)
		if ours = ours || r.ours; r.ours {
			name += " *"
		}
		lines = append(lines, [6]string{name, plainname.Visible(r.kind), plainname.Visible(r.address), plainname.Visible(r.port), plainname.Visible(r.state), ""})
	}
	var width [6]int
	for _, l := range lines {
		for i, cell := range l {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for _, l := range lines {
		line := ""
		for i, cell := range l {
			line += cell + strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell)+2)
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	if ours {
		b.WriteString("* made or lent by gopipework\n")
	}
	return b.String()
}
