package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/kept"
	"github.com/gopipework/gopipework/internal/shell"
	"github.com/gopipework/gopipework/internal/topology"
	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
)

// attacher is a way to attach.
type attacher func(context.Context, attach.Spec, *attach.Guest, attach.Options) (attach.Result, error)

// keeping returns one that also keeps the line.
func keeping(run attacher) attacher {
	return func(ctx context.Context, s attach.Spec, g *attach.Guest, opt attach.Options) (attach.Result, error) {
		return attachKept(ctx, run, s, g, opt)
	}
}

// attachKept attaches and then keeps the line. Whatever would prevent the line from being
// written is refused first. If writing fails all the same, as on a disk that is full by
// then, the attachment stays, and is named: it may have been there before.
func attachKept(ctx context.Context, run attacher, s attach.Spec, g *attach.Guest, opt attach.Options) (attach.Result, error) {
	opt.Origin = attach.OriginKeep
	words, err := kept.Words(attachLine, s, g.GuestInfo, s.IfName)
	if err != nil {
		return attach.Result{}, err
	}
	if opt.DryRun {
		_, err = kept.IsNew(grammar(), words)
	} else {
		err = kept.Check(ctx, grammar(), words)
	}
	if err != nil {
		return attach.Result{}, err
	}
	r, err := run(ctx, s, g, opt)
	if err != nil {
		return r, err
	}
	ifName := r.Attachments[0].Interface.Name
	if words, err = kept.Words(attachLine, s, g.GuestInfo, ifName); err != nil {
		return r, err
	}
	if keptPasses() {
		r.Warnings = append(r.Warnings, "the line goes with this container, which has a "+kept.Dir+" of its own: docker run -v "+kept.Dir+":"+kept.Dir)
	}
	step := "# keep in " + kept.Path + ": " + shell.Line(words)
	if opt.DryRun {
		if isNew, err := kept.IsNew(grammar(), words); err != nil || !isNew {
			return r, err
		}
		r.Steps = append(r.Steps, step)
		return r, nil
	}
	// A signal now must not part the two: what is attached is kept.
	changed, err := kept.Add(context.WithoutCancel(ctx), grammar(), words)
	if err != nil {
		return r, &fault.Error{
			Code: fault.Residue, Op: "keep", Object: shell.Line(words), Err: fmt.Errorf("it is attached, and not kept: %w", err),
			Hint:    "run the same line again, or detach it",
			Residue: []string{fmt.Sprintf("%s of %s: gopipework detach %s %s", ifName, g.Name, shell.Quote(g.Word()), ifName)},
		}
	}
	if changed {
		r.Changed, r.Steps = true, append(r.Steps, step)
		if opt.Step != nil {
			opt.Step(step)
		}
	}
	return r, nil
}

// keptPasses reports whether the kept lines end with the container that gopipework runs in: the
// directory is in the root of the container, and not mounted into it. A container whose first process
// is another program, such as systemd, may be there to stay.
func keptPasses() bool {
	first, err := os.Stat("/proc/1/exe")
	if err != nil {
		return false
	}
	self, err := os.Stat("/proc/self/exe")
	if err != nil || !os.SameFile(first, self) {
		return false
	}
	dir := kept.Dir
	for dir != "/" && !pathExists(dir) { // it is going to be made
		dir = filepath.Dir(dir)
	}
	root := mountOf("/")
	return root != 0 && root == mountOf(dir)
}

func pathExists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// mountOf returns the ID of the mount that a path is in; 0: the kernel does not tell, as before
// Linux 5.8.
func mountOf(path string) uint64 {
	var st unix.Statx_t
	if unix.Statx(unix.AT_FDCWD, path, 0, unix.STATX_MNT_ID, &st) != nil || st.Mask&unix.STATX_MNT_ID == 0 {
		return 0
	}
	return st.Mnt_id
}

