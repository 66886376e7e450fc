package main

import (
	"errors"
	"io/fs"
	"slices"
	"strings"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/reconcile"
	"github.com/gopipework/gopipework/internal/topology"
	"github.com/urfave/cli/v2"
)

var (
	fileFlag = &cli.StringSliceFlag{Name: "f", Usage: "the topology `FILE`, or a directory of *.yaml files; - for standard input; may be repeated"}
	yesFlag  = &cli.BoolFlag{Name: "yes", Usage: "on a terminal, do not ask before something that is there is detached"}
	// dryDifferenceFlag is --dry-run of the commands that print a difference.
	dryDifferenceFlag = &cli.BoolFlag{Name: "dry-run", Usage: "change nothing; print the difference, and with -v the commands"}
)

func (o *output) applyEntry() *cli.Command {
	return &cli.Command{
		Name:      "apply",
		Usage:     "make the attachments and links of a topology file, and change those that differ",
		ArgsUsage: "-f FILE... | --kept | --from FORMAT FILE | --schema",
		Flags: []cli.Flag{
			fileFlag, keptFlag,
			&cli.BoolFlag{Name: "schema", Usage: "print the JSON schema of a topology file, from which editors complete it, and do nothing else"},
			fromFlag,
			&cli.BoolFlag{Name: "prune", Usage: "also detach what an earlier apply of the same name attached and the file no longer has"},
			&cli.BoolFlag{Name: "strict", Usage: "fail if the guest of an entry does not run"},
			confirmFlag, yesFlag, dryDifferenceFlag, jsonFlag, vFlag,
			timeoutFlag("give up an entry after `DURATION`, and undo it"),
		},
		Action: o.applyCommand,
	}
}

func (o *output) applyCommand(c *cli.Context) error {
	switch {
	case c.Bool("schema"):
		return o.schema(c)
	case slices.Contains(given(c), "from"):
		return o.from(c)
	}
	within := c.Duration("confirm")
	if slices.Contains(given(c), "confirm") && (within < shortestConfirm || within > longestConfirm) {
		return fault.BadWord("read flag", "--confirm", "it must be from %s to %s", shortestConfirm, longestConfirm).WithHint("--confirm 30s")
	}
	r, err := o.reconciliation(c)
	if err != nil {
		return err
	}
	if err := r.compare(c.Context); err != nil {
		return stopped(c.Context, err)
	}
	if !c.Bool("prune") {
		r.spare()
	}
	r.strict = c.Bool("strict")
	if within > 0 {
		r.back = r.planBack(within)
	}
	return r.carryOut(c.Context)
}

func (o *output) diffEntry() *cli.Command {
	return &cli.Command{
		Name:      "diff",
		Usage:     "print how a topology file and this host differ; exit with 2 if they do",
		ArgsUsage: "-f FILE... | --kept",
		Flags:     []cli.Flag{fileFlag, keptFlag, jsonFlag},
		Action:    o.diffCommand,
	}
}

func (o *output) diffCommand(c *cli.Context) error {
	r, err := o.reconciliation(c)
	if err != nil {
		return err
	}
	r.dryRun = true
	if err := r.compare(c.Context); err != nil {
		return stopped(c.Context, err)
	}
	err = r.carryOut(c.Context)
	if d := r.difference; err == nil && len(d.Items) > d.Count(reconcile.Pending) {
		return errDiffers
	}
	return err
}

func (o *output) destroyEntry() *cli.Command {
	return &cli.Command{
		Name:      "destroy",
		Usage:     "detach all that was attached for a topology file",
		ArgsUsage: "-f FILE... | --kept | NAME",
		Flags: []cli.Flag{
			fileFlag, keptFlag, yesFlag, dryDifferenceFlag, jsonFlag, vFlag,
			timeoutFlag("give up an attachment after `DURATION`"),
		},
		Action: o.destroyCommand,
	}
}

func (o *output) destroyCommand(c *cli.Context) error {
	r, err := o.destruction(c)
	if err != nil {
		return err
	}
	if err := r.compare(c.Context); err != nil {
		return stopped(c.Context, err)
	}
	return r.carryOut(c.Context)
}

// destruction prepares a destroy: of files that are there, or of the name of one.
func (o *output) destruction(c *cli.Context) (*reconciliation, error) {
	paths := c.StringSlice("f")
	if (len(paths) > 0 || c.Bool("kept")) && c.Args().Len() == 0 {
		r, err := o.reconciliation(c)
		if f := (*fault.Error)(nil); len(paths) > 0 && errors.As(err, &f) && (f.Hint == "" || errors.Is(err, fs.ErrNotExist)) {
			f.Hint = "gopipework destroy NAME needs no file"
		}
		if err != nil {
			return nil, err
		}
		r.warnings, r.destroy = nil, true
		for n := range r.lists {
			l := &r.lists[n]
			if l.origin == attach.OriginKeep && len(l.entries) > 0 {
				r.warnings = append(r.warnings, "the lines stay kept: apply --kept attaches them again; gopipework forget drops them")
			}
			l.entries = nil
		}
		return r, nil
	}
	w, err := words(c, 1, 1)
	if err != nil {
		return nil, err
	}
	if len(paths) > 0 || c.Bool("kept") {
		return nil, fault.BadWord("read words", w[0], "destroy takes a file or a name, not both").WithHint("gopipework destroy %s", w[0])
	}
	r, err := o.reconciliationOf(c, []topology.File{{Name: strings.TrimPrefix(w[0], "file:")}}) // as the list has it
	if f := (*fault.Error)(nil); errors.As(err, &f) && f.Op == "read origin" {
		f.Hint = "gopipework list shows the names in the column ORIGIN, after file:"
	}
	if err == nil {
		r.destroy = true
	}
	return r, err
}
