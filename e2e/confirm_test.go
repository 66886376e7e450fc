//go:build linux

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gopipework/gopipework/e2e/host"
)

// confirmation is a host with attachments of every kind of change, before it.
type confirmation struct {
	*machine
	name   string // of the topology; the processes of other tests have others
	file   string
	before []attachment
	guests []*host.Guest
}

// confirming makes a host, and writes a file that differs from it in everything that can
// be changed.
func confirming(t *testing.T, name string) *confirmation {
	m := newMachine(t)
	c := &confirmation{machine: m, name: name}
	for i := range 7 {
		c.guests = append(c.guests, m.named(fmt.Sprintf("g%d", i)))
	}
	links := "links:\n  - g5:to-g6 10.8.0.1/30 g6:to-g5 10.8.0.2/30\n"
	c.file = m.topology(name, "br1 g0 10.0.0.1/24 --rate-out 10mbit", "br1 g1 10.0.0.2/24", "br1 g2 10.0.0.3/24 --mtu 1400", "br1 g3 10.0.0.4/24 02:00:00:00:00:04")
	c.append(links)
	m.ok("apply", "-f", c.file)
	c.before = m.seen()
	m.topology(name, "br1 g0 10.0.0.11/24 --rate-out 20mbit --rate-in 5mbit", "br2 g1 10.0.0.2/24@10.0.0.9", "br1 g2 10.0.0.3/24 --mtu 1300", "br1 g4 10.0.0.5/24")
	c.append("links:\n  - g5:to-g6 10.8.0.1/30 g6:to-g5 10.8.0.6/29\n")
	return c
}

func (c *confirmation) append(text string) {
	old, err := os.ReadFile(c.file)
	c.check(err)
	c.check(os.WriteFile(c.file, append(old, text...), 0o644))
}

// apply applies the file, which is undone after that time.
func (c *confirmation) apply(within string) host.Result {
	c.t.Helper()
	d, err := time.ParseDuration(within)
	c.check(err)
	earliest := time.Now().Add(d) // that it is undone
	r := c.ok("apply", "-f", c.file, "--prune", "--confirm", within)
	c.says("the end of the time", r.Stderr, "gopipework: the change is undone at ", "unless it is confirmed: gopipework confirm "+c.name+"\n")
	if cmp.Equal(c.before, c.seen()) && time.Now().Before(earliest) {
		c.t.Error("nothing was changed")
	}
	return r
}

// isUndone waits until all is as before.
func (c *confirmation) isUndone(when string) {
	c.t.Helper()
	diff := ""
	c.until(func() error {
		if diff = cmp.Diff(c.before, c.seen()); diff != "" {
			return fmt.Errorf("%s: it is not as before (-before +now):\n%s", when, diff)
		}
		return nil
	})
	c.reaches(c.guests[0], "10.0.0.2")
	c.reaches(c.guests[5], "10.8.0.2")
}

// until waits until ok returns nil.
func (m *machine) until(ok func() error) {
	m.t.Helper()
	var err error
	if !host.Poll(60*time.Second, func() bool { err = ok(); return err == nil }) {
		m.t.Error(err)
	}
}

// ended waits until no process waits for a confirmation.
func (m *machine) ended(name string) {
	m.t.Helper()
	m.until(func() error {
		if pids := waiting(name); len(pids) > 0 {
			return fmt.Errorf("processes %v still wait", pids)
		}
		return nil
	})
}

// waiting are the processes that wait for the confirmation of a topology.
func waiting(name string) (pids []int) {
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range all {
		if line, _ := os.ReadFile(path); strings.Contains(string(line), "\x00--undo-unless-confirmed\x00"+name+"\x00") {
			pid, _ := strconv.Atoi(strings.Split(path, "/")[2])
			pids = append(pids, pid)
		}
	}
	return pids
}

func (c *confirmation) idle() {
	c.t.Helper()
	c.ended(c.name)
	if out := c.sh("ls -A /run/gopipework-confirm 2>/dev/null || true"); out != "" {
		c.t.Errorf("the directory has %s", out)
	}
}

// TestConfirm: a change that is not confirmed in time is undone, whatever it was made
// of; one that is confirmed stands.
func TestConfirm(t *testing.T) {
	c := confirming(t, "slow")
	c.apply("60s")
	for _, again := range [][]string{{"apply", "-f", c.file, "--confirm", "5s"}, {"apply", "-f", c.file}, {"destroy", "slow"}} {
		if f := c.fails("conflict", again...); !strings.Contains(f.Error.Message, "a change of slow waits for its confirmation") || !strings.Contains(f.Error.Hint, "gopipework confirm slow") {
			t.Errorf("%v: %+v", again, f)
		}
	}
	if f := c.fails("not_found", "confirm", "other"); f.Error.Hint != "those of slow do" {
		t.Errorf("got %+v", f)
	}
	c.ok("confirm", "--undo")
	c.isUndone("at once")
	c.idle()
	c.fails("not_found", "confirm")

	c.apply("1s")
	c.isUndone("after its time")
	r := c.gopipework("confirm", "slow")
	if r.Code != 1 || !strings.Contains(r.Stderr, "the change was undone at ") {
		t.Errorf("too late: %v", r)
	}
	c.idle()

	c.apply("60s")
	after := c.seen()
	if r := c.ok("confirm"); r.Stdout+r.Stderr != "" {
		t.Errorf("got %v", r)
	}
	c.idle()
	if diff := cmp.Diff(after, c.seen()); diff != "" {
		t.Errorf("confirmed, it differs:\n%s", diff)
	}
	if r := c.ok("apply", "-f", c.file, "--confirm", "60s"); r.Stdout+r.Stderr != "" {
		t.Errorf("with nothing to do: %v", r)
	}
	c.idle()
	for _, wrong := range []string{"0s", "-1s", "25h", "soon"} {
		c.fails("usage", "apply", "-f", c.file, "--confirm", wrong)
	}
	c.ok("destroy", "slow")
}

