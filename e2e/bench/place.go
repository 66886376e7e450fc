//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/gopipework/gopipework/e2e/host"
	"github.com/gopipework/gopipework/e2e/program"
)

// The programs that are compared.
const (
	ours   = "gopipework"
	older  = "gopipework, older" // only if one is given
	hello  = "hello"
	client = "client"
)

// olderProgram is the path of an older gopipework, "" for none.
var olderProgram string

// copies is how often each program is placed. The page cache keeps a file in
// pieces whose size is luck, and larger ones are mapped more quickly: of two copies
// of one program, one may start a third of a millisecond before the other. So each
// program has several, and the quickest is taken.
const copies = 3

// placed is a program in several copies.
type placed struct {
	paths []string
	quick int // which one starts most quickly (measureStart)
}

func (p *placed) best() string { return p.paths[p.quick] }

// placePrograms builds what is compared and copies it to dir, all in the same way.
func placePrograms(dir string) (map[string]*placed, error) {
	built, remove, err := host.Scratch()
	if err != nil {
		return nil, err
	}
	defer remove()
	if _, err := host.Build(built); err != nil {
		return nil, err
	}
	from := map[string]string{ours: filepath.Join(built, "gopipework")}
	for _, name := range []string{hello, client} {
		if from[name], err = host.BuildPackage(built, name, "./e2e/bench/start/"+name); err != nil {
			return nil, err
		}
	}
	if olderProgram != "" {
		from[older] = olderProgram
	}
	all := map[string]*placed{}
	for name, path := range from {
		binary, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		p := &placed{}
		for n := range copies {
			to := filepath.Join(dir, fmt.Sprintf("%s.%d", strings.ReplaceAll(name, ", ", "-"), n+1))
			if err := os.WriteFile(to, binary, 0o755); err != nil {
				return nil, err
			}
			p.paths = append(p.paths, to)
		}
		all[name] = p
	}
	return all, os.Symlink(filepath.Base(all[ours].paths[0]), filepath.Join(dir, ours))
}

// output is what a listed program prints, "?" if it cannot be run.
func output(name string, args ...string) string {
	text, err := program.Command(name, args...).Output()
	if err != nil {
		return "?"
	}
	return strings.TrimSpace(string(text))
}
