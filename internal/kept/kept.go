// Package kept holds the lines that are to be attached for good, in a topology file that
// outlives a restart of the machine.
//
// A person may edit the file, so all that is not concerned stays as it is. It is written
// wholly or not at all: whenever the writer is killed, there is the old file or the new
// one, and nothing has to be mended.
package kept

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/rundir"
	"github.com/gopipework/gopipework/internal/shell"
	"github.com/gopipework/gopipework/internal/spec"
	"github.com/gopipework/gopipework/internal/topology"
)

// Dir is the directory of the file, and File its name there.
const (
	Dir  = "/var/lib/gopipework"
	File = "kept.yaml"
)

// Path is where the file is.
const Path = Dir + "/" + File

// head is what a new file begins with.
const head = `# The lines that gopipework keeps. "gopipework attach --keep LINE" adds one; "gopipework
# detach" and "gopipework forget" remove it. You may edit this file: comments stay.
`

// empty is the text of a file from which all lines have been removed.
const empty = head + "attachments:\n"

// patience is how long another writer is waited for. It has the lock for milliseconds.
const patience = 10 * time.Second

// Read returns the kept lines: none, if there is no file.
func Read(g topology.Grammar) (topology.File, error) {
	text, err := readText()
	if err != nil || text == nil {
		return topology.File{Path: Path}, err
	}
	return topology.Parse(Path, text, g)
}

// readText returns what the file holds; nil: there is none. A directory that somebody else
// can write to is refused: root carries out what stands there.
func readText() ([]byte, error) {
	var text []byte
	d, err := rundir.Open(Dir, false)
	if err == nil {
		defer d.Leave()
		text, err = d.ReadText(File, topology.MaxFile)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, cannot("read", err)
	}
	return text, nil
}

func cannot(verb string, err error) error {
	if inner := errors.Unwrap(err); inner != nil && !errors.Is(err, rundir.ErrForeign) {
		err = inner
	}
	return fault.New(fault.Failed, verb, Path, "%w", err)
}

// IsNew reports whether Add would change the file. A line that contradicts those that are
// kept is an error, and so is a file that cannot be read. It changes nothing.
func IsNew(g topology.Grammar, words []string) (bool, error) {
	text, err := readText()
	if err != nil {
		return false, err
	}
	changed, err := with(g, text, words)
	return err == nil && !bytes.Equal(text, changed), err
}

// Check returns the error of IsNew, or that for a directory that cannot be written to.
func Check(ctx context.Context, g topology.Grammar, words []string) error {
	if _, err := IsNew(g, words); err != nil {
		return err
	}
	d, err := open(ctx, true)
	if err != nil {
		return err
	}
	defer d.Close()
	const try = ".try"
	f, err := d.Open(try, os.O_WRONLY|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return cannot("write", err)
	}
	_, err = f.WriteString(head)
	if err = errors.Join(err, f.Close(), d.Remove(try)); err != nil {
		return cannot("write", err)
	}
	return nil
}

// orHead returns the text, or for none the head of a new one.
func orHead(text []byte) []byte {
	if len(text) == 0 {
		return []byte(head)
	}
	return text
}

// open is OpenDir with an error that names the file.
func open(ctx context.Context, make bool) (*rundir.Dir, error) {
	d, err := OpenDir(ctx, make)
	if err != nil {
		return nil, cannot("open", err)
	}
	return d, nil
}

// OpenDir opens the directory, with make also one that is not there, and takes its lock.
// Closing it removes it if it is empty.
func OpenDir(ctx context.Context, make bool) (*rundir.Dir, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("it had it for longer than %v", patience))
	defer cancel()
	if make {
		if err := os.MkdirAll(filepath.Dir(Dir), 0o755); err != nil {
			return nil, err
		}
	}
	d, err := rundir.Open(Dir, make)
	if err != nil {
		return nil, err
	}
	if err := d.Lock(ctx); err != nil {
		d.Leave()
		return nil, err
	}
	return d, nil
}

// Add adds a line, in place of that for the same interface of the same guest. It reports
// whether the file had to be changed.
func Add(ctx context.Context, g topology.Grammar, words []string) (bool, error) {
	return change(ctx, true, func(text []byte) ([]byte, error) { return with(g, text, words) })
}

// Find returns the lines that Remove would remove.
func Find(_ context.Context, grammar func() topology.Grammar, guest Guest, ifName string) ([]topology.Entry, error) {
	text, err := readText()
	if err != nil || text == nil {
		return nil, err
	}
	f, err := topology.Parse(Path, text, grammar())
	return Of(f, guest, ifName), err
}

// Remove removes the lines for an interface of a guest, or with "" for each of them. It
// returns those that it has removed.
func Remove(ctx context.Context, grammar func() topology.Grammar, guest Guest, ifName string) (gone []topology.Entry, err error) {
	if text, err := readText(); err != nil || text == nil {
		return nil, err // the way of nearly every detach: one system call
	}
	g := grammar()
	_, err = change(ctx, false, func(text []byte) ([]byte, error) {
		f, err := topology.Parse(Path, text, g)
		if err != nil {
			return nil, err
		}
		gone = Of(f, guest, ifName)
		return without(g, f, text, gone)
	})
	if err != nil {
		return nil, err
	}
	return gone, nil
}

