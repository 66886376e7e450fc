//go:build linux

// Package table keeps the account of what is proven of each kind of link, and on
// which kernel. A test writes a cell once it has seen it hold; make test puts
// what all tests wrote, on whatever kernel they ran, into one table, and fails
// where a cell is empty.
package table

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"

	"golang.org/x/sys/unix"
)

// Variable in the environment names the file that cells are added to. Without
// it nothing is written.
const Variable = "GOPIPEWORK_TABLE"

// A Cell is what is proven of a kind.
type Cell string

const (
	Attach  Cell = "attach"
	Traffic Cell = "traffic both ways"
	Twice   Cell = "twice is once"
	List    Cell = "list"
	Detach  Cell = "detach"
	Undone  Cell = "failure at every step undone"
	instead Cell = "instead" // of all of these
)

// Cells are the table's columns.
var Cells = []Cell{Attach, Traffic, Twice, List, Detach, Undone}

// A Row is a kind of link.
type Row struct {
	Kind string
	// NoDevice says that a machine without such hardware cannot prove it. The
	// row then tells what was proven instead.
	NoDevice bool
}

// Rows are the kinds that there are.
var Rows = []Row{
	{Kind: "bridge"},
	{Kind: "bridge, a VLAN"},
	{Kind: "Open vSwitch"},
	{Kind: "Open vSwitch, a VLAN"},
	{Kind: "macvlan"},
	{Kind: "macvlan private"},
	{Kind: "macvtap"},
	{Kind: "ipvlan l2"},
	{Kind: "ipvlan l3"},
	{Kind: "macvlan on a VLAN"},
	{Kind: "vlan"},
	{Kind: "dummy"},
	{Kind: "phys"},
	{Kind: "link of two guests"},
	{Kind: "IPoIB", NoDevice: true},
	{Kind: "Wi-Fi", NoDevice: true},
}

// Proven writes cells of a kind, for the kernel that the test runs on. It comes
// after the assertion; a test that has failed proves nothing.
func Proven(t testing.TB, kind string, cells ...Cell) {
	t.Helper()
	for _, c := range cells {
		write(t, kind, c, "")
	}
}

// ProvenAs is Proven with a few words on how the cell is to be read.
func ProvenAs(t testing.TB, kind string, cell Cell, how string) {
	t.Helper()
	write(t, kind, cell, how)
}

// Instead says what was proven of a kind that needs hardware.
func Instead(t testing.TB, kind, what string) {
	t.Helper()
	write(t, kind, instead, what)
}

func write(t testing.TB, kind string, cell Cell, how string) {
	t.Helper()
	if !slices.ContainsFunc(Rows, func(r Row) bool { return r.Kind == kind }) {
		t.Fatalf("%q is not among table.Rows: add it", kind)
	}
	path := os.Getenv(Variable)
	if path == "" || t.Failed() {
		return
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	// O_APPEND: tests of several packages write at once, a line each.
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := fmt.Fprintf(f, "%s\t%s\t%s\t%s\n", kind, cell, unix.ByteSliceToString(u.Release[:]), how); err != nil {
		t.Fatal(err)
	}
}

// A Table is what was read of such a file.
type Table map[string]map[Cell]*entry // by kind

// An entry is what one cell holds.
type entry struct {
	kernels []string
	how     []string
}

// Read reads what tests wrote.
func Read(text string) (Table, error) {
	t := Table{}
	for line := range strings.Lines(text) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(f) != 4 {
			return nil, fmt.Errorf("read the table: not a cell: %q", line)
		}
		kind, cell := f[0], Cell(f[1])
		release, _, _ := strings.Cut(f[2], "-")
		if t[kind] == nil {
			t[kind] = map[Cell]*entry{}
		}
		e := t[kind][cell]
		if e == nil {
			e = &entry{}
			t[kind][cell] = e
		}
		if !slices.Contains(e.kernels, release) {
			e.kernels = append(e.kernels, release)
		}
		if how := f[3]; how != "" && !slices.Contains(e.how, how) {
			e.how = append(e.how, how)
		}
	}
	return t, nil
}

func (e *entry) String() string {
	switch {
	case e == nil:
		return "nothing"
	case len(e.how) == 0:
		return strings.Join(e.kernels, ", ")
	}
	return strings.Join(e.how, "; ") + " (" + strings.Join(e.kernels, ", ") + ")"
}

// Print writes the table, and returns an error that names the empty cells.
func (t Table) Print(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(tw, "on Linux")
	for _, c := range Cells {
		fmt.Fprintf(tw, "\t%s", c)
	}
	fmt.Fprintln(tw)
	var empty []string
	for _, r := range Rows {
		fmt.Fprint(tw, r.Kind)
		cells, note := Cells, ""
		if r.NoDevice {
			cells, note = []Cell{instead}, "no such device here; instead: "
		}
		for _, c := range cells {
			fmt.Fprintf(tw, "\t%s%s", note, t[r.Kind][c])
			if t[r.Kind][c] == nil {
				empty = append(empty, r.Kind+": "+string(c))
			}
		}
		fmt.Fprintln(tw)
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	if len(empty) > 0 {
		return fmt.Errorf("prove every kind: nothing has proven %s", strings.Join(empty, "; "))
	}
	return nil
}
