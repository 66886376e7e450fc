//go:build linux

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gopipework/gopipework/e2e/host"
)

// interrupted runs a line and sends it a signal after a while. It says
// whether the signal found it still running.
func (m *machine) interrupted(s syscall.Signal, after time.Duration, args ...string) host.Result {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := m.Command(ctx, "gopipework", args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	began := time.Now()
	m.check(cmd.Start())
	timer := time.AfterFunc(after, func() { _ = cmd.Process.Signal(s) })
	_ = cmd.Wait()
	timer.Stop()
	return host.Result{
		Args: args, Stdout: stdout.String(), Stderr: stderr.String(),
		Code: host.ExitCode(cmd.ProcessState), Time: time.Since(began),
	}
}

// duration is how long a line usually takes. The attachment is detached again.
func (m *machine) duration(guest string, args ...string) time.Duration {
	m.t.Helper()
	var times []time.Duration
	for range 5 {
		times = append(times, m.ok(args...).Time)
		m.ok("detach", "--all", guest)
	}
	slices.Sort(times)
	return times[len(times)/2]
}

// moment is the n-th moment of a run, in an order that has covered the whole
// of it evenly wherever one stops.
func moment(n int, whole time.Duration) time.Duration {
	const golden = 0.6180339887498949
	_, part := math.Modf(float64(n) * golden)
	return time.Duration(part * float64(whole))
}

// SIGINT and SIGTERM at many moments: undone first, or done.
func TestInterrupt(t *testing.T) {
	m := newMachine(t)
	for _, c := range []struct {
		name    string
		address string
		moments int
	}{
		{"IPv4", "10.0.0.2/24@10.0.0.1", 60},
		{"IPv6", "10.0.0.2/24,fd00::2/64", 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := &machine{m.Host, t}
			g := m.guest()
			defer g.Kill()
			args := []string{"brint", g.Word, c.address}
			check := m.unchanged(g)
			whole := m.duration(g.Word, args...)
			ends := map[int]int{}
			for i := range c.moments {
				s, code := syscall.SIGINT, 130
				if i%2 == 1 {
					s, code = syscall.SIGTERM, 143
				}
				after := moment(i, whole)
				r := m.interrupted(s, after, args...)
				ends[r.Code]++
				switch r.Code {
				case 0:
					if l := m.list(); len(l) != 1 || l[0].State != "complete" {
						t.Errorf("exit 0, and list says %+v", l)
					}
					m.ok("detach", g.Word)
				case code:
					if r.Stderr != "" && !strings.HasSuffix(r.Stderr, "hint: it was undone\n") && !strings.HasSuffix(r.Stderr, "hint: nothing was changed\n") {
						t.Errorf("it does not say what was done: %v", r)
					}
				default:
					t.Errorf("%v after %v:\n%v", s, after, r)
				}
				check(fmt.Sprintf("after %v at %v (exit %d)", s, after, r.Code))
			}
			t.Logf("%v long; exit codes %v", whole, ends)
		})
	}
}

// SIGINT at each step: -v prints each one as it runs.
func TestInterruptEachStep(t *testing.T) {
	m := newMachine(t)
	g := m.guest()
	args := []string{"-v", "brint", g.Word, "10.0.0.2/24,fd00::2/64@10.0.0.1", "02:00:00:00:00:01"}
	check := m.unchanged(g)
	steps := strings.Count(m.ok(args...).Stderr, "\n")
	m.ok("detach", g.Word)
	check("after detach")
	if steps < 5 {
		t.Fatalf("-v prints %d steps", steps)
	}
	for n := 1; n <= steps; n++ {
		cmd := m.Command(context.Background(), "gopipework", args...)
		stderr, err := cmd.StderrPipe()
		m.check(err)
		m.check(cmd.Start())
		lines := bufio.NewScanner(stderr)
		for i := 0; i < n && lines.Scan(); i++ {
			_ = lines.Text()
		}
		_ = cmd.Process.Signal(syscall.SIGINT)
		rest, _ := io.ReadAll(stderr)
		_ = cmd.Wait()
		switch code := host.ExitCode(cmd.ProcessState); code {
		case 0:
			m.ok("detach", g.Word)
		case 130:
			if !strings.HasSuffix(string(rest), "hint: it was undone\n") {
				t.Errorf("SIGINT after step %d of %d: it ends with %q", n, steps, rest)
			}
		default:
			t.Errorf("SIGINT after step %d of %d: exit %d", n, steps, code)
		}
		check(fmt.Sprintf("after SIGINT at step %d of %d", n, steps))
	}
}

// Killed at any instant: what is left carries the mark, the same line again
// ends complete, and detach undoes it all.
func TestKill(t *testing.T) {
	kills := setting(t, "GOPIPEWORK_KILLS", 150)
	m := newMachine(t)
	for _, c := range []struct {
		name    string
		address string
		kills   int
	}{
		{"IPv4", "10.0.0.2/24@10.0.0.1", kills * 9 / 10},
		{"IPv6", "10.0.0.2/24,fd00::2/64@fd00::1", kills / 10},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := &machine{m.Host, t}
			g := m.guest()
			defer g.Kill()
			m.check(g.Run("ip", "link", "add", "old0", "type", "veth", "peer", "name", "old1").Err())
			m.check(g.Run("ip", "link", "set", "old0", "up").Err())
			m.check(g.Run("ip", "route", "add", "default", "dev", "old0").Err())
			killSweep(m, g, g.Word, c.kills, []string{"brkill", g.Word, c.address})
		})
	}
}