// TestConfirmCut: the change is undone although the terminal, with all of its processes,
// is gone; and a guest that was restarted meanwhile gets what it had.
func TestConfirmCut(t *testing.T) {
	c := confirming(t, "cut")
	const within = 6 * time.Second // the guest has to be replaced before it ends
	apply := "gopipework apply -f " + c.file + " --prune --yes --confirm " + within.String()
	earliest := time.Now().Add(within)
	c.Run("setsid", "--wait", "script", "--quiet", "--return", "--command", apply+"; kill -9 $PPID", "/dev/null")
	if cmp.Equal(c.before, c.seen()) && time.Now().Before(earliest) {
		t.Error("nothing was changed")
	}
	c.check(c.Run("ip", "netns", "del", "g3").Err())
	c.check(c.Run("ip", "netns", "add", "g3").Err())
	for i := range c.before { // its namespace is another
		if a := &c.before[i]; a.Guest.Name == "g3" {
			a.Guest.Netns = 0
		}
	}
	c.until(func() error {
		now := c.seen()
		for i := range now {
			if now[i].Guest.Name == "g3" {
				now[i].Guest.Netns = 0
			}
		}
		if diff := cmp.Diff(c.before, now); diff != "" {
			return fmt.Errorf("it is not as before (-before +now):\n%s", diff)
		}
		return nil
	})
	c.gopipework("confirm")
	c.idle()

	// With the process killed, the change stands until somebody decides.
	c.apply("60s")
	kill := func() {
		for _, pid := range waiting(c.name) {
			c.check(syscall.Kill(pid, syscall.SIGKILL))
		}
		c.ended(c.name)
	}
	kill()
	if f := c.fails("conflict", "destroy", "cut"); !strings.Contains(f.Error.Hint, "confirm --undo") {
		t.Errorf("got %+v", f)
	}
	c.ok("confirm", "--undo", "cut")
	c.idle()
	c.reaches(c.guests[0], "10.0.0.2")
	c.apply("60s")
	kill()
	c.says("the process is gone", c.ok("confirm").Stderr, "warning: the process that would have undone the change was killed")
	c.idle()

	// What ends it politely, as the end of a session does, undoes the change at once.
	c.ok("destroy", "cut")
	c.topology("cut", "br1 g0 10.0.0.1/24")
	c.ok("apply", "-f", c.file, "--confirm", "60s")
	for _, pid := range waiting(c.name) {
		c.check(syscall.Kill(pid, syscall.SIGTERM))
	}
	c.until(func() error {
		if n := len(c.list()); n > 0 {
			return fmt.Errorf("%d are left", n)
		}
		return nil
	})
	c.gopipework("confirm")
	c.idle()
}

// TestConfirmLost: what cannot be restored is said before, and again after; a change that
// failed in part waits for its confirmation with what stands.
func TestConfirmLost(t *testing.T) {
	m := newMachine(t)
	g := m.named("g0")
	m.ownDefault("g0")
	check := m.unchanged(g)
	file := m.topology("lost", "{to: br1, guest: g0, address: 10.0.0.1/24@10.0.0.9, default: keep}")
	m.ok("apply", "-f", file)
	m.topology("lost", "br2 g0 10.0.0.1/24", "nosuch0 -i eth2 g0 10.0.3.1/24")
	const lost = "warning: cannot be undone: the routes of eth1 of netns:g0"
	m.says("a dry run", m.ok("apply", "-f", file, "--dry-run", "--confirm", "2s").Stderr, lost)
	r := m.gopipework("apply", "-f", file, "--confirm", "2s")
	if r.Code != 1 || !strings.Contains(r.Stderr, lost) || !strings.Contains(r.Stderr, "1 of 2 failed") || !strings.Contains(r.Stderr, "is undone at ") {
		t.Errorf("got %v", r)
	}
	m.until(func() error {
		if all := m.list(); len(all) != 1 || all[0].Host.Name != "br1" {
			return fmt.Errorf("there is %+v", all)
		}
		return nil
	})
	m.ended("lost")
	m.gopipework("confirm")
	m.ok("destroy", "lost")
	doc := decode[map[string]any](t, m.ok("apply", "-f", m.topology("lost", "br1 g0 10.0.0.1/24"), "--confirm", "60s", "--json"))
	if until, err := time.Parse(time.RFC3339, fmt.Sprint(doc["confirm_until"])); err != nil || time.Until(until) < 20*time.Second {
		t.Errorf("confirm_until is %v", doc["confirm_until"])
	}
	m.ok("confirm", "--undo", "--json")
	check("after all")
}

// TestConfirmKilled: an apply that is killed at work is undone as well, whatever it has come
// to: its end begins the time.
func TestConfirmKilled(t *testing.T) {
	c := confirming(t, "killed")
	for _, after := range []time.Duration{0, 40 * time.Millisecond} {
		apply := c.Command(t.Context(), "gopipework", "apply", "-f", c.file, "--prune", "--confirm", "1s")
		c.check(apply.Start())
		c.until(func() error {
			if len(waiting(c.name)) == 0 {
				return fmt.Errorf("no process waits")
			}
			return nil
		})
		time.Sleep(after)
		_ = apply.Process.Kill() // it may be done
		_ = apply.Wait()
		c.ended(c.name)
		c.isUndone(fmt.Sprintf("killed after %s", after))
		c.gopipework("confirm")
		c.idle()
	}
	c.ok("destroy", "killed")
}
