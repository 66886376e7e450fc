package main

// What apply, diff and destroy have in common.

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/dockerutil"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/kept"
	"github.com/gopipework/gopipework/internal/reconcile"
	"github.com/gopipework/gopipework/internal/shell"
	"github.com/gopipework/gopipework/internal/spec"
	"github.com/gopipework/gopipework/internal/topology"
	"github.com/gopipework/gopipework/internal/typo"
	"github.com/urfave/cli/v2"
)

// reconciliation is one run of apply, diff or destroy.
type reconciliation struct {
	out      *output
	op       string // the command
	lists    []list
	warnings []string
	host     reconcile.Host
	dryRun   bool
	verbose  bool
	yes      bool
	strict   bool          // what is pending is a failure
	back     *confirmation // nil: the change stands at once
	until    time.Time     // when it is undone
	destroy  bool          // there is nothing wanted, because all of it is to go

	difference reconcile.Difference
	spared     []reconcile.Item // removals that nobody asked for
	changes    []change
	later      []string // warnings of what was carried out
	changed    bool
	failed     []error
}

// list is what one file asks for.
type list struct {
	name    string // of the topology
	origin  attach.Origin
	entries []topology.Entry
}

// name is that of the topology, or those of all.
func (r *reconciliation) name() string {
	var names []string
	for _, l := range r.lists {
		names = append(names, l.name)
	}
	return strings.Join(names, ",")
}

// entries are those of all files.
func (r *reconciliation) entries() (all []topology.Entry) {
	for _, l := range r.lists {
		all = append(all, l.entries...)
	}
	return all
}

// reconciliation reads the files that the line names.
func (o *output) reconciliation(c *cli.Context) (*reconciliation, error) {
	paths := c.StringSlice("f")
	if _, err := words(c, 0, 0); err != nil {
		if f := (*fault.Error)(nil); len(paths) == 0 && c.Args().Len() == 1 && errors.As(err, &f) {
			f.Hint = fmt.Sprintf("gopipework %s -f %s", c.Command.Name, shell.Quote(c.Args().First()))
		}
		return nil, err
	}
	switch {
	case c.Bool("kept") && len(paths) > 0:
		return nil, fault.BadWord("read flag", "--kept", "the kept lines are a file, so -f names another").WithHint("leave out one of the two")
	case c.Bool("kept"):
		paths = []string{kept.Path}
	case len(paths) == 0 || slices.Contains(paths, ""):
		return nil, fault.BadWord("read flags of", c.Command.Name, "it needs a file").WithHint("gopipework %s -f FILE", c.Command.Name)
	}
	files, err := readTopologies(paths)
	if err != nil {
		return nil, err
	}
	return o.reconciliationOf(c, files)
}

// readTopologies reads files, and those of directories. All that they ask for has to be
// possible at once.
func readTopologies(paths []string) (files []topology.File, err error) {
	for _, path := range paths {
		all, err := topology.Files(path)
		if err != nil {
			return nil, err
		}
		for _, path := range all {
			f, err := readTopology(path)
			if err != nil {
				return nil, err
			}
			files = append(files, f)
		}
	}
	if len(files) > 1 {
		err = topology.Clashes(files)
	}
	return files, err
}

// isKept reports whether a path is that of the kept lines.
func isKept(path string) bool {
	if path == kept.Path {
		return true
	}
	this, err := os.Stat(path)
	if err != nil {
		return false
	}
	lines, err := os.Stat(kept.Path)
	return err == nil && os.SameFile(this, lines)
}

// readTopology reads a file, for "-" standard input, or the kept lines.
func readTopology(path string) (topology.File, error) {
	if isKept(path) {
		f, err := kept.Read(grammar())
		f.Name = cmp.Or(f.Name, keptName)
		return f, err
	}
	text, name, err := readStream(path)
	switch {
	case err != nil:
		return topology.File{}, err
	case text == nil:
		return topology.Read(path, grammar())
	}
	return topology.Parse(name, text, grammar())
}

