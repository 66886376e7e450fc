//go:build linux

package e2e

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gopipework/gopipework/e2e/host"
	"golang.org/x/sys/unix"
)

const keptFile = "/var/lib/gopipework/kept.yaml"

// keeping is a machine with a /var/lib of its own, and a named namespace for a guest.
func keeping(t *testing.T) *machine {
	t.Helper()
	m := newMachine(t)
	m.sh("mount -t tmpfs state /var/lib")
	m.sh("ip netns add blue")
	return m
}

// sh runs a script on the host that has to succeed.
func (m *machine) sh(script string) string {
	m.t.Helper()
	out, err := m.Must("sh", "-ec", script)
	m.check(err)
	return out
}

// keptText returns what is kept, without the comment that a new file begins with.
func (m *machine) keptText() string {
	m.t.Helper()
	_, text, _ := strings.Cut(m.sh("cat "+keptFile), "comments stay.\n")
	return text
}

// end removes a named namespace, and waits until the host's ends of its attachments have
// gone: the kernel takes them in its own time, and a guest of the same name would want the
// same names for its own.
func (m *machine) end(name string) {
	m.t.Helper()
	attached := m.list("netns:" + name)
	m.sh("ip netns del " + name)
	if !host.Poll(host.Patience, func() bool {
		there := m.links(m)
		return !slices.ContainsFunc(attached, func(a attachment) bool { _, is := there[a.Host.Port]; return is })
	}) {
		m.t.Errorf("of %+v something is still there", attached)
	}
}

// keptWhole returns the file of what is kept, or "" if there is none.
func (m *machine) keptWhole() string {
	m.t.Helper()
	return m.sh("[ ! -e " + keptFile + " ] || cat " + keptFile)
}

// keepsNothing holds that there is no file, nor its directory.
func (m *machine) keepsNothing() {
	m.t.Helper()
	if left := m.sh("find /var/lib -path '*gopipework*'"); left != "" {
		m.t.Errorf("left: %s", left)
	}
}

