//go:build linux

package main

import (
	"cmp"
	"fmt"
	"slices"
	"text/tabwriter"
	"time"
)

// tries is how often a line is timed at each size.
const tries = 9

// measureGrowth plugs many namespaces into one bridge. It times an attach where the
// 1st, 10th, 100th and last comes, and a list of 20 and 300.
func (s *stage) measureGrowth(ports int, f *figures) error {
	list, err := s.command(ours, "list")
	if err != nil {
		return err
	}
	f.list = map[int]time.Duration{}
	w := table()
	fmt.Fprintln(w, "the nth attach\tms\tx the 1st\t")
	var first time.Duration
	for n := 1; n <= ports; n++ {
		guest, err := s.e.Named(fmt.Sprintf("ns%d", n))
		if err != nil {
			return err
		}
		attach, err1 := s.command(ours, "brgrow", guest.Word, fmt.Sprintf("10.1.%d.%d/16", n/250, n%250+1))
		detach, err2 := s.command(ours, "detach", guest.Word)
		if err := cmp.Or(err1, err2); err != nil {
			return err
		}
		if slices.Contains([]int{1, 10, 100, ports}, n) {
			e := &entrant{name: guest.Word, do: attach, undo: detach}
			if err := race(tries, []*entrant{e}, nil); err != nil {
				return err
			}
			first = cmp.Or(first, median(e.on))
			fmt.Fprintf(w, "%d\t%s\t%.2f\t\n", n, ms(median(e.on)), ratio(median(e.on), first))
		}
		if err := attach(); err != nil {
			return err
		}
		if all := n + 1; all == 20 || all == 300 { // the keeper of the other bridge is one
			e := &entrant{name: "list", do: list}
			if err := race(tries, []*entrant{e}, nil); err != nil {
				return err
			}
			f.list[all] = median(e.on)
		}
	}
	return printGrowth(w, f)
}

func printGrowth(w *tabwriter.Writer, f *figures) error {
	fmt.Printf("attach to one bridge, and list, median of %d at each size\n\n", tries)
	for _, n := range []int{20, 300} {
		if t, ok := f.list[n]; ok {
			fmt.Fprintf(w, "list of %d\t%s\t\t\n", n, ms(t))
		}
	}
	fmt.Fprintln(w)
	return w.Flush()
}
