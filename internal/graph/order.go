package graph

// The drawings lead from the outside to the guests: from a card by a bridge and its ports
// to the interfaces. A link of the graph does not always point the other way: a card is a
// port of its bridge, and farther outside.

// inward is the graph as the drawings see it.
type inward struct {
	at      map[string]*Node
	inner   map[string][]step // what is next to a node on the way to the guests
	outer   map[string][]step // and to the outside
	wires   []Link            // links that lead neither way
	parts   map[string][]*Node
	members map[string]bool // what is a port of something
}

// step is a link, as one of its ends sees it.
type step struct {
	Link
	to *Node
}

// lookInward sorts the links of a graph by where they lead. What the ends of a link are not
// in the graph for is left out.
func lookInward(g *Graph) *inward {
	in := &inward{at: map[string]*Node{}, inner: map[string][]step{}, outer: map[string][]step{}, parts: map[string][]*Node{}, members: map[string]bool{}}
	for i := range g.Nodes {
		n := &g.Nodes[i]
		in.at[n.ID] = n
		if n.Parent != "" {
			in.parts[n.Parent] = append(in.parts[n.Parent], n)
		}
	}
	leaves := map[string]bool{} // interfaces that lead out of their guest
	for _, l := range g.Links {
		if l.Kind == Member {
			in.members[l.From] = true
		} else if from, to := in.at[l.From], in.at[l.To]; l.Kind != Wire && from != nil && to != nil && from.Parent != to.Parent {
			leaves[l.From] = true
		}
	}
	for _, l := range g.Links {
		from, to := in.at[l.From], in.at[l.To]
		if from == nil || to == nil {
			continue
		}
		out, inn := to, from
		switch {
		case l.Kind == Wire && in.members[l.From] == in.members[l.To]:
			in.wires = append(in.wires, l)
			continue
		case l.Kind == Wire && in.members[l.From], // the port of a bridge in a guest that has guests itself
			l.Kind == Member && (from.Kind.Rank() == 0 || from.Kind == Interface && leaves[l.From] && !in.members[l.To]):
			out, inn = from, to
		}
		in.inner[out.ID] = append(in.inner[out.ID], step{l, inn})
		in.outer[inn.ID] = append(in.outer[inn.ID], step{l, out})
	}
	return in
}
