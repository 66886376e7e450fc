//go:build linux

package main

import (
	"fmt"
	"time"
)

// starters are the rows of the table of starts: a title, and a command line.
var starters = []struct{ title, name, argument string }{
	{"/bin/true", "true", ""},
	{"a Go program that does nothing", hello, ""},
	{"a Go program with the Docker client in it", client, ""},
	{"gopipework version", ours, "version"},
	{"gopipework version, older", older, "version"},
}

// measureStart times processes that do next to nothing, finds the quickest copy of
// each program, and notes what the starts cost.
func (s *stage) measureStart(rounds int, f *figures) error {
	var all []*entrant
	rows := map[string][]*entrant{}
	for _, st := range starters {
		paths := []string{st.name}
		if p := s.programs[st.name]; p != nil {
			paths = p.paths
		} else if st.name == older {
			continue
		}
		for _, path := range paths {
			line := []string{path}
			if st.argument != "" {
				line = append(line, st.argument)
			}
			run, err := s.command(line...)
			if err != nil {
				return err
			}
			e := &entrant{name: st.title, do: run}
			rows[st.name], all = append(rows[st.name], e), append(all, e)
		}
	}
	if err := race(rounds, all, nil); err != nil {
		return err
	}
	starts := map[string]time.Duration{}
	for name, entrants := range rows {
		best := quickest(entrants)
		starts[name] = median(best.on)
		if p := s.programs[name]; p != nil {
			for i, e := range entrants {
				if e == best {
					p.quick = i
				}
			}
		}
	}
	f.start, f.client = starts[ours], starts[client]
	fmt.Printf("process start, median of %d interleaved runs, the quickest of %d copies of each program\n\n", rounds, copies)
	w := table()
	fmt.Fprintln(w, "\tms\tx Docker client\t")
	for _, st := range starters {
		if t, ok := starts[st.name]; ok {
			fmt.Fprintf(w, "%s\t%s\t%.2f\t\n", st.title, ms(t), ratio(t, f.client))
		}
	}
	fmt.Fprintln(w)
	return w.Flush()
}
