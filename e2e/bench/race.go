//go:build linux

package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"text/tabwriter"
	"time"
)

// An entrant does the same job as the others in its own way, and undoes it.
type entrant struct {
	name    string
	do      func() error
	undo    func() error // nil: there is nothing to undo
	on, off []time.Duration
}

// settle is for the kernel and the daemon to finish what they do after the answer.
const settle = 20 * time.Millisecond

// race lets all do their job in turn, so that whatever else the machine does meets
// all of them, in another order each time. The first round warms up, and check looks
// at what it did.
func race(rounds int, all []*entrant, check func(name string) error) error {
	dice := rand.New(rand.NewPCG(1, 1))
	for round := range rounds + 1 {
		for _, i := range dice.Perm(len(all)) {
			e := all[i]
			on, err := timed(e.do)
			if err != nil {
				return fmt.Errorf("%s: %w", e.name, err)
			}
			if round == 0 && check != nil {
				if err := check(e.name); err != nil {
					return err
				}
			}
			off, err := timed(e.undo)
			if err != nil {
				return fmt.Errorf("%s, back: %w", e.name, err)
			}
			if e.undo != nil {
				time.Sleep(settle)
			}
			if round > 0 {
				e.on, e.off = append(e.on, on), append(e.off, off)
			}
		}
	}
	return nil
}

func timed(do func() error) (time.Duration, error) {
	if do == nil {
		return 0, nil
	}
	began := time.Now()
	err := do()
	return time.Since(began), err
}

// quickest is the entrant with the least median.
func quickest(all []*entrant) *entrant {
	return slices.MinFunc(all, func(a, b *entrant) int { return int(median(a.on) - median(b.on)) })
}

func median(d []time.Duration) time.Duration {
	d = slices.Sorted(slices.Values(d))
	return d[len(d)/2]
}

func ms(d time.Duration) string { return fmt.Sprintf("%.2f", d.Seconds()*1000) }

func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }

func table() *tabwriter.Writer {
	return tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
}
