package attach

import (
	"context"
	"os"
	"path/filepath"

	"github.com/gopipework/gopipework/internal/hostclient"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/source"
	"github.com/gopipework/gopipework/internal/tidy"
)

// Helper returns the work of a process that was started as Options.Keeper, if its
// arguments say that it is one; nil for any other process. Only a program that can be
// named as Options.Keeper, as gopipework can, calls it, and before anything else. The
// work may last as long as the guest lives. out is its standard output, which the
// process that started it reads.
func Helper(argv []string) func(ctx context.Context, out *os.File) error {
	switch {
	case len(argv) > 1 && argv[1] == ours.KeeperWord:
		return func(ctx context.Context, out *os.File) error { return source.KeepLeases(ctx, argv[2:], out) }
	case len(argv) > 1 && argv[1] == hostclient.Word:
		return func(ctx context.Context, out *os.File) error {
			return hostclient.Serve(ctx, argv[2:], out, source.OpenLinks(nil))
		}
	case len(argv) > 1 && argv[1] == tidy.Word:
		return func(ctx context.Context, out *os.File) error { return tidy.Serve(ctx, argv[2:], out) }
	case len(argv) > 0 && filepath.Base(argv[0]) == hostclient.ScriptName:
		return func(ctx context.Context, _ *os.File) error {
			told := make(chan error, 1)
			go func() { told <- hostclient.Tell(argv[1:], os.Environ()) }()
			select {
			case err := <-told:
				return err
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	}
	return nil
}
