//go:build linux

package e2e

import (
	"strconv"
	"strings"
	"testing"
)

// TestRequestsOfMany: what a line asks of the kernel about a guest it asks once, however
// often its answer is used. A list asks no more than this for each guest; the same line
// again and a detach no more than this at all, with other guests on the bridge.
func TestRequestsOfMany(t *testing.T) {
	need(t, "strace")
	m := newMachine(t)
	// A list visits every namespace that it can see, and other tests make theirs meanwhile.
	guest := func(n int) string {
		t.Helper()
		return m.named("guest" + strconv.Itoa(n)).Word
	}
	count := func(args ...string) int {
		t.Helper()
		r, err := m.RequestsAlone("gopipework", args...)
		m.check(err)
		n := r.Count("route") + r.Count("netfilter")
		if n == 0 {
			t.Fatalf("%s: no requests: this test is blind", strings.Join(args, " "))
		}
		return n
	}
	atMost := func(what string, have, most int) {
		t.Helper()
		if have > most {
			t.Errorf("%s: %d requests, at most %d", what, have, most)
		}
	}
	const few, many = 2, 6
	lists := map[int]int{}
	for i := 1; i <= many; i++ {
		m.ok("br1", guest(i), "10.0.0."+strconv.Itoa(i)+"/24")
		lists[i] = count("list")
	}
	atMost("list, for each guest", (lists[many]-lists[few])/(many-few), 9)

	g := guest(many + 1)
	m.ok("br1", g, "10.0.0.99/24")
	const others = many // each port of the bridge is asked for its addresses
	atMost("the same line again", count("br1", g, "10.0.0.99/24"), 37+others)
	atMost("detach", count("detach", g), 44)
}

// TestRequestsBesideAnotherHost: of what another host of this machine has attached, in
// namespaces that this one sees too, a list asks only whose it is.
func TestRequestsBesideAnotherHost(t *testing.T) {
	need(t, "strace")
	m := newMachine(t)
	other := m.named("other")
	lists := map[int]int{}
	const few, many = 1, 4
	for i := 1; i <= many; i++ {
		g := m.named("guest" + strconv.Itoa(i))
		m.check(other.Run("gopipework", "br1", g.Word, "10.0.0."+strconv.Itoa(i)+"/24").Err())
		r, err := m.RequestsAlone("gopipework", "list")
		m.check(err)
		lists[i] = r.Count("route") + r.Count("netfilter")
	}
	// For the id that the guest has here, its links, and the id that this host has there.
	if each := (lists[many] - lists[few]) / (many - few); each != 3 {
		t.Errorf("%d requests for each of its guests, not 3: %v", each, lists)
	}
}
