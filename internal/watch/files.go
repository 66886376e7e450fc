package watch

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/kept"
	"github.com/gopipework/gopipework/internal/notify"
	"github.com/gopipework/gopipework/internal/reconcile"
	"github.com/gopipework/gopipework/internal/report"
	"github.com/gopipework/gopipework/internal/topology"
	"github.com/gopipework/gopipework/internal/yamlfile"
)

// Directory is where the files are that watch reads without being told of them.
const Directory = "/etc/gopipework"

// Kept is the source of the kept lines.
type Kept struct{ Grammar topology.Grammar }

// String implements Source.
func (Kept) String() string { return kept.Path }

// Wanted implements Source.
func (k Kept) Wanted(context.Context) ([]List, error) {
	f, err := kept.Read(k.Grammar)
	if err != nil {
		return nil, err
	}
	l, err := listOf(f, attach.OriginKeep)
	return []List{l}, err
}

// Follow implements Source.
func (Kept) Follow(ctx context.Context, ring func()) error { return FollowFile(ctx, kept.Path, ring) }

// File is the source that a topology file is.
type File struct {
	Path    string // an absolute one
	Grammar topology.Grammar
}

// String implements Source.
func (f File) String() string { return f.Path }

// Wanted implements Source.
func (f File) Wanted(context.Context) ([]List, error) { return readFile(f.Path, f.Grammar) }

// Follow implements Source.
func (f File) Follow(ctx context.Context, ring func()) error { return FollowFile(ctx, f.Path, ring) }

// Files is the source that the topology files of a directory are.
type Files struct {
	Path    string
	Grammar topology.Grammar
}

// String implements Source.
func (d Files) String() string { return d.Path }

// Wanted implements Source.
func (d Files) Wanted(context.Context) (all []List, err error) {
	paths, err := topology.InDirectory(d.Path)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	for _, path := range paths {
		l, wrong := readFile(path, d.Grammar)
		if all = append(all, l...); wrong != nil {
			err = errors.Join(err, unread{wrong, path})
		}
	}
	return all, err
}

// Follow implements Source.
func (d Files) Follow(ctx context.Context, ring func()) error {
	n, err := notify.NewDirectory(d.Path)
	if err != nil {
		return err
	}
	ring()
	n.Follow(ctx, ring)
	return nil
}

func readFile(path string, g topology.Grammar) ([]List, error) {
	f, err := topology.ReadWritten(path, g)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, missing{err}
	}
	if err != nil {
		return nil, err
	}
	l, err := listOf(f, attach.Origin("file:"+f.Name))
	if err != nil {
		return nil, err
	}
	l.Path = path
	return []List{l}, nil
}

// unread is the error for one file of several.
type unread struct {
	error
	path string
}

func (u unread) Unwrap() error { return u.error }

// states returns how a source can be read, and each of the files that it has.
func states(source string, lists []List, err error) []report.Event {
	up := func(path string) report.Event {
		return report.Event{Kind: report.Source, Name: path, State: report.Up}
	}
	itself, all := up(source), []report.Event(nil)
	for _, l := range lists {
		if l.Path != "" && l.Path != source {
			all = append(all, up(l.Path))
		}
	}
	wrong := errorsIn(err)
	if !slices.ContainsFunc(wrong, func(one error) bool { _, is := one.(unread); return is }) && err != nil {
		wrong = []error{err}
	}
	for _, one := range wrong {
		e := &itself
		if u, is := one.(unread); is {
			all = append(all, up(u.path))
			e = &all[len(all)-1]
		}
		e.State, e.Reason, e.Hint = report.Down, one.Error(), fault.HintOf(one)
		if p := (*yamlfile.Problems)(nil); errors.As(one, &p) {
			e.Reason = p.Error() // the path is in it already
		}
	}
	return append([]report.Event{itself}, all...)
}

// errorsIn returns the errors that are joined in one.
func errorsIn(err error) (all []error) {
	several, is := err.(interface{ Unwrap() []error })
	switch {
	case err == nil:
		return nil
	case !is:
		return []error{err}
	}
	for _, one := range several.Unwrap() {
		all = append(all, errorsIn(one)...)
	}
	return all
}

// missing is the error for a file that is not there, and so asks for nothing.
type missing struct{ error }

func (m missing) Unwrap() error { return m.error }

// isMissing reports whether files that are not there are all that is wrong. If another one
// cannot be read, it is not known what that asks for.
func isMissing(err error) bool {
	return !slices.ContainsFunc(errorsIn(err), func(one error) bool {
		var m missing
		return !errors.As(one, &m)
	})
}

func listOf(f topology.File, origin attach.Origin) (List, error) {
	entries, _, err := reconcile.Entries(f)
	return List{Origin: origin, Entries: entries}, err
}

// FollowFile rings when a file changes. It may be a symbolic link: where that leads to now
// is followed too.
func FollowFile(ctx context.Context, path string, ring func()) error {
	link, err := notify.NewFile(path)
	if err != nil {
		return err
	}
	ring()
	leads := make(chan struct{}, 1)
	var following sync.WaitGroup
	defer following.Wait()
	following.Go(func() {
		link.Follow(ctx, func() {
			ring()
			select {
			case leads <- struct{}{}:
			default:
			}
		})
	})
	for ctx.Err() == nil {
		behind, cancel := context.WithCancel(ctx)
		if to, err := filepath.EvalSymlinks(path); err == nil && to != path {
			if n, err := notify.NewFile(to); err == nil {
				following.Go(func() { n.Follow(behind, ring) })
			}
		}
		select {
		case <-ctx.Done():
		case <-leads:
		}
		cancel()
	}
	return nil
}