// dropKept removes from the kept lines what a detach has removed from the guest, or with
// DryRun says so. What was not there any more counts as removed.
func dropKept(ctx context.Context, sel attach.Selection, word string, g *attach.Guest, opt attach.Options, r *attach.Result) error {
	names := []string{sel.IfName}
	if sel.IfName == "" && len(r.Attachments) > 0 {
		names = nil
		for _, a := range r.Attachments {
			names = append(names, a.Interface.Name)
		}
	}
	if sel.All {
		names = []string{""}
	}
	guest := kept.Guest{Word: word, Info: g.GuestInfo}
	if sel == (attach.Selection{}) && len(r.Attachments) == 0 { // nothing was there: the line for it, if it is clear which
		lines, err := kept.Find(ctx, grammar, guest, "")
		if err == nil && len(lines) > 1 {
			r.Warnings = append(r.Warnings, fmt.Sprintf("nothing was attached, and %d lines stay kept: gopipework forget %s drops them", len(lines), shell.Quote(word)))
			return nil
		}
	}
	for _, name := range names {
		gone, _, err := removeKept(ctx, guest, name, opt.DryRun)
		if err != nil && opt.DryRun {
			return err
		}
		if err != nil {
			return &fault.Error{
				Code: fault.Residue, Op: "forget", Object: word, Err: fmt.Errorf("it is detached, and a line for it may still be kept: %w", err),
				Hint: fault.HintOf(err), Residue: []string{"in " + kept.Path + ": gopipework forget " + shell.Line([]string{word, name})},
			}
		}
		r.Steps = append(r.Steps, gone...)
		r.Changed = r.Changed || len(gone) > 0 && !opt.DryRun
	}
	return nil
}

// removeKept removes the kept lines for an interface of a guest, or with "" for each. It
// returns a command for each that did it, or with dryRun would do it, and the lines.
func removeKept(ctx context.Context, guest kept.Guest, ifName string, dryRun bool) (steps []string, gone []topology.Entry, err error) {
	remove := kept.Remove
	if dryRun {
		remove = kept.Find
	}
	gone, err = remove(ctx, grammar, guest, ifName)
	for _, e := range gone {
		steps = append(steps, "gopipework forget "+shell.Line([]string{e.Attach.Guest, kept.IfName(e)}))
	}
	return steps, gone, err
}

func (o *output) forgetEntry() *cli.Command {
	return &cli.Command{
		Name:      "forget",
		Usage:     "drop the lines that attach --keep has kept for a guest, even for one that is gone; what is attached stays",
		ArgsUsage: "GUEST [IFNAME] | --all",
		Flags:     []cli.Flag{allKeptFlag, dryRunFlag, jsonFlag},
		Action:    o.forgetCommand,
	}
}

func (o *output) forgetCommand(c *cli.Context) error {
	least, most := 1, 2
	if c.Bool("all") {
		least, most = 0, 0
	}
	w, err := words(c, least, most)
	if err != nil {
		if f := (*fault.Error)(nil); least == 0 && errors.As(err, &f) && c.Args().Len() == 1 {
			f.Hint = "gopipework forget " + shell.Quote(c.Args().First()) + " drops all lines of that guest; gopipework forget --all those of all guests"
		}
		return err
	}
	guest := kept.Guest{All: true}
	if least > 0 {
		guest = kept.Guest{Word: w[0]}
	}
	sel, err := attach.ParseSelection(strings.Join(w[min(len(w), 1):], ""), false)
	if err != nil {
		return err
	}
	steps, gone, err := removeKept(c.Context, guest, sel.IfName, c.Bool("dry-run"))
	if err != nil {
		return err
	}
	if len(steps) == 0 {
		return fault.New(fault.NotFound, "forget", strings.Join(w, " "), "no line is kept for it").
			WithHint("the kept lines are in %s", kept.Path)
	}
	r := attach.Result{Steps: steps, Changed: !c.Bool("dry-run"), Warnings: staysAttached(c.Context, gone)}
	return o.result(r, c.Bool("dry-run"), false)
}

// staysAttached warns of what is attached for lines that are forgotten: it belongs to the
// kept lines until it is detached, and no typed line or file takes it over.
func staysAttached(ctx context.Context, gone []topology.Entry) (warnings []string) {
	all, err := attach.List(ctx, nil, attach.Options{})
	if err != nil {
		return []string{"what is attached for it, if anything, stays attached, and cannot be listed: " + err.Error()}
	}
	for _, a := range all.Attachments {
		guest := kept.Guest{Word: a.Guest.Word(), Info: a.Guest}
		if a.Origin == attach.OriginKeep && len(kept.Of(topology.File{Entries: gone}, guest, a.Interface.Name)) > 0 {
			warnings = append(warnings, fmt.Sprintf("%s of %s stays attached, with the origin keep: gopipework detach %s",
				a.Interface.Name, a.Guest.Word(), shell.Line([]string{a.Guest.Word(), a.Interface.Name})))
		}
	}
	return warnings
}

var allKeptFlag = &cli.BoolFlag{Name: "all", Usage: "drop the kept lines of all guests"}

var keptFlag = &cli.BoolFlag{Name: "kept", Usage: "the kept lines, in place of a file"}
