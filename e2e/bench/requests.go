//go:build linux

package main

import (
	"fmt"
	"slices"
)

// countRequests prints what a plain attach asks, and how often.
func (s *stage) countRequests() error {
	r, err := s.e.Requests(s.programs[ours].best(), "brbench", "web", "10.0.0.2/24")
	if err != nil {
		return err
	}
	if err := s.e.Run(ours, "detach", "web").Err(); err != nil {
		return err
	}
	fmt.Printf("an attach makes %d requests: of Docker %d, of rtnetlink %d (%d dumps), of netfilter %d (%d dumps); it starts %d programs\n\n",
		len(r), r.Count("socket"), r.Count("route"), r.Dumps("route"), r.Count("netfilter"), r.Dumps("netfilter"), r.Count("exec"))
	counts := map[string]int{}
	var order []string
	for _, one := range r {
		if counts[one]++; counts[one] == 1 {
			order = append(order, one)
		}
	}
	slices.SortStableFunc(order, func(a, b string) int { return counts[b] - counts[a] })
	w := table()
	for _, one := range order {
		fmt.Fprintf(w, "%s\t%d\t\n", one, counts[one])
	}
	fmt.Fprintln(w)
	return w.Flush()
}
