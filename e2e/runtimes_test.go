//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/gopipework/gopipework/e2e/host"
)

// A resident is a guest of some runtime, and the words for it.
type resident struct {
	*host.Guest
	runtime string
	bare    string // "" where a guest has no bare name
	word    string // with the runtime said outright
}

// residents are one guest of every runtime there is, all on one host.
func residents(t *testing.T) (*engine, []resident) {
	t.Helper()
	need(t, "podman", "lxc", "containerd", "machine")
	e := newEngine(t)
	var all []resident
	add := func(runtime, bare, word string, pid int, err error) {
		t.Helper()
		e.check(err)
		all = append(all, resident{e.GuestOf(pid), runtime, bare, word})
	}
	e.container("whale", "--network", "none")
	pid, err := e.daemon.PID("whale")
	add("docker", "whale", "docker:whale", pid, err)

	podman, err := e.StartPodman()
	e.check(err)
	t.Cleanup(func() { e.check(podman.Close()) })
	_, err = podman.Start("run", "-d", "--network", "none", "--name", "seal")
	e.check(err)
	pid, err = podman.PID("seal")
	add("podman", "seal", "podman:seal", pid, err)

	lxc, err := e.StartLXC()
	e.check(err)
	t.Cleanup(func() { e.check(lxc.Close()) })
	pid, err = lxc.Start("box")
	add("lxc", "box", "lxc:box", pid, err)

	containerd, err := e.StartContainerd()
	e.check(err)
	t.Cleanup(func() { e.check(containerd.Close()) })
	pid, err = containerd.Run("default", "plain")
	add("containerd", "plain", "containerd:default/plain", pid, err)
	const id = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"
	pid, err = containerd.Run("default", id, "--label", "nerdctl/name=nerd")
	add("containerd", "nerd", "containerd:nerd", pid, err)

	machined, err := e.StartMachined()
	e.check(err)
	t.Cleanup(machined.Close)
	_, err = machined.Spawn("spawn")
	e.check(err)
	pid, err = machined.PID("spawn")
	add("machine", "spawn", "machine:spawn", pid, err)

	blue := e.named("blue")
	all = append(all, resident{blue, "netns", "blue", "netns:blue"})
	bare := e.guest()
	all = append(all, resident{bare, "pid", "", bare.Word})

	t.Run("one name twice", func(t *testing.T) { sameName(&engine{&machine{e.Host, t}, e.daemon}, podman, lxc) })
	return e, all
}

// A guest of every runtime on one bridge, by its name alone and with the runtime
// said outright: each hears every other, is listed for what it is, and is as
// before when it is detached.
func TestEveryRuntime(t *testing.T) {
	e, all := residents(t)
	var guests []*host.Guest
	for _, r := range all {
		guests = append(guests, r.Guest)
	}
	check := e.unchanged(guests...)
	for round, word := range map[string]func(resident) string{
		"by its name": func(r resident) string {
			if r.bare == "" {
				return r.word
			}
			return r.bare
		},
		"by runtime and name": func(r resident) string { return r.word },
	} {
		t.Run(round, func(t *testing.T) {
			e := &engine{&machine{e.Host, t}, e.daemon}
			for n, r := range all {
				e.quiet("brtest", word(r), fmt.Sprintf("10.9.0.%d/24", n+1))
			}
			for n, r := range all {
				for other := range all {
					if other != n { // in LXC's empty network lo is down
						e.reaches(r.Guest, fmt.Sprint("10.9.0.", other+1))
					}
				}
				e.listed(r, word(r), fmt.Sprintf("10.9.0.%d/24", n+1))
			}
			e.graphed(all)
			if l := e.list(); len(l) != len(all) {
				t.Errorf("%d attachments of %d guests: %+v", len(l), len(all), l)
			}
			for _, r := range all {
				e.quiet("detach", word(r))
			}
			check("after detach " + round)
		})
	}
}

// graphed checks that graph knows each guest by the word of its engine, and what leads from
// its interface to the bridge.
func (m *machine) graphed(all []resident) {
	m.t.Helper()
	var g struct {
		Nodes []struct {
			ID, Kind, Word string
			NetNS          uint64
		}
		Links    []struct{ From, To, Kind string }
		Warnings []string
	}
	if err := json.Unmarshal([]byte(m.ok("graph", "--json").Stdout), &g); err != nil {
		m.t.Fatal(err)
	}
	if len(g.Warnings) > 0 {
		m.t.Errorf("graph warns: %q", g.Warnings)
	}
	leads := map[string]string{}
	for _, l := range g.Links {
		leads[l.From] = l.To
	}
	for _, r := range all {
		word := r.runtime + ":" + r.bare
		found := false
		for _, n := range g.Nodes {
			if n.Kind != "guest" || n.NetNS != r.Inode() {
				continue
			}
			found = true
			if n.Word != word && (r.bare != "" || !strings.HasPrefix(n.Word, "pid:")) {
				m.t.Errorf("graph calls %s %q", r.word, n.Word)
			}
			if to := leads[leads[n.ID+"/eth1"]]; to != "host/brtest" {
				m.t.Errorf("eth1 of %s leads to %q", n.Word, to)
			}
		}
		if !found {
			m.t.Errorf("graph does not have %s", r.word)
		}
	}
}

// listed checks what list says about a guest.
func (m *machine) listed(r resident, word, address string) {
	m.t.Helper()
	l := m.list(word)
	if len(l) != 1 {
		m.t.Fatalf("list %s: %d attachments: %+v", word, len(l), l)
	}
	a := l[0]
	if a.Guest.Runtime != r.runtime || a.Guest.Netns != r.Inode() || a.State != "complete" ||
		strings.Join(a.Interface.Addresses, " ") != address || a.Host.Name != "brtest" {
		m.t.Errorf("list %s: %+v", word, a)
	}
	if r.bare != "" && a.Guest.Name != r.bare {
		m.t.Errorf("list %s: its name is %q, should be %q", word, a.Guest.Name, r.bare)
	}
}

// sameName: a name that podman and LXC both know is refused, with both spelled
// out; one that Docker knows is Docker's.
func sameName(e *engine, podman *host.Podman, lxc *host.LXC) {
	const name = "twin"
	_, err := podman.Start("run", "-d", "--network", "none", "--name", name)
	e.check(err)
	_, err = lxc.Start(name)
	e.check(err)
	check := e.unchanged()
	f := e.fails("conflict", "brtest", name, "10.9.1.1/24")
	e.says("the hint", f.Error.Hint, "podman:"+name+" or lxc:"+name)
	check("after the refusal")
	for _, runtime := range []string{"podman", "lxc"} {
		if a := e.attach("brtest", runtime+":"+name, "10.9.1.1/24"); a.Attachment.Guest.Runtime != runtime {
			e.t.Errorf("%s:%s: %+v", runtime, name, a)
		}
		e.quiet("detach", runtime+":"+name)
	}
	e.container(name, "--network", "none")
	if a := e.attach("brtest", name, "10.9.1.1/24"); a.Attachment.Guest.Runtime != "docker" {
		e.t.Errorf("docker comes first: %+v", a)
	}
	e.quiet("detach", name)
	e.docker("rm", "-f", name)
	check("after all of them")
}