func TestKillDocker(t *testing.T) {
	e := withDocker(t)
	e.container("web")
	killSweep(e.machine, e.guestOf("web"), "web", max(15, setting(t, "GOPIPEWORK_KILLS", 150)/10),
		[]string{"brkill", "web", "10.0.0.2/24@10.0.0.1"})
}

func killSweep(m *machine, g *host.Guest, word string, kills int, args []string) {
	m.t.Helper()
	check := m.unchanged(g)
	hostBefore, guestBefore := m.links(m), m.links(g)
	whole := m.duration(word, args...)
	check("before the sweep")
	killed, half, runs := 0, 0, 0
	for i := 0; killed < kills; i++ {
		if runs++; runs > 10*kills {
			m.t.Fatalf("only %d of %d runs were killed", killed, runs)
		}
		after := moment(i, whole)
		r := m.interrupted(syscall.SIGKILL, after, args...)
		when := fmt.Sprintf("killed after %v", after)
		switch r.Code {
		case 137:
			killed++
		case 0:
			if r.Time < whole { // the machine was busier when that was measured
				whole = (whole + r.Time) / 2
			}
		default:
			m.t.Errorf("%s:\n%v", when, r)
		}
		m.marked(when, "host", hostBefore, m.links(m))
		m.marked(when, "guest", guestBefore, m.links(g))
		for _, a := range m.list() {
			if a.State == "half" {
				half++
			}
		}
		if i%5 == 4 { // detach alone undoes a half-made one
			m.ok("detach", "--all", word)
			m.ok("gc") // a bridge without a port belongs to no guest
			check(when + " and detached")
			continue
		}
		m.ok(args...)
		l := m.list(word)
		if len(l) != 1 || l[0].State != "complete" {
			m.t.Errorf("%s, and the same line again: %+v", when, l)
		}
		m.ok("detach", word)
		check(when + ", attached again and detached")
		if m.t.Failed() {
			return // the rest would say the same
		}
	}
	m.t.Logf("%v long, %d runs, %d killed, %d left a half attachment", whole, runs, killed, half)
}

// marked says that what is new carries our mark.
func (m *machine) marked(when, where string, before, now map[string]host.Link) {
	m.t.Helper()
	for name, l := range now {
		if _, old := before[name]; !old && l.Group != "26480" {
			m.t.Errorf("%s: a link on the %s without a mark: %+v", when, where, l)
		}
	}
	if where == "host" {
		for _, save := range []string{"iptables-save", "ip6tables-save"} {
			for r := range strings.Lines(m.do(save)) {
				if strings.Contains(r, "brkill") && !strings.Contains(r, "gopipework") {
					m.t.Errorf("%s: a rule without a mark: %s", when, r)
				}
			}
		}
	}
}

// Many attach and detach: nothing adds up.
func TestLeak(t *testing.T) {
	cycles := setting(t, "GOPIPEWORK_CYCLES", 200)
	e := withDocker(t)
	e.container("web")
	g, named := e.guestOf("web"), e.guest()
	defer named.Kill()
	check := e.unchanged(g, named)
	e.ok("brleak", "web", "10.0.0.2/24")
	e.ok("detach", "web")
	for i := range cycles {
		word := []string{"web", named.Word}[min(i%10, 1)]
		e.quiet("brleak", word, "10.0.0.2/24@10.0.0.1")
		e.quiet("detach", word)
	}
	check(fmt.Sprintf("after %d cycles", cycles))
}

// TestReaderGone: who reads the steps may go away, as head does. That is no reason to leave
// an attachment half made, or away.
func TestReaderGone(t *testing.T) {
	m := newMachine(t)
	g := m.named("g0")
	check := m.unchanged(g)
	file := m.topology("lab", "br1 g0 10.0.0.1/24")
	m.ok("apply", "-f", file)
	m.topology("lab", "br1 g0 10.0.0.2/24 02:00:00:00:00:02")
	for _, line := range []string{"apply -v -f " + file, "br2 g0 10.1.0.2/24 -v -i eth2"} {
		m.sh("gopipework " + line + " 2>&1 >/dev/null | head -n 3")
	}
	m.differs(file, 0)
	if all := m.list(); len(all) != 2 || all[0].State != "complete" || all[1].State != "complete" {
		t.Errorf("there is %+v", all)
	}
	r, w, err := os.Pipe()
	m.check(err)
	r.Close()
	defer w.Close()
	var stderr bytes.Buffer
	list := m.Command(t.Context(), "gopipework", "list")
	list.Stdout, list.Stderr = w, &stderr
	_ = list.Run()
	if code := host.ExitCode(list.ProcessState); code != 128+int(syscall.SIGPIPE) || stderr.Len() > 0 {
		t.Errorf("a list that nobody reads: exit %d: %s", code, &stderr)
	}
	m.ok("detach", "--all", "g0")
	check("after all was detached")
}