// TestKeep: attach --keep writes a line to a file of root's alone, detach and forget
// remove it, and the comments of the file stay.
func TestKeep(t *testing.T) {
	m := keeping(t)
	dry := m.ok("--dry-run", "brtest", "blue", "192.168.1.2/24", "--keep", "--rate-out", "10mbit")
	m.says("the dry run", dry.Stdout, "# keep in "+keptFile+": brtest blue 192.168.1.2/24 --rate-out 10mbit\n")
	m.keepsNothing()
	m.ok("brtest", "blue", "192.168.1.2/24", "--keep", "--rate-out", "10mbit")
	m.says("the file", m.keptText(), "attachments:\n  - brtest blue 192.168.1.2/24 --rate-out 10mbit\n")
	m.says("who may read it", m.sh("stat -c %a:%u /var/lib/gopipework "+keptFile), "700:0\n600:0\n")
	if r := m.ok("--dry-run", "brtest", "blue", "192.168.1.2/24", "--keep", "--rate-out", "10mbit"); r.Stdout != "" {
		t.Errorf("it is kept, and a dry run says %s", r.Stdout)
	}
	m.says("the list", m.ok("list", "--json").Stdout, `"origin":"keep"`)

	before := m.sh("stat -c %i " + keptFile)
	m.ok("brtest", "blue", "192.168.1.2/24", "--keep", "--rate-out", "10mbit")
	m.says("the same line again", m.sh("stat -c %i "+keptFile), before)

	m.sh("sed -i 's/^attachments:/attachments: # ours/; $ a # the end' " + keptFile)
	m.says("each step", m.ok("-v", "brtest", "-i", "lan0", "blue", "192.168.2.2/24@192.168.2.1", "--keep", "--route", "10.0.5.0/24,via 192.168.2.9").Stderr, "+ # keep in "+keptFile)
	want := "attachments: # ours\n  - brtest blue 192.168.1.2/24 --rate-out 10mbit\n" +
		"  - brtest -i lan0 blue 192.168.2.2/24@192.168.2.1 --route \"10.0.5.0/24,via 192.168.2.9\"\n# the end\n"
	m.says("the edited file", m.keptText(), want)

	m.says("forget", m.ok("forget", "--dry-run", "netns:blue", "lan0").Stdout, "gopipework forget blue lan0\n")
	m.says("detach", m.ok("detach", "--dry-run", "blue", "lan0").Stdout, "gopipework forget blue lan0\n")
	m.says("nothing yet", m.keptText(), want)
	m.ok("detach", "blue", "lan0")
	m.says("without lan0", m.keptText(), "attachments: # ours\n  - brtest blue 192.168.1.2/24 --rate-out 10mbit\n# the end\n")

	// The guest goes, and comes back with nothing in it.
	m.end("blue")
	m.says("the hint", m.fails("not_found", "detach", "blue").Error.Hint, "gopipework forget blue")
	m.ok("forget", "netns:blue")
	m.says("without the guest", m.keptText(), "attachments: # ours\n# the end\n")
	m.fails("not_found", "forget", "blue")
	m.sh("ip netns add blue")
	m.ok("brtest", "blue", "192.168.1.3/24", "--keep")
	m.end("blue")
	m.sh("ip netns add blue")
	m.ok("brtest", "blue", "192.168.1.4/24", "--keep")
	m.says("another address", m.keptText(), "attachments: # ours\n  - brtest blue 192.168.1.4/24\n# the end\n")
	m.ok("brtest", "-i", "lan0", "blue", "192.168.1.5/24", "--keep")
	m.end("blue")
	m.sh("ip netns add blue")
	m.says("which line", m.ok("detach", "blue").Stderr, "2 lines stay kept: gopipework forget blue")
	m.ok("detach", "blue", "lan0")
	m.says("without lan0 again", m.keptText(), "attachments: # ours\n  - brtest blue 192.168.1.4/24\n# the end\n")
	m.ok("brtest", "-i", "lan0", "blue", "192.168.2.4/24", "--keep")
	m.ok("forget", "blue", "lan0")
	m.says("a forgotten line", m.ok("apply", "--kept").Stderr, "lan0 of netns:blue is no longer kept; --prune detaches it")
	m.ok("brtest", "-i", "lan0", "blue", "192.168.2.4/24", "--keep")
	m.says("a destroy", m.ok("destroy", "--dry-run", "-f", "/var/lib/gopipework/kept.yaml").Stderr, "warning: the lines stay kept: apply --kept attaches them again; gopipework forget drops them")
	m.ok("detach", "--all", "blue")
	m.says("after all", m.keptText(), "attachments: # ours\n# the end\n")
	m.sh("ip netns del blue")
	m.ok("gc")
}

// TestKeepRefused: what cannot be kept is refused before anything is attached.
func TestKeepRefused(t *testing.T) {
	m := keeping(t)
	m.sh("ip netns add red")
	g := m.guest()
	m.says("a process", m.fails("usage", "brtest", g.Word, "192.168.1.2/24", "--keep").Error.Message, "a process has its number only as long as it lives")
	m.ok("brtest", "blue", "192.168.1.2/24", "--keep")
	m.says("an address twice", m.fails("conflict", "brtest", "red", "192.168.1.2/24", "--keep").Error.Message, "has it already on brtest")
	kept := m.sh("cat " + keptFile)

	m.sh("echo 'attachmets: []' >> " + keptFile)
	f := m.fails("invalid", "brtest", "red", "192.168.1.3/24", "--keep")
	m.says("a broken file", f.Error.Message, "kept.yaml:5:1: read key", "no such key")
	m.ok("brtest", "red", "192.168.1.3/24") // nobody asks for the file
	m.fails("invalid", "detach", "--dry-run", "blue", "eth1")
	m.says("a detach", m.fails("residue", "detach", "blue").Error.Message, "it is detached, and a line for it may still be kept")

	m.sh("chmod 755 /var/lib/gopipework; sed -i '$ d' " + keptFile)
	m.says("a directory for others", m.fails("failed", "brtest", "netns:blue", "192.168.2.2/24", "--keep", "-i", "lan0").Error.Message, "chmod 700 it")
	m.says("lines that others may have written", m.fails("failed", "apply", "--kept").Error.Message, "chmod 700 it")
	m.sh("chmod 700 /var/lib/gopipework; mv " + keptFile + " /var/lib/kept; ln -s /var/lib/kept " + keptFile)
	m.says("a link in its place", m.fails("failed", "brtest", "netns:blue", "192.168.2.2/24", "--keep", "-i", "lan0").Error.Message, "it is not a regular file")
	m.sh("mv /var/lib/kept " + keptFile)
	m.sh("mount -o remount,ro /var/lib")
	m.says("a file that cannot be written", m.fails("failed", "brtest", "netns:blue", "192.168.2.2/24", "--keep", "-i", "lan0").Error.Message, "read-only file system")
	m.sh("mount -o remount,rw /var/lib")
	m.says("the file", m.sh("cat "+keptFile), kept)
	if list := m.ok("list", "blue").Stdout; list != "" {
		t.Errorf("it is attached: %s", list)
	}
	m.ok("detach", "red")
	m.ok("forget", "blue")
	m.sh("ip netns del blue; ip netns del red")
	m.check(g.Kill())
}

