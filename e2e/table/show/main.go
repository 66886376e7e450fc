//go:build linux

// Show prints the table of what is proven of each kind of link, from the file
// that the tests wrote. Exit code 1 says that a cell is empty.
package main

import (
	"fmt"
	"os"

	"github.com/gopipework/gopipework/e2e/table"
)

func main() {
	if err := show(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func show(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("usage: show FILE")
	}
	text, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	t, err := table.Read(string(text))
	if err != nil {
		return err
	}
	return t.Print(os.Stdout)
}
