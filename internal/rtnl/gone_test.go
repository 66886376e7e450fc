package rtnl

import (
	"testing"

	"github.com/gopipework/gopipework/e2e/host"
)

// TestLinksInGone: to ask for the links of a namespace that has ended, or that
// there never was, is an error and no panic.
func TestLinksInGone(t *testing.T) {
	c, err := OpenOwn()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if links, err := c.LinksIn(123456); err == nil {
		t.Errorf("no error, and %d links", len(links))
	}
}

// TestNamespaceEnded: of a namespace that has ended since its id was read, nothing is
// found, whatever is asked about it.
func TestNamespaceEnded(t *testing.T) {
	needRoot(t)
	s, other := newSpace(t), host.NewNamespace(t)
	id, err := s.GiveNamespaceID(other)
	ok(t, "give an id", err)
	const lo = 1
	_, err = s.LinkIn(id, lo)
	ok(t, "find lo there", err)
	_, err = s.AddrsIn(id, lo)
	ok(t, "list its addresses", err)
	ok(t, "end the namespace", other.Close())
	eventually(t, "the namespace to end", func() bool { _, err := s.LinkIn(id, lo); return err != nil })
	_, err = s.LinkIn(id, lo)
	answers(t, "LinkIn", err, ErrNotFound)
	_, err = s.LinksIn(id)
	answers(t, "LinksIn", err, ErrNotFound)
	_, err = s.AddrsIn(id, lo)
	answers(t, "AddrsIn", err, ErrNotFound)
}