// readStream reads what is no file: standard input, which is "-", or a pipe. It returns
// what to call it, and nil if path is a file.
func readStream(path string) (text []byte, name string, err error) {
	from := os.Stdin
	if path != "-" {
		pipe, err := openPipe(path)
		if err != nil || pipe == nil {
			return nil, path, nil // reading it tells what is wrong
		}
		defer pipe.Close()
		from = pipe
	}
	name = "stdin"
	text, err = io.ReadAll(io.LimitReader(from, topology.MaxFile+1))
	if err != nil {
		return nil, name, fault.New(fault.Failed, "read", name, "%w", err)
	}
	return text, name, nil
}

// openPipe opens a pipe that a shell has made for this process, as bash does for
// -f <(command); nil: path is none. Somebody writes into such a one, or has.
func openPipe(path string) (*os.File, error) {
	if !strings.HasPrefix(path, "/dev/fd/") && !strings.HasPrefix(path, "/proc/self/fd/") {
		return nil, nil
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Type() != os.ModeNamedPipe {
		return nil, err
	}
	return os.Open(path)
}

// keptName is the name of the kept lines, unless they say another.
const keptName = "kept"

// reconciliationOf prepares a run for topologies.
func (o *output) reconciliationOf(c *cli.Context, files []topology.File) (*reconciliation, error) {
	opt, err := o.options(c)
	if err != nil {
		return nil, err
	}
	r := &reconciliation{out: o, op: c.Command.Name, dryRun: opt.DryRun, verbose: c.Bool("v"), yes: c.Bool("yes")}
	o.nested = true
	r.host = reconcile.Host{Find: dockerutil.Find, Options: opt}
	for _, f := range files {
		l := list{name: f.Name, origin: attach.OriginKeep}
		if f.Path != kept.Path {
			if l.origin, err = spec.ParseOrigin("file:" + f.Name); err != nil {
				return nil, err
			}
		}
		var warnings []string
		if l.entries, warnings, err = reconcile.Entries(f); err != nil {
			return nil, err
		}
		r.lists, r.warnings = append(r.lists, l), append(r.warnings, warnings...)
	}
	return r, nil
}

// compare looks at what there is, and holds what is wanted against it.
func (r *reconciliation) compare(ctx context.Context) error {
	var found map[string]reconcile.Guest
	var looking sync.WaitGroup
	var doubts []string
	looking.Go(func() { found, doubts = findGuests(ctx, reconcile.Words(r.entries())) })
	there, err := attach.List(ctx, nil, attach.Options{})
	looking.Wait()
	if err = cmp.Or(err, context.Cause(ctx)); err != nil {
		return err
	}
	r.warnings = append(append(r.warnings, doubts...), there.Warnings...)
	var want []reconcile.Wanted
	for _, l := range r.lists {
		want = append(want, reconcile.Wanted{Origin: l.origin, Entries: l.entries, Guests: found})
	}
	if r.difference, err = reconcile.CompareAll(want, there.Attachments, there.Bridges...); err != nil {
		return err
	}
	for _, a := range there.Attachments {
		if r.owns(a.Origin) && (a.State == attach.Orphan || a.Hidden) {
			r.warnings = append(r.warnings, fmt.Sprintf("the guest of %s, %s, cannot be found: gopipework gc cleans up if it has ended", a.Host.Port, a.Guest.Word()))
		}
	}
	if r.destroy {
		for n := range r.difference.Items {
			i := &r.difference.Items[n]
			i.Reason = "attached for " + string(i.Origin)
			if i.OfBridge() {
				i.Reason = "set up for " + string(i.Origin)
			}
		}
		if near := r.nearName(there); near != "" {
			r.warnings = append(r.warnings, fmt.Sprintf("something is attached for file:%s: gopipework destroy %s", near, near))
		}
	}
	err = r.host.Settle(ctx, &r.difference)
	for _, i := range r.difference.Items {
		for _, w := range i.Beware { // before it is done, as it may cut off whoever reads it
			r.warnings = append(r.warnings, at(i)+w)
		}
	}
	return err
}

// owns reports whether an origin is one of the files.
func (r *reconciliation) owns(o attach.Origin) bool {
	return slices.ContainsFunc(r.lists, func(l list) bool { return l.origin == o })
}

// nearName returns the name of a topology that a destroy can have meant which has found
// nothing to detach; "": there is none.
func (r *reconciliation) nearName(there attach.Result) string {
	if len(r.difference.Items) > 0 {
		return ""
	}
	var names []string
	add := func(o attach.Origin) {
		if name, ok := strings.CutPrefix(string(o), "file:"); ok && !r.owns(o) {
			names = append(names, name)
		}
	}
	for _, a := range there.Attachments {
		add(a.Origin)
	}
	for _, b := range there.Bridges {
		add(b.Origin)
	}
	return typo.Nearest(r.lists[0].name, names)
}

// findGuests finds the guests that words name, and lets them go again. It also returns the
// warnings about them.
func findGuests(ctx context.Context, words []string) (found map[string]reconcile.Guest, doubts []string) {
	found = map[string]reconcile.Guest{}
	for word, f := range dockerutil.FindAll(ctx, words) {
		if f.Err != nil {
			found[word] = reconcile.Guest{Err: f.Err}
			continue
		}
		found[word] = reconcile.Guest{GuestInfo: f.Guest.GuestInfo}
		doubts = append(doubts, f.Guest.Doubts...)
		f.Guest.Close()
	}
	return found, doubts
}

// spare leaves out the removals.
func (r *reconciliation) spare() {
	r.difference.Items = slices.DeleteFunc(r.difference.Items, func(i reconcile.Item) bool {
		if i.Action == reconcile.Remove {
			r.spared = append(r.spared, i)
		}
		return i.Action == reconcile.Remove
	})
}

// carryOut prints the difference and, unless it is a dry run, makes it so.
func (r *reconciliation) carryOut(ctx context.Context) error {
	r.announce()
	if w, ok := r.out.stdout.(*keenWriter); ok && w.err != nil {
		return unwritten(w.err) // nobody has seen what would be changed
	}
	if !r.dryRun {
		if err := r.ask(ctx); err != nil {
			return err
		}
		if err := r.refusePending(); err != nil {
			return err
		}
		if r.back != nil && len(r.back.record.Backs) > 0 {
			return r.confirmed(ctx, r.back)
		}
	}
	d := r.difference
	if !r.dryRun || r.verbose {
		p := r.out.progress(len(d.Items))
		r.host.Options.Ahead = attach.Remember(r.host.Options)
		defer r.host.Options.Ahead.Close()
		r.host.Do(ctx, d, func(i *reconcile.Item, o reconcile.Outcome) {
			p.clear()
			r.told(i, o)
			p.step()
		})
		p.clear()
	} else {
		for n := range d.Items {
			if i := &d.Items[n]; i.Err != nil && i.Action == reconcile.Refused {
				r.told(i, reconcile.Outcome{Err: i.Err})
			}
		}
	}
	return r.finish(ctx)
}

// announce prints the difference, and what is to be known about it.
func (r *reconciliation) announce() {
	if r.out.json {
		return
	}
	for _, i := range r.difference.Items {
		r.out.print(i.String())
	}
	for _, l := range r.lists {
		if r.destroy && !slices.ContainsFunc(r.difference.Items, func(i reconcile.Item) bool { return i.Origin == l.origin }) {
			r.out.say("nothing is attached for %s", l.origin)
		}
	}
	r.out.warn(r.allWarnings())
	if n := r.difference.Count(reconcile.Pending); n > 0 && !r.strict {
		r.out.say("%s", pendingText(n))
	}
}

func (r *reconciliation) allWarnings() []string {
	all := slices.Clone(r.warnings)
	for _, i := range r.spared {
		all = append(all, i.Spared())
	}
	return all
}

func pendingText(n int) string {
	if n == 1 {
		return "1 entry is pending: its guest does not run"
	}
	return fmt.Sprintf("%d entries are pending: their guests do not run", n)
}

// ask asks the person at the terminal, if something that is there is about to go.
func (r *reconciliation) ask(ctx context.Context) error {
	if r.yes || r.out.json || !r.difference.Disturbs() || !isTerminal(os.Stdin) || !isTerminal(r.out.stderr) {
		return nil
	}
	fmt.Fprint(r.out.stderr, "gopipework: this detaches what is there. Go on? [y/N] ")
	answer := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(os.Stdin).ReadString('\n')
		answer <- line
	}()
	select {
	case <-ctx.Done():
		fmt.Fprintln(r.out.stderr)
		return context.Cause(ctx)
	case line := <-answer:
		if !strings.HasSuffix(line, "\n") { // the end of the input: nobody has typed the newline
			fmt.Fprintln(r.out.stderr)
		}
		if a := strings.ToLower(strings.TrimSpace(line)); a == "y" || a == "yes" {
			return nil
		}
	}
	return fault.New(fault.Failed, r.op, r.name(), "nothing was changed, because the answer was not yes").WithHint("--yes goes on without the question")
}