// TestKeepConcurrently: of writers at the same time, none loses another's line.
func TestKeepConcurrently(t *testing.T) {
	m := keeping(t)
	const many = 8
	names := strings.Split("abcdefgh", "")
	var wg sync.WaitGroup
	results := make([]host.Result, many)
	for _, name := range names {
		m.sh("ip netns add " + name)
	}
	for i, name := range names {
		wg.Go(func() {
			results[i] = m.gopipework("brtest", name, "192.168.1."+string(rune('1'+i))+"/24", "--keep")
		})
	}
	wg.Wait()
	for _, r := range results {
		m.check(r.Err())
	}
	if lines := strings.Count(m.keptText(), "  - brtest"); lines != many {
		t.Errorf("%d lines are kept: %s", lines, m.keptText())
	}
	for i, name := range names {
		wg.Go(func() { results[i] = m.gopipework("detach", name) })
	}
	wg.Wait()
	for _, r := range results {
		m.check(r.Err())
	}
	m.keepsNothing()
	for _, name := range append(names, "blue") {
		m.sh("ip netns del " + name)
	}
}

// TestKeepKilled: at whatever call that concerns the file a run is killed or fails, the
// file is the old or the new one, and the same line again does the rest.
func TestKeepKilled(t *testing.T) {
	m := keeping(t)
	attach := []string{"brtest", "blue", "192.168.1.2/24", "--keep"}
	detach := []string{"detach", "blue"}
	const line = "  - brtest blue 192.168.1.2/24\n"
	const mine = "# mine\nattachments:\n" // a comment of a person's, so that the file stays
	for _, test := range []struct {
		name string
		file string // before; "": none
		run  []string
		kept bool // at its end
		blow host.Blow
	}{
		{"the first attach, killed", "", attach, true, host.Blow{Signal: unix.SIGKILL}},
		{"the first attach, failing", "", attach, true, host.Blow{Errno: unix.EIO}},
		{"attach, killed", mine, attach, true, host.Blow{Signal: unix.SIGKILL}},
		{"detach, failing", mine + line, detach, false, host.Blow{Errno: unix.EIO}},
		{"the last detach, killed", "attachments:\n" + line, detach, false, host.Blow{Signal: unix.SIGKILL}},
	} {
		prepare := func() {
			m.ok("detach", "--all", "blue")
			m.sh("rm -rf /var/lib/gopipework")
			if !test.kept {
				m.ok(attach...)
			}
			if strings.HasPrefix(test.file, mine) {
				m.sh("mkdir -p -m 700 /var/lib/gopipework; printf '" + strings.ReplaceAll(test.file, "\n", `\n`) + "' > " + keptFile + "; chmod 600 " + keptFile)
			}
		}
		step := func(b host.Blow) host.Stepped {
			s, err := host.Step(m.Command(context.Background(), "gopipework", test.run...), b)
			m.check(err)
			if strings.Contains(s.Stderr, "panic:") {
				t.Errorf("%s: it panics: %v", test.name, s.Result)
			}
			return s
		}
		prepare()
		calls := step(host.Blow{}).Calls
		struck := 0
		for at, call := range calls {
			word, path, _ := strings.Cut(call, " ")
			if strings.HasPrefix(word, "netlink") || word == "setns" || word == "fork" || word == "exec" || path != "" && !strings.HasPrefix(path, "/var/lib/gopipework") {
				continue
			}
			blows := []host.Blow{test.blow}
			blows[0].At = at + 1
			if word == "rename" && test.blow.Errno == 0 { // after any other call is before the next one
				blows = append(blows, host.Blow{At: at + 1, After: true, Signal: unix.SIGKILL})
			}
			for _, b := range blows {
				struck++
				prepare()
				s := step(b)
				text := m.keptWhole()
				if text != "" && text != mine && !strings.HasSuffix(text, "attachments:\n"+line) {
					t.Errorf("%s, %s (%+v): the file is torn: %q", test.name, call, b, text)
				}
				if s.Code == 0 && b.Errno == 0 && !b.After {
					t.Errorf("%s, %s: it survives %+v", test.name, call, b)
				}
				if s.Code == 0 && strings.Contains(text, line) != test.kept {
					t.Errorf("%s, %s (%+v): it reports success, and the file is %q", test.name, call, b, text)
				}
				m.ok(test.run...)
				again := m.keptWhole()
				if strings.HasSuffix(again, "attachments:\n"+line) != test.kept || (again == "") != (!test.kept && !strings.HasPrefix(test.file, mine)) {
					t.Errorf("%s, %s (%+v), again: %q", test.name, call, b, again)
				}
			}
		}
		if struck < 5 {
			t.Errorf("%s: struck %d times at %q", test.name, struck, calls)
		}
		t.Logf("%s: %d blows", test.name, struck)
	}
	m.ok("detach", "--all", "blue")
	m.ok(attach...)
	m.ok(detach...)
	m.keepsNothing()
	m.sh("ip netns del blue")
}

