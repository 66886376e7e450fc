package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/spec"
	"github.com/urfave/cli/v2"
)

func (o *output) listEntry() *cli.Command {
	return &cli.Command{
		Name:      "list",
		Aliases:   []string{"ls"},
		Usage:     "list the attachments of this host, or of one guest",
		ArgsUsage: "[GUEST]",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "o", Usage: "print it as `FORMAT`: wide, with more columns; json, as --json; or name, a guest and an interface on each line"},
			jsonFlag,
		},
		Action: o.listCommand,
	}
}

// The formats of list, besides jsonFormat. Without one it is a table.
const (
	wideFormat = "wide"
	nameFormat = "name"
)

var listFormats = []string{wideFormat, jsonFormat, nameFormat}

func (o *output) listCommand(c *cli.Context) error {
	w, err := words(c, 0, 1)
	if err != nil {
		return err
	}
	o.format = c.String("o")
	switch formatted := slices.Contains(given(c), "o"); {
	case formatted && !slices.Contains(listFormats, o.format):
		return fault.BadWord("read flag", "-o", "the formats are %s", strings.Join(listFormats, ", ")).WithHint("-o wide")
	case formatted && c.Bool("json") && o.format != jsonFormat:
		return fault.BadWord("read flag", "-o", "--json asks for another format").WithHint("leave one of them out")
	}
	o.json = o.json || o.format == jsonFormat
	if len(w) == 1 {
		err := o.withGuest(c, w[0], func(ctx context.Context, g *attach.Guest, opt attach.Options) error {
			return o.listOf(ctx, g, opt)
		})
		if f := (*fault.Error)(nil); errors.As(err, &f) && (f.Code == fault.NotFound || f.Code == fault.Gone) && awaits(c.Context, w[0]) {
			f.Hint = "watch attaches to it once it runs: gopipework list shows what and why not yet"
		}
		return err
	}
	return o.listOf(c.Context, nil, attach.Options{})
}

// listGarbage is how much of its heap a list lets become garbage before it collects it, in
// percent. A list of some hundred ends before that, and the process with it.
const listGarbage = 400

// listOf lists the attachments of one guest, or for nil those of all guests.
func (o *output) listOf(ctx context.Context, g *attach.Guest, opt attach.Options) error {
	debug.SetGCPercent(listGarbage)
	said := askWatch(ctx)
	r, err := attach.List(ctx, g, opt)
	if err = stopped(ctx, err); err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return err
	}
	a := <-said
	r.Warnings = append(r.Warnings, a.warnings()...)
	rows := a.rows(r.Attachments, g)
	slices.SortStableFunc(rows, func(a, b listed) int {
		return cmp.Or(cmp.Compare(a.Guest.Name, b.Guest.Name), cmp.Compare(a.Guest.Word(), b.Guest.Word()), cmp.Compare(a.Interface.Name, b.Interface.Name))
	})
	return o.list(rows, a.bridgesFor(r.Bridges, g), r.Warnings)
}

// list prints attachments, and bridges that origins ask for, as a table each, or as a
// document.
func (o *output) list(all []listed, bridges []listedBridge, warnings []string) error {
	if o.json {
		doc := map[string]any{"attachments": orEmpty(all)}
		if len(bridges) > 0 {
			doc["bridges"] = bridges
		}
		if len(warnings) > 0 {
			doc["warnings"] = warnings
		}
		return o.document(doc)
	}
	o.warn(warnings)
	switch {
	case o.format == nameFormat:
		for _, a := range all {
			o.print(clean(a.Guest.Word() + " " + a.Interface.Name))
		}
		bridges = nil
	case len(all) > 0:
		o.table(all)
	}
	if len(bridges) > 0 {
		if len(all) > 0 {
			o.print("")
		}
		o.bridges(bridges)
	}
	for _, a := range all {
		for _, why := range a.Cut {
			o.say("warning: %s of %s is cut off: %s", a.Interface.Name, a.Guest.Word(), why)
		}
	}
	return nil
}

