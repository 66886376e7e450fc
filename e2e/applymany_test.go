//go:build linux

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestApplyMany: a file of 200 attachments over four bridges is changed in 20 places. Only
// these are touched: the indexes of all other interfaces stay, and the kernel reports no
// change of their ports. Then there is no difference, and destroy leaves nothing.
func TestApplyMany(t *testing.T) {
	m := newMachine(t)
	const n = 200
	var add, del, lines []string
	for i := range n {
		add = append(add, fmt.Sprintf("netns add g%d", i))
		del = append(del, fmt.Sprintf("netns del g%d", i))
		lines = append(lines, fmt.Sprintf("br%d -l p%d netns:g%d 10.%d.0.%d/24 --nodad", i%4, i, i, i%4, i+1))
	}
	m.Batch(add...)
	check := m.unchanged()
	file := m.topology("lab", lines...)
	m.ok("apply", "-f", file)
	m.differs(file, 0)
	// index of each interface, at both ends
	indexes := func() map[string]string {
		out := m.sh("ip -o link; for n in $(seq 0 199); do ip -n g$n -o link show eth1 2>/dev/null | sed s/^/g$n:/; done; true")
		all := map[string]string{}
		for _, f := range regexp.MustCompile(`(?m)^(g\d+:)?(\d+): (eth1|p\d+)@`).FindAllStringSubmatch(out, -1) {
			all[f[1]+f[3]] = f[2]
		}
		return all
	}
	before := indexes()
	if len(before) != 2*n {
		t.Fatalf("there are %d interfaces, want %d", len(before), 2*n)
	}

	var again, touched []string // guests
	for k := range 4 {
		i := 10 + 40*k
		for at, change := range map[int]func(string) string{
			i:     func(l string) string { return strings.Replace(l, ".0.", ".1.", 1) },
			i + 1: func(l string) string { return l + " --mtu 1400" },
			i + 2: func(l string) string { return l + " --rate-out 10mbit" },
			i + 3: func(l string) string { return strings.Replace(l, "br", "br1", 1) },
			i + 4: func(string) string { return "" },
		} {
			if lines[at] = change(lines[at]); at >= i+3 {
				again = append(again, fmt.Sprint(at))
			}
			touched = append(touched, fmt.Sprint(at))
		}
	}
	m.topology("lab", slices.DeleteFunc(slices.Clone(lines), func(l string) bool { return l == "" })...)
	if got := m.differs(file, 2); len(got) != 20 {
		t.Errorf("the difference has %d lines, want 20:\n%s", len(got), strings.Join(got, "\n"))
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	told, err := os.Create(filepath.Join(m.Dir, "told"))
	m.check(err)
	monitor := m.Command(ctx, "ip", "-o", "monitor", "link")
	monitor.Stdout = told
	m.check(monitor.Start())
	text := func() string {
		out, err := os.ReadFile(told.Name())
		m.check(err)
		return string(out)
	}
	hears := func(name string) { // the monitor has reported all that was before
		t.Helper()
		m.until(func() error {
			m.do("ip link add " + name + " type bridge")
			m.do("ip link del " + name)
			if !strings.Contains(text(), name+":") {
				return fmt.Errorf("the monitor does not report %s", name)
			}
			return nil
		})
	}
	hears("begin")
	m.ok("apply", "-f", file, "--prune")
	hears("end")
	stop()
	_ = monitor.Wait()
	seen := map[string]bool{}
	for _, f := range regexp.MustCompile(`(?m)^(?:Deleted )?\d+: p(\d+)@`).FindAllStringSubmatch(text(), -1) {
		seen[f[1]] = true
		if !slices.Contains(touched, f[1]) {
			t.Errorf("the kernel reports a change of p%s", f[1])
		}
	}
	for _, g := range again {
		if !seen[g] {
			t.Errorf("the kernel does not report p%s, which goes", g)
		}
	}
	after := indexes()
	for name, index := range before {
		number := strings.Trim(strings.TrimSuffix(name, ":eth1"), "gp")
		if goes := slices.Contains(again, number); goes == (after[name] == index) {
			t.Errorf("%s had index %s, and has %s", name, index, after[name])
		}
	}
	m.differs(file, 0)
	m.ok("destroy", "lab")
	if all := m.list(); len(all) > 0 {
		t.Errorf("destroy left %d", len(all))
	}
	check("after destroy")
	m.Batch(del...)
}
