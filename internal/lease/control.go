package lease

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/gopipework/gopipework/internal/fault"
	"golang.org/x/sys/unix"
)

// A command is one JSON document each way on a connection of its own.
type command struct {
	Do    string `json:"do"` // keep, change, release, stop, look
	Index int    `json:"index,omitempty"`
	Keep  *Kept  `json:"keep,omitempty"`
}

type answerTo struct {
	Found bool   `json:"found"` // there was such an interface
	Error string `json:"error,omitempty"`
}

const maxCommand = 64 << 10

// commandTime bounds a command, from one end to the other.
var commandTime = 5 * time.Second

// errEnding is the error of a keeper that has nothing left to keep. It does not
// answer the command, and the sender starts another keeper.
var errEnding = errors.New("the keeper ends")

// serve reads one command and answers it.
func serve(c net.Conn, do func(command) (found bool, err error)) {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(commandTime))
	var cmd command
	if err := json.NewDecoder(io.LimitReader(c, maxCommand)).Decode(&cmd); err != nil {
		return
	}
	found, err := do(cmd)
	a := answerTo{Found: found}
	if errors.Is(err, errEnding) {
		return
	}
	if err != nil {
		a.Error = err.Error()
	}
	_ = json.NewEncoder(c).Encode(a)
}

// Keepers are the keepers of this machine, one for each guest that has a lease. They
// are started when they are needed, and end by themselves.
type Keepers struct {
	Dir     string   // where they have their files: /run/gopipework
	Command []string // what starts the process of one: this program, and the word for it
	Pool    *Pool    // where those begin that are started here; nil: each is a process
}

const opKeep = "keep lease of"

// Keep passes a lease to the guest's keeper, and starts a keeper if none runs. The
// interface already has the address ([Lease.Apply]). A lease that was kept for the same
// interface is replaced.
func (k Keepers) Keep(ctx context.Context, g Guest, a Ask, l Lease) error {
	_, err := k.ask(ctx, g, true, command{Do: "keep", Keep: &Kept{Guest: g.Word, Ask: a, Lease: &l}})
	return explain(opKeep, a.IfName, err)
}

// Change has a lease that is kept be asked for as a says from now on. The interface
// already has what follows from that.
func (k Keepers) Change(ctx context.Context, g Guest, a Ask) error {
	found, err := k.ask(ctx, g, false, command{Do: "change", Keep: &Kept{Ask: a}})
	if err == nil && !found {
		err = errors.New("nobody keeps one")
	}
	return explain(opKeep, a.IfName, err)
}

// Release releases the lease of an interface, and deletes the address. It says
// whether there was one.
func (k Keepers) Release(ctx context.Context, g Guest, index int) (bool, error) {
	found, err := k.ask(ctx, g, false, command{Do: "release", Index: index})
	return found, explain("release lease of", fmt.Sprintf("interface %d", index), err)
}

// Wake starts the guest's keeper again if it was killed. Where nothing is kept
// it does nothing.
func (k Keepers) Wake(ctx context.Context, g Guest) error {
	_, err := k.ask(ctx, g, false, command{Do: "look"})
	return explain(opKeep, "the guest", err)
}

// Stop ends the guest's keeper and leaves everything as it is: addresses until
// their leases end, and the record for the next keeper.
func (k Keepers) Stop(ctx context.Context, g Guest) error {
	_, err := k.ask(ctx, g, false, command{Do: "stop"})
	return explain(opKeep, "the guest", err)
}

// List says what is kept for the guest. It changes nothing, and starts nothing.
func (k Keepers) List(g Guest) ([]Kept, error) {
	if _, err := os.Stat(k.Dir); errors.Is(err, os.ErrNotExist) {
		return nil, nil // nothing was ever kept here
	}
	id, err := g.identity()
	if err != nil {
		return nil, explain("read leases of", "the guest", err)
	}
	return k.Look(id.Cookie)
}

// Look is List for a namespace that is known by its cookie.
func (k Keepers) Look(cookie uint64) ([]Kept, error) {
	s, err := lookStore(k.Dir)
	var r record
	if err == nil {
		defer s.Leave()
		r, err = s.load(cookie)
	}
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, explain("read leases of", "the guest", err)
	}
	if !s.listens(cookie) && !s.changesHands() && !s.listens(cookie) {
		for i := range r.Interfaces {
			r.Interfaces[i].Unkept = true
		}
	}
	return r.Interfaces, nil
}

// changesHands reports whether a pool runs: it is about to keep what nobody keeps, or to
// start a keeper for it.
func (s *store) changesHands() bool {
	f, err := s.Open(poolLock, unix.O_RDWR)
	if err != nil {
		return false
	}
	defer f.Close()
	return errors.Is(unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB), unix.EWOULDBLOCK)
}

// listens reports whether there is a keeper. If that cannot be found out, it says that
// there is one.
func (s *store) listens(cookie uint64) bool {
	c, err := net.DialUnix("unix", nil, s.socketPath(cookie))
	if err == nil {
		c.Close()
	}
	return err == nil || !nobodyListens(err)
}

func explain(op, object string, err error) error {
	if err == nil {
		return nil
	}
	code := fault.CodeOfCause(err)
	if errors.Is(err, errGone) {
		code = fault.Gone
	}
	return fault.New(code, op, object, "%w", err)
}

func (k Keepers) with(g Guest, f func(*store, identity) error) error {
	id, err := g.identity()
	if err != nil {
		return err
	}
	s, err := openStore(k.Dir)
	if err != nil {
		return err
	}
	defer s.Close()
	return f(s, id)
}

// ask gives the guest's keeper a command. If none runs it is started first:
// with start in any case, else only to go on with what a killed one kept.
func (k Keepers) ask(ctx context.Context, g Guest, start bool, cmd command) (found bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	err = k.with(g, func(s *store, id identity) error {
		for {
			a, err := s.tell(ctx, id.Cookie, cmd)
			if err == nil {
				found = a.Found
				if a.Error != "" {
					return errors.New(a.Error)
				}
				return nil
			}
			if !nobodyListens(err) {
				return err
			}
			if _, err := s.load(id.Cookie); !start && errors.Is(err, os.ErrNotExist) {
				return nil // there is nothing to go on with
			}
			starter, err := k.start(ctx, g, cmd)
			if err != nil {
				return err
			}
			defer starter.Close() // when it has the command
			if err := (bootClock{}).Sleep(ctx, again); err != nil {
				return err
			}
			if err := s.Reopen(); err != nil {
				return err
			}
		}
	})
	return found, err
}

// again is the pause before a keeper that is just beginning or ending is asked once more.
const again = 2 * time.Millisecond

// nobodyListens reports whether there is no keeper, or it ended before it read the
// command.
func nobodyListens(err error) bool {
	for _, e := range []error{os.ErrNotExist, unix.ECONNREFUSED, unix.ECONNRESET, unix.EPIPE, io.EOF, io.ErrUnexpectedEOF} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func (s *store) tell(ctx context.Context, cookie uint64, cmd command) (answerTo, error) {
	var a answerTo
	c, err := (&net.Dialer{}).DialContext(ctx, "unix", s.socketPath(cookie).Name)
	if err != nil {
		return a, err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := json.NewEncoder(c).Encode(cmd); err != nil {
		return a, err
	}
	err = json.NewDecoder(io.LimitReader(c, maxCommand)).Decode(&a)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return a, err
}