// change rewrites the file under its lock. With make, there need not be one. A file in
// which only the text of a new one is left is removed.
func change(ctx context.Context, make bool, do func(text []byte) ([]byte, error)) (bool, error) {
	d, err := open(ctx, make)
	if err != nil {
		return false, err
	}
	defer d.Close()
	text, err := readText()
	if err != nil {
		return false, err
	}
	changed, err := do(text)
	if err != nil || bytes.Equal(text, changed) {
		return false, err
	}
	if string(changed) == empty {
		err = errors.Join(d.Remove(File), d.Sync())
	} else {
		err = d.WriteDurable(File, changed)
	}
	if err != nil {
		return false, cannot("write", err)
	}
	return true, nil
}

// with returns the file with one more line. What contradicts the lines that are there is
// refused.
func with(g topology.Grammar, text []byte, words []string) ([]byte, error) {
	s, err := g.Attach(words)
	if err != nil {
		return nil, err
	}
	f := topology.File{}
	if text != nil {
		if f, err = topology.Parse(Path, text, g); err != nil {
			return nil, err
		}
	}
	old := Of(f, Guest{Word: s.Guest}, cmp.Or(s.IfName, spec.UsualIfName))
	if len(old) == 1 && slices.Equal(old[0].Words, words) {
		return text, nil
	}
	rest, err := without(g, f, orHead(text), old)
	if err != nil {
		return nil, err
	}
	changed, err := topology.Add(rest, words)
	if err != nil {
		return nil, err
	}
	n := topology.File{}
	if n, err = topology.Parse(Path, changed, g); err != nil {
		var p *topology.Problems
		if errors.As(err, &p) {
			return nil, fault.New(fault.Conflict, "keep", shell.Line(words), "in %s, %w", Path, p.List[0].Err).
				WithHint("gopipework forget GUEST IFNAME drops a kept line")
		}
		return nil, err
	}
	if !sameLines(n, f, old, words) {
		return nil, notEdited()
	}
	return changed, nil
}

// without returns the file without some of its lines.
func without(g topology.Grammar, f topology.File, text []byte, gone []topology.Entry) ([]byte, error) {
	if len(gone) == 0 {
		return text, nil
	}
	var places []topology.Pos
	for _, e := range gone {
		places = append(places, e.Pos)
	}
	changed, err := topology.Remove(text, places)
	if err != nil {
		return nil, err
	}
	left, err := topology.Parse(Path, changed, g)
	if err != nil || !sameLines(left, f, gone, nil) {
		return nil, notEdited()
	}
	return changed, nil
}

// sameLines reports whether a file has the lines of one before it, without some of them,
// and with one more.
func sameLines(f, before topology.File, without []topology.Entry, with []string) bool {
	var want []string
	for _, e := range before.Entries {
		if !slices.ContainsFunc(without, func(o topology.Entry) bool { return o.Pos == e.Pos }) {
			want = append(want, shell.Line(e.Words))
		}
	}
	if with != nil {
		want = append(want, shell.Line(with))
	}
	var is []string
	for _, e := range f.Entries {
		is = append(is, shell.Line(e.Words))
	}
	slices.Sort(want) // links follow the attachments
	slices.Sort(is)
	return slices.Equal(is, want)
}

// notEdited returns the error for a file that a person has written in a way that no
// single line of it can be changed.
func notEdited() error {
	return fault.New(fault.Invalid, "edit", Path, "its entries are written in a way that none can be changed by itself").
		WithHint("give each entry a line of its own, which begins with \"- \"")
}

// Guest is a guest by a word of the command line and, if it is there, by what is known
// of it.
type Guest struct {
	Word string
	Info guests.GuestInfo // the zero GuestInfo: it is not there
	All  bool             // any guest
}

// Of returns the lines for an interface of a guest, or with "" for each of them.
func Of(f topology.File, guest Guest, ifName string) (all []topology.Entry) {
	for _, e := range f.Entries {
		if e.Attach == nil || !guest.is(e.Attach.Guest) {
			continue
		}
		if ifName == "" || IfName(e) == ifName {
			all = append(all, e)
		}
	}
	return all
}

// IfName is what the interface of a kept line is called inside the guest.
func IfName(e topology.Entry) string { return cmp.Or(e.Attach.IfName, spec.UsualIfName) }

// is reports whether a kept word means the guest. A kept line has the guest's name, with
// or without what runs it.
func (g Guest) is(word string) bool {
	if g.All || word == g.Word || g.Info.Name != "" && word == g.Info.Word() {
		return true
	}
	_, bare, named := strings.Cut(word, ":")
	_, bareWord, namedWord := strings.Cut(g.Word, ":")
	switch {
	case g.Info.Name != "":
		return !named && word == g.Info.Name
	case named == namedWord: // two words that differ
		return false
	case named:
		return bare == g.Word
	}
	return word == bareWord
}

// Words returns the words that are kept for an attachment that is there: those of s, with
// the name that the guest has for good and the one that the interface has got.
func Words(line func(spec.Spec) []string, s spec.Spec, g guests.GuestInfo, ifName string) ([]string, error) {
	_, bare, named := strings.Cut(s.Guest, ":")
	if !named {
		bare = s.Guest
	}
	switch {
	case g.Runtime == "pid":
		return nil, fault.BadWord("keep guest", s.Guest, "a process has its number only as long as it lives").
			WithHint("name the container, or a namespace under /run/netns")
	case g.Name != "" && bare != g.Name && !g.ByPath():
		s.Guest = g.Word() // an ID is that of one container; the next one has the name
	}
	if s.IfName == "" && ifName != "" && ifName != spec.UsualIfName {
		s.IfName = ifName
	}
	return line(s), nil
}
