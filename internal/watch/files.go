package watch

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/internal/kept"
	"github.com/gopipework/gopipework/internal/notify"
	"github.com/gopipework/gopipework/internal/reconcile"
	"github.com/gopipework/gopipework/internal/topology"
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
		all, err = append(all, l...), errors.Join(err, wrong)
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
	return []List{l}, nil
}

// missing is the error for a file that is not there, and so asks for nothing.
type missing struct{ error }

func (m missing) Unwrap() error { return m.error }

// isMissing reports whether files that are not there are all that is wrong. If another one
// cannot be read, it is not known what that asks for.
func isMissing(err error) bool {
	if several, ok := err.(interface{ Unwrap() []error }); ok {
		return !slices.ContainsFunc(several.Unwrap(), func(one error) bool { return !isMissing(one) })
	}
	_, is := err.(missing)
	return is || err == nil
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