// table prints a row for each attachment. It has columns for shaping, origins and notes
// only if an attachment has any; of a typed line the origin is not worth a column.
func (o *output) table(all []listed) {
	out := bufio.NewWriter(o.stdout) // a tabwriter writes every cell by itself
	defer out.Flush()                // stdout keeps the error: see keenWriter
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	shaped := slices.ContainsFunc(all, func(a listed) bool { return a.Shaping != nil })
	wide := o.format == wideFormat
	claimed := wide || slices.ContainsFunc(all, func(a listed) bool { return a.Origin.Claims() })
	noted := slices.ContainsFunc(all, func(a listed) bool { return note(a) != "" })
	head := "GUEST\tINTERFACE\tADDRESS\tGATEWAY\tHOST\tPORT\tSTATE"
	if wide {
		head += "\tKIND\tMAC\tMTU\tCARRIER"
	}
	if shaped {
		head += "\tSHAPING"
	}
	if claimed {
		head += "\tORIGIN"
	}
	if noted {
		head += "\tNOTE"
	}
	fmt.Fprintln(w, head)
	for _, a := range all {
		row := []string{
			a.Guest.Word(), a.Interface.Name, spec.Join(a.Interface.Addresses), spec.Join(a.Interface.Gateway),
			hostWord(a.Host), a.Host.Port, string(a.State),
		}
		if a.Hidden {
			row[len(row)-1] = "not visible from here"
		}
		if wide {
			row = append(row, a.Interface.Kind, a.Interface.MAC, number(a.Interface.MTU), carrier(a))
		}
		switch {
		case a.Shaping != nil:
			row = append(row, a.Shaping.String())
		case shaped:
			row = append(row, "")
		}
		if claimed {
			row = append(row, string(a.Origin))
		}
		if noted {
			row = append(row, note(a))
		}
		for i, cell := range row {
			if row[i] = clean(cell); cell == "" {
				row[i] = "-"
			}
		}
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	w.Flush()
}

// bridges prints a row for each.
func (o *output) bridges(all []listedBridge) {
	out := bufio.NewWriter(o.stdout)
	defer out.Flush()
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	noted := slices.ContainsFunc(all, func(b listedBridge) bool { return b.Pending != nil })
	head := "BRIDGE\tADDRESS\tUPLINK\tORIGIN"
	if noted {
		head += "\tNOTE"
	}
	fmt.Fprintln(w, head)
	for _, b := range all {
		row := []string{b.Name, spec.Join(b.Addresses), b.Uplink, string(b.Origin)}
		switch {
		case b.Pending != nil:
			row = append(row, b.Pending.String())
		case noted:
			row = append(row, "")
		}
		for i, cell := range row {
			if row[i] = clean(cell); cell == "" {
				row[i] = "-"
			}
		}
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	w.Flush()
}

// note returns what is wrong with an attachment, or otherwise to be known of it.
func note(a listed) string {
	switch {
	case a.Pending != nil:
		return a.Pending.String()
	case a.Lease != nil && a.Lease.Trouble != "":
		return "lease: " + a.Lease.Trouble
	case a.Interface.Pulled:
		return "carrier off"
	case carrier(a) == "no":
		return "no carrier"
	}
	var all []string
	if len(a.Mirrors) > 0 {
		all = append(all, "mirror of "+strings.Join(a.Mirrors, " "))
	}
	if a.Host.Isolated {
		all = append(all, "isolated")
	}
	if a.Host.Antispoof {
		all = append(all, "antispoof")
	}
	if v, err := spec.ParseVXLAN(a.Host.Uplink); err == nil {
		all = append(all, "VNI "+strconv.Itoa(v.VNI))
	}
	if a.Unpinned {
		all = append(all, "not pinned")
	}
	if a.Interface.VRF != nil {
		all = append(all, "VRF "+a.Interface.VRF.Name)
	}
	return strings.Join(all, ", ")
}

// carrier says whether the interface has one, or set has taken it; "": not known.
func carrier(a listed) string {
	switch c := a.Interface.Carrier; {
	case a.Interface.Pulled:
		return spec.Off
	case c == nil:
		return ""
	case *c:
		return "yes"
	}
	return "no"
}

// number is one that a table shows; 0 is not known.
func number(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

// hostWord returns HOSTIF@VLAN, as on a command line.
func hostWord(h attach.Host) string {
	if h.VLAN == "" {
		return h.Name
	}
	return h.Name + "@" + h.VLAN
}