// TestDetachWithoutKept: a host that keeps nothing pays one system call for it.
func TestDetachWithoutKept(t *testing.T) {
	need(t, "strace")
	m := keeping(t)
	m.ok("brtest", "blue", "192.168.1.2/24")
	log := filepath.Join(t.TempDir(), "trace")
	cmd := m.Command(context.Background(), "strace", "-f", "-e", "trace=file", "-o", log, bin+"/gopipework", "detach", "blue")
	cmd.WaitDelay = time.Minute
	m.check(cmd.Run())
	b, err := os.ReadFile(log)
	m.check(err)
	if n := strings.Count(string(b), "/var/lib/gopipework"); n != 1 {
		t.Errorf("%d system calls: %s", n, b)
	}
	m.sh("ip netns del blue")
}

// TestApplyKept: apply --kept attaches what is kept and not there, and no more.
func TestApplyKept(t *testing.T) {
	m := keeping(t)
	m.sh("ip netns add red")
	m.says("nothing is kept", m.ok("apply", "--kept", "--json").Stdout, `"changed":false`)
	m.ok("brtest", "blue", "192.168.1.2/24", "--keep")
	m.ok("brtest", "red", "192.168.1.3/24", "--keep")
	m.ok("diff", "--kept")
	red := m.ok("list", "red").Stdout
	m.end("blue")
	m.sh("ip netns add blue")
	if r := m.gopipework("diff", "--kept"); r.Code != 2 {
		t.Error(r)
	}
	m.says("apply", m.ok("apply", "-f", keptFile).Stdout, "+ brtest blue 192.168.1.2/24")
	m.ok("diff", "--kept")
	m.says("by another path", m.ok("diff", "-f", "/var/lib/./gopipework/kept.yaml", "--json").Stdout, `"same":2`)
	m.says("list", m.ok("list", "blue", "--json").Stdout, `"origin":"keep"`, "192.168.1.2/24")
	if again := m.ok("list", "red").Stdout; again != red {
		t.Errorf("red was touched: %s, before %s", again, red)
	}
	m.fails("usage", "apply", "--kept", "-f", "x.yaml")
	m.fails("usage", "apply", "--schema", "--kept")
	m.ok("detach", "blue")
	m.ok("detach", "red")
	m.says("nothing is kept again", m.ok("apply", "--kept", "--json").Stdout, `"changed":false`)
	m.sh("ip netns del blue; ip netns del red")
}
