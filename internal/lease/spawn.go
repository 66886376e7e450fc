package lease

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strconv"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/spawn"
)

// start starts a keeper for the guest, and waits until it listens or another
// one does. A keeper that has no lease to keep ends when starter is closed, as it
// is when we are killed.
func (k Keepers) start(ctx context.Context, g Guest, first command) (starter io.Closer, err error) {
	if k.Pool != nil && (first.Keep == nil || !first.Keep.abroad(k.Pool.cookie)) {
		starter, err := k.Pool.start(g)
		if !errors.Is(err, errPoolClosed) {
			return starter, err
		}
	}
	if len(k.Command) == 0 {
		return nil, errors.New("no program is named that could keep them")
	}
	p := spawn.Program{
		Command:   append(k.Command[:len(k.Command):len(k.Command)], k.Dir, strconv.Itoa(g.PID), g.Path),
		Namespace: g.Namespace,
		Within:    commandTime,
	}
	keeper, err := p.Start(ctx)
	if err == nil {
		return keeper, nil
	}
	var no spawn.Report
	switch refused := errors.As(err, &no); {
	case refused && no.Code == fault.Gone:
		err = errGone
	case !refused && ctx.Err() == nil:
		err = fmt.Errorf("start a keeper: %w", err)
	}
	if keeper != nil {
		keeper.Close()
	}
	return nil, err
}

// Serve is the keeper process: what [Keepers] start. Its arguments are those
// after the word for it; ready is its standard output. It returns when there is no
// lease left to keep, when there is none yet and its starter has gone, when the guest
// has ended, and when ctx ends; only then the record stays, and the next keeper
// continues from it.
func Serve(ctx context.Context, args []string, ready *os.File, open OpenLinks) error {
	debug.SetMemoryLimit(8 << 20) // it has little to remember
	ns, starter, err := spawn.Begin(ready)
	if err == nil {
		defer ns.Close()
		err = serveArgs(ctx, args, ns, starter, open)
		switch {
		case errors.Is(err, errHeld):
			_ = starter.Ready("") // the other keeper is
			err = nil
		case errors.Is(err, errGone):
			starter.Refuse(fault.New(fault.Gone, "keep leases of", "the guest", "%w", err))
		case err != nil:
			starter.Refuse(err)
		}
		starter.Close()
	}
	return explain("keep leases of", "the guest", err)
}

func serveArgs(ctx context.Context, args []string, ns *os.File, starter *spawn.Starter, open OpenLinks) error {
	if len(args) != 3 {
		return errors.New("a keeper has three arguments")
	}
	pid, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	k, err := newKeeper(args[0], Guest{Namespace: ns, PID: pid, Path: args[2]}, open)
	if err != nil {
		return err
	}
	_ = starter.Ready("")
	stop := starter.WhenGone(func() {
		starter.Close()
		k.endIfIdle()
	})
	defer stop()
	spawn.Rest()
	return k.run(ctx)
}
