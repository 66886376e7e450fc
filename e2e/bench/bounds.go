//go:build linux

package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// figures are what was measured.
type figures struct {
	start, client time.Duration            // gopipework version; a program with the Docker client in it
	attach        map[string]time.Duration // by the row's name
	list          map[int]time.Duration    // by the number of attachments
	memory        float64                  // MB
}

// clientStart is what a program with the Docker client in it costs on the machine
// for which the bounds in milliseconds are meant; other machines are scaled to it.
const clientStart = 3 * time.Millisecond

// scaled is what a time would be on that machine, in milliseconds.
func (f *figures) scaled(t time.Duration) float64 {
	return t.Seconds() * 1000 * ratio(clientStart, f.client)
}

// bound is one promise.
type bound struct {
	what      string
	is, most  float64
	measured  bool
	precision int
}

func (f *figures) bounds() []bound {
	of := func(a, b string, most float64) bound {
		return bound{fmt.Sprintf("%s / %s", a, b), ratio(f.attach[a], f.attach[b]), most, true, 2}
	}
	in := func(what string, t time.Duration, most float64) bound {
		return bound{what + ", ms, scaled", f.scaled(t), most, t > 0, 1}
	}
	return []bound{
		{"start / start with the Docker client", ratio(f.start, f.client), 1.15, true, 2},
		of(ours, docker, 0.25),
		of(oursFirst, docker, 0.5),
		of(ours, api, 1),
		of(ours, forks, 0.22),
		of(oursFirst, forksFirst, 0.22),
		{"work alone (guest by pid:, less the start) / " + bare, ratio(f.attach[oursPID]-f.start, f.attach[bare]), 1.5, true, 2},
		in(ours, f.attach[ours], 7.5),
		in(oursPID, f.attach[oursPID], 5.5),
		in("list of 20", f.list[20], 12),
		in("list of 300", f.list[300], 60),
		{"peak memory of an attach, MB", f.memory, 40, true, 1},
	}
}

// judge prints every bound, and which are not kept. That is no error: another
// machine, or a busy one, has other figures.
func (f *figures) judge(out io.Writer) error {
	fmt.Fprintf(out, "bounds; a time is scaled to a machine where a program with the Docker client starts in %v (here: %s ms)\n\n", clientStart, ms(f.client))
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\tis\tat most\t\t")
	for _, b := range f.bounds() {
		verdict := ""
		switch {
		case !b.measured:
			continue
		case b.is > b.most:
			verdict = "OVER"
		}
		fmt.Fprintf(w, "%s\t%.*f\t%.*f\t%s\t\n", b.what, b.precision, b.is, b.precision, b.most, verdict)
	}
	return w.Flush()
}