// told takes what an item came to.
func (r *reconciliation) told(i *reconcile.Item, o reconcile.Outcome) {
	if r.out.json {
		one := changeOf(*i, o)
		one.Done = one.Done && !r.dryRun
		r.changes = append(r.changes, one)
	}
	r.changed = r.changed || o.Changed && !r.dryRun
	if r.dryRun && r.verbose {
		for _, s := range o.Steps {
			r.out.step(s)
		}
	}
	for _, w := range o.Warnings {
		if slices.Contains(i.Beware, w) {
			continue // it was told before
		}
		r.later = append(r.later, at(*i)+w)
		if !r.out.json {
			r.out.say("warning: %s%s", at(*i), w)
		}
	}
	if o.Err == nil || i.Action == reconcile.Pending {
		return
	}
	r.failed = append(r.failed, o.Err)
	if r.out.json {
		return
	}
	r.out.say("%s%s", at(*i), o.Err)
	if hint := fault.HintOf(o.Err); hint != "" {
		r.out.say("hint: %s", hint)
	}
}

// at is the place of an item in the file, in front of what is said about it.
func at(i reconcile.Item) string {
	if i.Action == reconcile.Remove {
		return ""
	}
	return i.Entry.Pos.String() + ": "
}

// finish prints the document, and returns the error of the whole run.
func (r *reconciliation) finish(ctx context.Context) error {
	err := r.result(ctx)
	if !r.out.json {
		return err
	}
	doc := r.document()
	if err != nil {
		doc["error"] = describe(err)
	}
	if werr := r.out.document(doc); werr != nil {
		if r.changed {
			var steps []string
			for _, c := range r.changes {
				steps = append(steps, c.Steps...)
			}
			werr = unreported(werr, steps)
		}
		return werr
	}
	if err != nil {
		return reported{err}
	}
	return nil
}

