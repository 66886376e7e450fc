//go:build linux

package e2e

import (
	"fmt"
	"slices"
	"testing"
)

// Without a descriptor left, list fails: it does not leave out what it could not
// look at. Nor does gc take that for gone.
func TestStarved(t *testing.T) {
	m := newMachine(t)
	m.do("ip link add nic0 type veth peer name far0")
	m.do("ip link set far0 up")
	m.do("ip address add 10.9.0.1/24 dev nic0")
	var guests []string
	for i := range 6 {
		g := m.named(fmt.Sprintf("starved%d", i))
		guests = append(guests, g.Word)
		m.quiet("brtest", g.Word, fmt.Sprintf("10.0.0.%d/24", i+2))
	}
	m.quiet("nic0", "-i", "mv", guests[5], "10.9.0.2/24", "--host-access")
	whole := m.ok("list").Stdout
	check := m.unchanged()
	failed := 0
	for most := 8; most < 32; most++ {
		run := func(word string) (stdout string, code int) {
			r := m.Run("prlimit", fmt.Sprintf("--nofile=%d", most), "gopipework", word)
			return r.Stdout, r.Code
		}
		out, code := run("list")
		if code != 0 {
			failed++
		}
		if !slices.Contains([]int{0, 1}, code) || code == 0 && out != whole {
			t.Errorf("list with %d descriptors: code %d\n%s\nshould be code 1, or\n%s", most, code, out, whole)
		}
		if _, code := run("gc"); code != 0 && code != 1 {
			t.Errorf("gc with %d descriptors: code %d", most, code)
		}
	}
	check("after the last gc")
	if failed == 0 {
		t.Error("no list was short of descriptors")
	}
	for _, word := range guests {
		m.quiet("detach", "--all", word)
	}
}
