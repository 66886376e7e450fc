package attach

import (
	"context"
	"os"
	"path/filepath"

	"github.com/gopipework/gopipework/internal/hostclient"
	"github.com/gopipework/gopipework/internal/lease"
	"github.com/gopipework/gopipework/internal/plan"
)

// keeperWord is what starts a process that keeps leases, as the first argument of
// Options.Keeper.
const keeperWord = "--keep-leases"

// Helper returns the work of a process that was started as Options.Keeper, if its
// arguments say that it is one; nil for any other process. Only a program that is to
// be named there calls it, before anything else; gopipework does. The work takes as
// long as the guest lives. Who started it reads out, its standard output.
func Helper(argv []string) func(ctx context.Context, out *os.File) error {
	switch {
	case len(argv) > 1 && argv[1] == keeperWord:
		return func(ctx context.Context, out *os.File) error { return keepLeases(ctx, argv[2:], out) }
	case len(argv) > 1 && argv[1] == hostclient.Word:
		return func(ctx context.Context, out *os.File) error {
			return hostclient.Serve(ctx, argv[2:], out, openLinks(nil))
		}
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

// keeperKey is that of Options.Keeper, which the machine remembers.
type keeperKey struct{}

func keeperOf(m *plan.Machine) string {
	program, _ := m.Remembered(keeperKey{}).(string)
	return program
}

// keepers read what is kept on this machine, and start nothing.
func keepers() lease.Keepers { return lease.Keepers{Dir: runDir} }

// keepersBy are those of this machine, which a program runs.
func keepersBy(program string) lease.Keepers {
	k := keepers()
	if program != "" {
		k.Command = []string{program, keeperWord}
	}
	return k
}
