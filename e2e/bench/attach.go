//go:build linux

package main

import (
	"cmp"
	"fmt"
	"time"
)

// The rows of the table of attaches.
const (
	oursVerify = "gopipework --verify"
	oursPID    = "gopipework, guest by pid:"
	olderPID   = "gopipework, older, guest by pid:"
	oursFirst  = "gopipework, bridge and rule made"
	forks      = "docker inspect, ip, iptables"
	forksFirst = "docker inspect, ip, iptables, bridge and rule made"
	batch      = "docker inspect, ip -batch"
	docker     = "docker network connect"
	api        = "the API alone: POST /networks/NET/connect"
	bare       = "bare kernel"
)

func (s *stage) measureAttach(rounds int, f *figures) error {
	all, err := s.attachers()
	if err != nil {
		return err
	}
	if err := race(rounds, all, s.attached); err != nil {
		return err
	}
	f.attach = map[string]time.Duration{}
	for _, e := range all {
		f.attach[e.name] = median(e.on)
	}
	base := all[len(all)-1]
	fmt.Printf("attach and detach one running container, median of %d interleaved runs\n\n", rounds)
	w := table()
	fmt.Fprintln(w, "\tattach ms\tx kernel\tdetach ms\tx kernel\t")
	for _, e := range all {
		fmt.Fprintf(w, "%s\t%s\t%.1f\t%s\t%.1f\t\n", e.name,
			ms(median(e.on)), ratio(median(e.on), median(base.on)), ms(median(e.off)), ratio(median(e.off), median(base.off)))
	}
	fmt.Fprintln(w)
	return w.Flush()
}

// attachers prepares every line of the table; the bare kernel is the last.
func (s *stage) attachers() ([]*entrant, error) {
	t, err := s.typed()
	if err != nil {
		return nil, err
	}
	byPID := fmt.Sprintf("pid:%d", s.pid)
	plug := func(program, bridge, guest string, flags ...string) [][]string {
		return [][]string{append(append([]string{program}, flags...), bridge, guest, "10.0.0.2/24")}
	}
	unplug := func(program, guest string) [][]string { return [][]string{{program, "detach", guest}} }
	rows := []struct {
		name    string
		on, off [][]string
	}{
		{ours, plug(ours, "brbench", "web"), unplug(ours, "web")},
		{older, plug(older, "brbench", "web"), unplug(older, "web")},
		{oursPID, plug(ours, "brbench", byPID), unplug(ours, byPID)},
		{olderPID, plug(older, "brbench", byPID), unplug(older, byPID)},
		{oursVerify, plug(ours, "brbench", "web", "--verify"), unplug(ours, "web")},
		{oursFirst, plug(ours, "brfirst", "web"), unplug(ours, "web")},
		{forks, t.attach, t.detach},
		{forksFirst, t.attachFirst, t.detachFirst},
		{batch, t.batch, t.detach},
		{docker, [][]string{{s.docker.command, "network", "connect", s.docker.network, "web"}},
			[][]string{{s.docker.command, "network", "disconnect", s.docker.network, "web"}}},
	}
	var all []*entrant
	for _, r := range rows {
		if s.programs[older] == nil && (r.name == older || r.name == olderPID) {
			continue
		}
		on, err1 := s.commands(r.on...)
		off, err2 := s.commands(r.off...)
		if err := cmp.Or(err1, err2); err != nil {
			return nil, err
		}
		all = append(all, &entrant{name: r.name, do: on, undo: off})
	}
	return append(all,
		&entrant{name: api, do: s.docker.call("connect"), undo: s.docker.call("disconnect")},
		&entrant{name: bare, do: func() error { return s.kernel.attach(t.port, "brbench", "10.0.0.2") }, undo: s.kernel.detach}), nil
}

// measureMemory notes the most memory that an attach takes.
func (s *stage) measureMemory(f *figures) error {
	r, memory, err := s.e.Peak(s.programs[ours].best(), "brfirst", "web", "10.0.0.2/24")
	if err := cmp.Or(err, r.Err()); err != nil {
		return err
	}
	f.memory = float64(memory) / 1024
	return s.e.Run(ours, "detach", "web").Err()
}
