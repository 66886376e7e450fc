//go:build linux

package main

import (
	"fmt"
	"os"
	"strings"
)

// typed are the commands that a person would type, as gopipework itself says them.
type typed struct {
	port                     string // the host's end
	attach, detach           [][]string
	attachFirst, detachFirst [][]string // with the bridge and the rule
	batch                    [][]string // the least number of processes
}

func (s *stage) typed() (t typed, err error) {
	plan, err := s.plan("brbench")
	if err != nil {
		return t, err
	}
	first, err := s.plan("brfirst")
	if err != nil {
		return t, err
	}
	t.port = fmt.Sprintf("veth1pl%d", s.pid)
	inspect := []string{s.docker.command, "inspect", "-f", "{{.State.Pid}}", "web"}
	check := split(`iptables -C DOCKER-USER -i brbench -o brbench -m physdev --physdev-is-bridged -m comment --comment "gopipework brbench" -j ACCEPT`)
	remove := []string{"ip", "link", "delete", t.port}
	t.attach = append([][]string{inspect, check}, splitAll(plan)...)
	t.detach = [][]string{inspect, remove}
	t.attachFirst = append([][]string{inspect}, splitAll(first)...)
	t.detachFirst = [][]string{inspect, remove}
	for _, l := range splitAll(first) {
		if strings.HasSuffix(l[0], "tables") && l[1] == "-I" {
			t.detachFirst = append(t.detachFirst, append([]string{l[0], "-D", l[2]}, l[4:]...))
		}
	}
	t.detachFirst = append(t.detachFirst, []string{"ip", "link", "delete", "brfirst"})
	batch, err := s.batched(plan)
	t.batch = append([][]string{inspect, check}, batch...)
	return t, err
}

// batched gives the lines to two processes of ip, for there are two namespaces.
func (s *stage) batched(plan []string) ([][]string, error) {
	enter := fmt.Sprintf("nsenter -t %d -n ip", s.pid)
	var hostSide, guestSide strings.Builder
	for _, l := range plan {
		if words, ok := strings.CutPrefix(l, enter+" "); ok {
			fmt.Fprintln(&guestSide, words)
		} else if words, ok := strings.CutPrefix(l, "ip "); ok {
			fmt.Fprintln(&hostSide, words)
		}
	}
	inHost, inGuest := s.e.Dir+"/batch.host", s.e.Dir+"/batch.guest"
	if err := os.WriteFile(inHost, []byte(hostSide.String()), 0o644); err != nil {
		return nil, err
	}
	if err := os.WriteFile(inGuest, []byte(guestSide.String()), 0o644); err != nil {
		return nil, err
	}
	return [][]string{{"ip", "-batch", inHost}, append(split(enter), "-batch", inGuest)}, nil
}

// plan is what gopipework itself says a person would type.
func (s *stage) plan(bridge string) (lines []string, err error) {
	r := s.e.Run(ours, "--dry-run", bridge, "web", "10.0.0.2/24")
	if err := r.Err(); err != nil {
		return nil, err
	}
	for l := range strings.Lines(r.Stdout) {
		if l = strings.TrimSpace(l); l != "" && !strings.HasPrefix(l, "#") {
			lines = append(lines, l)
		}
	}
	return lines, nil
}

func splitAll(lines []string) (all [][]string) {
	for _, l := range lines {
		all = append(all, split(l))
	}
	return all
}

// split takes a line apart that is quoted as --dry-run quotes: a word is quoted
// whole or not at all.
func split(line string) (words []string) {
	for line = strings.TrimSpace(line); line != ""; line = strings.TrimSpace(line) {
		end := " "
		if line[0] == '"' || line[0] == '\'' {
			end, line = line[:1], line[1:]
		}
		var word string
		word, line, _ = strings.Cut(line, end)
		words = append(words, word)
	}
	return words
}
