package rtnl

import (
	"testing"
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
