//go:build linux

package e2e

import (
	"context"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopipework/gopipework/e2e/host"
	"github.com/gopipework/gopipework/e2e/program"
)

// The demo sees what it says, in the order of the talk, and leaves nothing.
func TestDemo(t *testing.T) {
	need(t, "root", "docker")
	left := demoLeft(t)
	out, err := demo(t)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	at := 0
	for _, title := range []string{
		"Network namespaces with a name", "A new network namespace", "Moving an interface", "Two network namespaces",
		"unshare --net", "LXC: five types", "Docker: a published port, a link", "Everything worked as announced",
	} {
		i := strings.Index(out[at:], title)
		if i < 0 {
			t.Fatalf("%q is missing, or out of order:\n%s", title, out)
		}
		at += i
	}
	// Another demo may be running on this machine; it ends, and what is left does not.
	var ours []string
	gone := host.Poll(3*time.Minute, func() bool {
		ours = slices.DeleteFunc(demoLeft(t), func(path string) bool { return slices.Contains(left, path) })
		return len(ours) == 0
	})
	if !gone {
		t.Errorf("left behind: %q", ours)
	}
}

// One section can be played alone, and a word that is none is refused before
// anything is done.
func TestDemoSection(t *testing.T) {
	need(t, "root", "docker")
	out, err := demo(t, "move", "names")
	if err != nil || strings.Count(out, "\n== ") != 2 {
		t.Errorf("two sections: %v\n%s", err, out)
	}
	out, err = demo(t, "names", "nosuch")
	if exit, is := err.(*exec.ExitError); !is || exit.ExitCode() != 2 || !strings.Contains(out, "docker") {
		t.Errorf("no such section: %v\n%s", err, out)
	}
}

func demo(t *testing.T, sections ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	cmd := program.CommandContext(ctx, "bash", append([]string{"demo.sh"}, sections...)...)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// demoLeft lists what a demo could leave on this machine.
func demoLeft(t *testing.T) (all []string) {
	t.Helper()
	for _, pattern := range []string{"/tmp/gopipework-demo-*", "/sys/fs/cgroup/gopipework-demo-*", "/sys/fs/cgroup/*/gopipework-demo-*"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, paths...)
	}
	return all
}
