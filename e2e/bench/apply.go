//go:build linux

package main

import (
	"cmp"
	"fmt"
	"os"
	"strings"
)

// measureApply applies a file with many attachments to one bridge, and times the bare
// kernel with as many. Then it applies the file once more, which changes nothing.
func (s *stage) measureApply(entries, rounds int) error {
	file, each, err := s.topology(entries)
	if err != nil {
		return err
	}
	apply, err1 := s.command(ours, "apply", "-f", file)
	destroy, err2 := s.command(ours, "destroy", "bench")
	list, err3 := s.command(ours, "list")
	if err := cmp.Or(err1, err2, err3); err != nil {
		return err
	}
	all := []*entrant{
		{name: "apply", do: apply, undo: destroy},
		{name: bare,
			do: func() error {
				return s.eachOf(each, func(n int, k *kernel) error {
					return k.attach(fmt.Sprintf("vbench%d", n), "brbench", addressOf(n))
				})
			},
			undo: func() error { return s.eachOf(each, func(_ int, k *kernel) error { return k.detach() }) },
		},
	}
	if err := race(rounds, all, nil); err != nil {
		return err
	}
	if err := apply(); err != nil {
		return err
	}
	again := []*entrant{{name: "apply again", do: apply}, {name: "list", do: list}}
	if err := race(rounds, again, nil); err != nil {
		return err
	}
	fmt.Printf("a file of %d attachments to one bridge, median of %d interleaved runs\n\n", entries, rounds)
	w := table()
	fmt.Fprintln(w, "\tms\tms each\tx kernel\tdestroy, x kernel\t")
	base := all[len(all)-1]
	for _, e := range all {
		on, off := median(e.on), median(e.off)
		fmt.Fprintf(w, "%s\t%s\t%.3f\t%.2f\t%.2f\t\n", e.name, ms(on), on.Seconds()*1000/float64(entries), ratio(on, median(base.on)), ratio(off, median(base.off)))
	}
	for _, e := range again {
		fmt.Fprintf(w, "%s\t%s\t\t\t\t\n", e.name, ms(median(e.on)))
	}
	fmt.Fprintln(w)
	return cmp.Or(w.Flush(), destroy())
}

// topology makes namespaces, and a file that plugs each into the bridge. It returns the
// file's path and, for each, the bare kernel.
func (s *stage) topology(entries int) (path string, each []*kernel, err error) {
	var text strings.Builder
	fmt.Fprintln(&text, "name: bench\nattachments:")
	for n := range entries {
		guest, err := s.e.Named(fmt.Sprintf("apply%d", n))
		if err != nil {
			return "", nil, err
		}
		fmt.Fprintf(&text, "  - brbench %s %s/16\n", guest.Word, addressOf(n))
		k, err := newKernel(guest.Path())
		if err != nil {
			return "", nil, err
		}
		k.port, k.peer = k.port+uint32(2*n), k.peer+uint32(2*n)
		each = append(each, k)
	}
	path = s.e.Dir + "/bench.yaml"
	return path, each, os.WriteFile(path, []byte(text.String()), 0o644)
}

func addressOf(n int) string { return fmt.Sprintf("10.2.%d.%d", n/250, n%250+1) }

// eachOf calls do for each, in order.
func (s *stage) eachOf(each []*kernel, do func(n int, k *kernel) error) error {
	for n, k := range each {
		if err := do(n, k); err != nil {
			return err
		}
	}
	return nil
}