// result is nil if every item was carried out, or is pending.
func (r *reconciliation) result(ctx context.Context) error {
	var residue []string
	for _, err := range r.failed {
		if f := (*fault.Error)(nil); errors.As(err, &f) {
			residue = append(residue, f.Residue...)
		}
	}
	all := len(r.difference.Items) + r.difference.Same
	cause := context.Cause(ctx)
	var e *fault.Error
	switch {
	case cause != nil:
		e = fault.New(fault.Interrupted, r.op, r.name(), "%w", cause).
			WithHint("what was running was undone; what was finished before stands, and the same command does the rest")
	case len(r.failed) == 0 && r.strict && r.difference.Count(reconcile.Pending) > 0:
		e = fault.New(fault.Failed, r.op, r.name(), "%s", pendingText(r.difference.Count(reconcile.Pending))).
			WithHint("run it again once every guest runs; without --strict, what is pending is only counted")
	case len(r.failed) == 0:
		return nil
	default:
		e = fault.New(fault.Failed, r.op, r.name(), "%d of %d failed", len(r.failed), all)
		switch {
		case r.dryRun: // nothing was tried
		case len(r.failed) < all:
			e.Hint = "the others stand; the same command tries these again"
		default:
			e.Hint = "the same command tries again"
		}
	}
	if len(residue) > 0 {
		e.Code, e.Residue = fault.Residue, residue
	}
	return e
}
