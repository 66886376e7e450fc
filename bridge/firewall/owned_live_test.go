package firewall

import (
	"errors"
	"testing"
	"time"

	"github.com/gopipework/gopipework/e2e/host"
	"github.com/gopipework/gopipework/e2e/program"
	"golang.org/x/sys/unix"
)

// TestOwnedGoes: a table that goes with the program that owns it while its sets are read is
// no error. It goes without a new generation.
func TestOwnedGoes(t *testing.T) {
	h := newFWHost(t)
	h.needNFT()
	owner := program.Command("nft", "-i")
	stdin, err := owner.StdinPipe()
	h.check(err)
	h.check(owner.Start())
	defer func() {
		stdin.Close()
		owner.Wait()
	}()
	_, err = stdin.Write([]byte("add table ip own { flags owner; set s { type ipv4_addr; elements = { 10.0.0.1 }; }; chain c { type filter hook forward priority 0; ip saddr @s drop; }; }\n"))
	h.check(err)
	set := nftChain{unix.NFPROTO_IPV4, "own", "s"}
	reads := 0
	var seen []error
	var g Reading
	defer g.Close()
	read := func(r *nftReader) error {
		reads++
		if err := r.open(); err != nil {
			return err
		}
		if r.untouched || len(r.chains) == 0 {
			return nil
		}
		if err := r.sets.list(); err != nil {
			return err
		}
		if _, there := r.sets.kinds[set]; !there {
			return nil
		}
		if reads == 1 { // it is there, and goes now
			stdin.Close()
			owner.Wait()
		}
		var err error
		if !host.Poll(10*time.Second, func() bool {
			clear(r.sets.have)
			_, err = r.sets.elements(set, []int{4})
			return reads > 1 || err != nil
		}) {
			t.Error("the table outlives its owner")
		}
		seen = append(seen, err)
		return err
	}
	if !host.Poll(10*time.Second, func() bool {
		r := program.Command("nft", "list", "tables")
		out, _ := r.Output()
		return len(out) > 0
	}) {
		h.unsupported("tables with an owner", "nft made none")
	}
	present, still, err := g.look(t.Context(), read)
	if err != nil || !present || !still || reads < 2 || len(seen) != 1 || !errors.Is(seen[0], unix.ENOENT) {
		t.Errorf("after %d reads, with %v: present %v, still %v, %v", reads, seen, present, still, err)
	}
}
