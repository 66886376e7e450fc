package graph

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"github.com/gopipework/gopipework/internal/plainname"
)

// DOT draws a graph in the language of Graphviz: dot -Tsvg. A guest is a cluster.
func DOT(g Graph) string {
	g = g.sorted()
	in := lookInward(&g)
	var b strings.Builder
	b.WriteString("graph host {\n\trankdir=LR;\n\tnode [shape=box, style=rounded, fontname=\"sans-serif\", fontsize=11];\n\tedge [fontname=\"sans-serif\", fontsize=10];\n")
	number := numbered(&g)
	node := func(indent string, n *Node) {
		fmt.Fprintf(&b, "%s%s [label=%s%s];\n", indent, number[n.ID], dotText(in.label(n)...), dotStyle(n))
	}
	for i := range g.Nodes {
		switch n := &g.Nodes[i]; {
		case n.Kind == Guest && len(in.parts[n.ID]) == 0:
			node("\t", n)
		case n.Kind == Guest:
			fmt.Fprintf(&b, "\tsubgraph cluster_%s {\n\t\tlabel=%s;\n", number[n.ID], dotText(in.label(n)...))
			for _, p := range in.parts[n.ID] {
				node("\t\t", p)
			}
			b.WriteString("\t}\n")
		case in.at[n.Parent] == nil:
			node("\t", n)
		}
	}
	in.eachLink(&g, func(out, inn *Node, l Link) {
		style := "style=dashed, color=gray50"
		if l.Ours {
			style = "penwidth=2"
		}
		if l.VLAN != "" {
			style += ", label=" + dotText(l.VLAN)
		}
		if l.Kind == Wire {
			style += ", constraint=false"
		}
		fmt.Fprintf(&b, "\t%s -- %s [%s];\n", number[out.ID], number[inn.ID], style)
	})
	b.WriteString("}\n")
	return b.String()
}

// dotStyle tells what is down and what is a bridge from the rest.
func dotStyle(n *Node) string {
	style := ""
	if n.Kind.Rank() == 1 {
		style = ", style=\"rounded,bold\""
	}
	if n.State != Up && n.State != "" {
		style += ", fontcolor=firebrick"
	}
	return style
}

// dotText writes lines as a quoted string. Graphviz expands escapes and the entities of HTML
// in a label, so that neither is left as it is.
func dotText(lines ...string) string {
	escape := strings.NewReplacer(`\`, `\\`, `"`, `\"`, `&`, `&amp;`, `<`, `&lt;`, `>`, `&gt;`)
	for i, l := range lines {
		lines[i] = escape.Replace(plainname.Visible(l))
	}
	return `"` + strings.Join(lines, `\n`) + `"`
}

// Mermaid draws a graph as a flowchart of Mermaid, which many wikis show. A guest is a
// subgraph.
func Mermaid(g Graph) string {
	g = g.sorted()
	in := lookInward(&g)
	var b strings.Builder
	b.WriteString("flowchart LR\n")
	number := numbered(&g)
	classes := map[string][]string{}
	node := func(indent string, n *Node) {
		fmt.Fprintf(&b, "%s%s[%s]\n", indent, number[n.ID], mermaidText(in.label(n)...))
		switch {
		case n.State != Up && n.State != "":
			classes["down"] = append(classes["down"], number[n.ID])
		case n.Kind.Rank() == 1:
			classes["bridge"] = append(classes["bridge"], number[n.ID])
		}
	}
	for i := range g.Nodes {
		switch n := &g.Nodes[i]; {
		case n.Kind == Guest && len(in.parts[n.ID]) == 0:
			node("  ", n)
		case n.Kind == Guest:
			fmt.Fprintf(&b, "  subgraph %s[%s]\n", number[n.ID], mermaidText(in.label(n)...))
			for _, p := range in.parts[n.ID] {
				node("    ", p)
			}
			b.WriteString("  end\n")
		case in.at[n.Parent] == nil:
			node("  ", n)
		}
	}
	in.eachLink(&g, func(out, inn *Node, l Link) {
		line := " -.- "
		if l.Ours {
			line = " --- "
		}
		if l.VLAN != "" {
			line = strings.TrimSuffix(line, " ") + "|" + mermaidText(l.VLAN) + "| "
		}
		fmt.Fprintf(&b, "  %s%s%s\n", number[out.ID], line, number[inn.ID])
	})
	for _, c := range []struct{ name, style string }{{"bridge", "stroke-width:3px"}, {"down", "stroke-dasharray:4 3,opacity:0.7"}} {
		if of := classes[c.name]; len(of) > 0 {
			fmt.Fprintf(&b, "  classDef %s %s\n  class %s %s\n", c.name, c.style, strings.Join(of, ","), c.name)
		}
	}
	return b.String()
}

// mermaidText writes lines as a quoted string. Whatever is not a plain character of a name
// or address is a number: a label may be read as Markdown or HTML.
func mermaidText(lines ...string) string {
	var b strings.Builder
	for i, l := range lines {
		if i > 0 {
			b.WriteString("<br/>")
		}
		for _, r := range plainname.Visible(l) {
			if r < unicode.MaxASCII && !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune(" .:/,-()@+", r) {
				fmt.Fprintf(&b, "#%d;", r)
				continue
			}
			b.WriteRune(r)
		}
	}
	return `"` + b.String() + `"`
}

// numbered gives each node a word that is plain in any language.
func numbered(g *Graph) map[string]string {
	number := make(map[string]string, len(g.Nodes))
	for i, n := range g.Nodes {
		number[n.ID] = "n" + strconv.Itoa(i)
	}
	return number
}

// eachLink calls f for each link between nodes that are there, with its outer end first.
func (in *inward) eachLink(g *Graph, f func(out, inn *Node, l Link)) {
	for _, n := range g.Nodes {
		for _, s := range in.inner[n.ID] {
			f(in.at[n.ID], s.to, s.Link)
		}
	}
	for _, l := range in.wires {
		f(in.at[l.From], in.at[l.To], l)
	}
}

// label is what a drawing writes into a node, line by line.
func (in *inward) label(n *Node) []string {
	lines := []string{n.Title()}
	if len(n.Also) > 0 {
		lines = append(lines, n.Also...)
	}
	if n.Kind != Guest && n.Kind != Port && n.Kind != Interface {
		lines = append(lines, kindWord(n))
	}
	for _, p := range n.Addresses {
		lines = append(lines, p.String())
	}
	if n.Hidden > 0 {
		lines = append(lines, strconv.Itoa(n.Hidden)+" more not shown")
	}
	if s := stateOf(n); s != "" {
		lines = append(lines, s)
	}
	return lines
}
