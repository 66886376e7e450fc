package rtnl

import (
	"slices"
	"testing"
)

// TestLinksIn: one namespace reads the links of another that it has no link
// to, and whose link has its other end in a third.
func TestLinksIn(t *testing.T) {
	needRoot(t)
	reader, read, third := newSpace(t), newSpace(t), newSpace(t)
	none, err := reader.NamespaceIDs()
	if err != nil || len(none) != 0 {
		t.Fatalf("ids in a new namespace: %v, %v", none, err)
	}
	if id, err := reader.NamespaceID(read.ns); id != -1 || err != nil {
		t.Errorf("id before it has one: %d, %v", id, err)
	}
	id, err := reader.GiveNamespaceID(read.ns)
	ok(t, "give an id", err)
	again, err := reader.GiveNamespaceID(read.ns)
	if again != id || err != nil {
		t.Errorf("the id again: %d, %v, want %d", again, err, id)
	}
	read.sh(`
ip link add inner type veth peer name outer
ip link add inside type veth peer name beside
ip link add home type veth peer name away`)
	ok(t, "move", read.MoveLink(read.link("outer").Index, Move{NS: third.ns}))
	ok(t, "move", read.MoveLink(read.link("away").Index, Move{NS: reader.ns}))
	// The same, as they look from there.
	if ns := read.link("inside").PeerNS; ns != -1 {
		t.Errorf("peer in the same namespace: %d", ns)
	}

	links, err := reader.LinksIn(id)
	ok(t, "list", err)
	by := map[string]*Link{}
	for _, l := range links {
		by[l.Name] = l
	}
	if len(by) != 5 || by["lo"] == nil {
		t.Fatalf("links: %v", by)
	}
	if l := by["inside"]; l.PeerNS != -1 || l.Peer != by["beside"].Index {
		t.Errorf("its peer is in the same namespace: %d in %d", l.Peer, l.PeerNS)
	}
	thirdID, err := reader.NamespaceID(third.ns)
	ok(t, "third's id", err)
	if l := by["inner"]; thirdID < 0 || l.PeerNS != thirdID || l.Peer != third.link("outer").Index {
		t.Errorf("its peer is in the third: %d in %d, want %d in %d", l.Peer, l.PeerNS, third.link("outer").Index, thirdID)
	}
	self, err := reader.NamespaceID(reader.ns)
	ok(t, "own id", err)
	if l := by["home"]; self < 0 || l.PeerNS != self || l.Peer != reader.link("away").Index {
		t.Errorf("its peer is in the reader: %d in %d, want %d in %d", l.Peer, l.PeerNS, reader.link("away").Index, self)
	}
	ids, err := reader.NamespaceIDs()
	ok(t, "ids", err)
	want := []int{id, thirdID, self}
	slices.Sort(want)
	if !slices.Equal(ids, want) {
		t.Errorf("ids: %v, want %v", ids, want)
	}
	one, err := reader.LinkIn(id, by["inner"].Index)
	if err != nil || one.Name != "inner" || one.PeerNS != thirdID {
		t.Errorf("one of them: %+v, %v", one, err)
	}
}
