package report

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"path/filepath"
	"time"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/rundir"
	"golang.org/x/sys/unix"
)

// ErrNoWatch is in the error of a question that nobody is there to answer.
var ErrNoWatch = errors.New("no watch is running")

// ask connects to the watch and asks. Without one that takes no time.
func ask(ctx context.Context, dir, question string) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", filepath.Join(dir, socketName))
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ECONNREFUSED) {
		return nil, ErrNoWatch
	}
	if err != nil {
		return nil, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		_ = c.SetDeadline(deadline)
	}
	if _, err := io.WriteString(c, question+"\n"); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// AskMissing asks the running watch what is wanted and not there, until ctx is done.
func AskMissing(ctx context.Context) ([]Event, error) { return askMissingIn(ctx, rundir.Path) }

func askMissingIn(ctx context.Context, dir string) (all []Event, err error) {
	c, err := ask(ctx, dir, askMissing)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return all, json.NewDecoder(c).Decode(&all)
}

// Follow calls tell with the line of each event, until ctx is done, tell returns an error, or
// the watch has dropped this reader. A watch has to be there at first. If it ends, tell is
// told so, and again when there is one; what happened since that one started comes next.
func Follow(ctx context.Context, tell func(line []byte) error) error {
	return followIn(ctx, rundir.Path, tell)
}

// again is how often Follow looks for a watch that has ended.
const again = 200 * time.Millisecond

func followIn(ctx context.Context, dir string, tell func([]byte) error) error {
	for question := askEvents; ; question = askAll {
		c, err := ask(ctx, dir, question)
		switch {
		case errors.Is(err, ErrNoWatch) && question == askEvents:
			return fault.New(fault.NotFound, "follow", "watch", "%w", err).
				WithHint("systemctl start gopipework, or run gopipework watch")
		case errors.Is(err, ErrNoWatch):
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-time.After(again):
			}
			continue
		case err != nil && ctx.Err() == nil:
			return fault.Explain("follow", "watch", err)
		}
		if err == nil {
			err = read(ctx, c, tell)
		}
		if err = errors.Join(err, context.Cause(ctx)); err != nil {
			return err
		}
		if err := tell(Event{Time: time.Now(), Kind: Watch, State: Down}.encode()); err != nil {
			return err
		}
	}
}

// read reads events until the watch ends. That is no error.
func read(ctx context.Context, c net.Conn, tell func([]byte) error) error {
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	in := bufio.NewReader(c)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return nil // what there is of a line was cut short with the watch
		}
		if err := tell(line); err != nil {
			return err
		}
		var e Event
		if err := json.Unmarshal(line, &e); err == nil && e.Kind == Dropped {
			return fault.New(fault.Limit, "follow", "watch", "%s", e.Reason).
				WithHint("let what reads the events write them to a file first")
		}
	}
}
