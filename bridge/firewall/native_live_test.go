//go:build linux

package firewall

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

// TestNative: a rule that is written without iptables is the one that iptables writes. It
// is found, and deleted once, by either.
func TestNative(t *testing.T) {
	h := newFWHost(t)
	for _, family := range families {
		tool := h.iptables(family, NFT)
		h.tool("", tool, "-N", dockerUserChain)
		h.tool("", tool, "-A", dockerUserChain, "-j", "RETURN")
		all := Rule{Family: family, Backend: NFT, Chain: dockerUserChain, Bridge: "brtest", Tool: toolName(family, NFT)}
		for _, r := range append(all.narrow("port0"), all) {
			before := h.tool("", tool, "-S")
			h.check(r.Insert(t.Context()))
			theirs := h.tool("", tool, "-S")
			h.check(r.deleteNative())
			if got := h.tool("", tool, "-S"); got != before {
				t.Errorf("after deleteNative of %v:\n%s\nbefore it:\n%s", r, got, before)
			}
			h.check(r.insertNative())
			if got := h.tool("", tool, "-S"); got != theirs {
				t.Errorf("insertNative of %v:\n%s\niptables:\n%s", r, got, theirs)
			}
			if is, err := r.there(t.Context()); !is || err != nil {
				t.Errorf("%v is not read as ours: %v", r, err)
			}
			h.check(r.Delete(t.Context()))
			if err := r.deleteNative(); !errors.Is(err, unix.ENOENT) {
				t.Errorf("deleteNative of what is not there: %v", err)
			}
		}
		all.Chain = "GONE"
		if err := all.insertNative(); !errors.Is(err, unix.ENOENT) {
			t.Errorf("insertNative into a chain that is not there: %v", err)
		}
	}
}
