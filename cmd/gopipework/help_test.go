package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// TestHelpIsOneScreen: the overview fits a terminal, and has every command once.
func TestHelpIsOneScreen(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if code := run([]string{"help"}, &stdout, &stderr); code != 0 {
		t.Fatal(stderr.String())
	}
	lines := strings.Split(strings.TrimSuffix(stdout.String(), "\n"), "\n")
	const height, width = 24, 102 // the synopsis
	if len(lines) > height {
		t.Errorf("it has %d lines, want %d at most", len(lines), height)
	}
	for _, l := range lines {
		if n := utf8.RuneCountInString(l); n > width {
			t.Errorf("%d characters: %s", n, l)
		}
	}
	var grouped []string
	for _, g := range groups() {
		grouped = append(grouped, g.commands...)
	}
	all := commandNames()
	slices.Sort(grouped)
	slices.Sort(all)
	if !slices.Equal(grouped, all) {
		t.Errorf("the groups have %v, and the commands are %v", grouped, all)
	}
}
