package main

// apply --confirm, and confirm.
//
// Before the first change, apply writes down how each item is undone, and starts a
// process that does it: the person at the terminal may be reached over what is changed. Its
// clock begins when apply is done, or has died. It alone decides between a confirmation and
// the end of the time, so that both cannot happen.

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/dockerutil"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/reconcile"
	"github.com/gopipework/gopipework/internal/rundir"
	"github.com/gopipework/gopipework/internal/spawn"
	"github.com/urfave/cli/v2"
)

const (
	confirmDir = "/run/gopipework-confirm"
	recordEnd  = ".json"
	socketEnd  = ".sock"
	undoWord   = "--undo-unless-confirmed" // starts the process, as the first argument of this program

	shortestConfirm, longestConfirm = time.Second, 24 * time.Hour
)

var confirmFlag = &cli.DurationFlag{Name: "confirm", Usage: "undo the change unless gopipework confirm follows within `DURATION`", DefaultText: "do not"}

// record is a change that waits for its confirmation, or that was undone. Everything in
// it is for this program; the file goes when the change is confirmed.
type record struct {
	Names []string         `json:"names"` // of the topologies
	For   time.Duration    `json:"for"`
	Until time.Time        `json:"until,omitzero"` // the zero time: apply is at work
	Backs []reconcile.Back `json:"backs"`
	Taken time.Time        `json:"taken,omitzero"` // when it was undone
	Lost  []string         `json:"lost,omitempty"` // what could not be restored then
}

// name is that of the record's file.
func (r record) name() string { return r.Names[0] }

// confirmation is what an apply with --confirm has to do with its record.
type confirmation struct {
	record  record
	dir     *rundir.Dir
	process *spawn.Process
	backs   map[string]int // in the record, by the keys of the items that change something
}

// records reads what waits, or was undone, in the order of the names.
func records() (all []record, err error) {
	err = rundir.View(confirmDir, func(d *rundir.Dir) error {
		names, err := d.Names(recordEnd)
		for _, n := range names {
			var r record
			if rerr := d.Read(n, &r); rerr == nil && len(r.Names) > 0 {
				all = append(all, r)
			} else if !errors.Is(rerr, fs.ErrNotExist) {
				err = cmp.Or(err, fmt.Errorf("read %s/%s: it is no record of a change: remove it: %w", confirmDir, n, rerr))
			}
		}
		return err
	})
	return all, err
}

// refusePending refuses to change what a change that waits for its confirmation is about: to
// undo that would undo both.
func (r *reconciliation) refusePending() error {
	all, err := records()
	if err != nil {
		return fault.New(fault.Failed, r.op, r.name(), "%w", err)
	}
	for _, one := range all {
		for _, l := range r.lists {
			if one.Taken.IsZero() && slices.Contains(one.Names, l.name) {
				return fault.New(fault.Conflict, r.op, r.name(), "a change of %s waits for its confirmation", l.name).
					WithHint("gopipework confirm %s keeps it; gopipework confirm --undo %s undoes it", l.name, l.name)
			}
		}
	}
	return nil
}

// planBack plans how the difference is undone, and says what cannot be.
func (r *reconciliation) planBack(within time.Duration) *confirmation {
	c := &confirmation{record: record{For: within}, backs: map[string]int{}}
	for _, l := range r.lists {
		c.record.Names = append(c.record.Names, l.name)
	}
	write := func(ends ...attach.Attachment) ([]string, error) {
		var words []string
		if len(ends) == 2 {
			words = importedLink(ends[0], ends[1], func(string, ...any) {})
			_, err := grammar().Link(words)
			return words, err
		}
		s, _ := reconcile.Asked(ends[0])
		words = attachLine(s)
		_, err := grammar().Attach(words)
		return words, err
	}
	for _, i := range r.difference.Items {
		b, lost, does := i.Back(write)
		for _, what := range lost {
			r.warnings = append(r.warnings, "cannot be undone: "+what)
		}
		if does {
			c.backs[itemKey(i)] = len(c.record.Backs)
			c.record.Backs = append(c.record.Backs, b)
		}
	}
	return c
}

// itemKey tells an item from the others.
func itemKey(i reconcile.Item) string { return changeOf(i, reconcile.Outcome{}).key() }

// arm writes the record and starts the process, unless another apply has.
func (r *reconciliation) arm(ctx context.Context, c *confirmation) error {
	fail := func(err error) error {
		c.drop()
		return fault.New(fault.Failed, "arrange for", "--confirm", "%w", err).WithHint("without --confirm, the change stands at once")
	}
	lock, err := rundir.Open(confirmDir, true)
	if err != nil {
		return fail(err)
	}
	defer lock.Leave()
	if err := lock.Lock(ctx); err != nil {
		return fail(err)
	}
	if err := r.refusePending(); err != nil { // another apply may have come before
		return err
	}
	if c.dir, err = rundir.Open(confirmDir, true); err != nil {
		return fail(err)
	}
	if err := c.dir.Write(c.record.name()+recordEnd, c.record); err != nil {
		return fail(err)
	}
	ns, err := os.Open("/proc/self/ns/net")
	if err != nil {
		return fail(err)
	}
	defer ns.Close()
	c.process, err = spawn.Program{
		Command: []string{"/proc/self/exe", undoWord, c.record.name()}, Env: os.Environ(), Namespace: ns, Within: 10 * time.Second,
	}.Start(ctx)
	if err != nil {
		if c.process != nil {
			c.process.End(time.Second)
		}
		return fail(err)
	}
	return nil
}

// drop removes the record.
func (c *confirmation) drop() {
	if c.dir == nil {
		return
	}
	for _, end := range []string{recordEnd, socketEnd} {
		_ = c.dir.Remove(c.record.name() + end)
	}
	c.dir.Close()
	c.dir = nil
}

// done notes that an item was carried out.
func (c *confirmation) done(i *reconcile.Item) error {
	n, does := c.backs[itemKey(*i)]
	if !does {
		return nil
	}
	c.record.Backs[n].Done = true
	return c.dir.Write(c.record.name()+recordEnd, c.record)
}

// begin starts the clock, and returns when the time ends.
func (c *confirmation) begin() time.Time {
	c.process.Close()
	c.dir.Leave()
	return time.Now().Add(c.record.For)
}

// cancel ends what was armed for a change that has changed nothing.
func (c *confirmation) cancel() {
	_, _ = c.record.ask(askConfirm)
	c.process.Close()
	c.dir.Close()
}

// What confirm asks the process, a word on a line. The answer is the record, as JSON.
const (
	askConfirm = "confirm"
	askUndo    = "undo"
)

// answerTime bounds how long an answer takes: to undo a thousand attachments does.
const answerTime = 10 * time.Minute

// ask asks the process about a record, and returns what became of it.
func (r record) ask(word string) (record, error) {
	d, err := rundir.Open(confirmDir, false)
	if err != nil {
		return record{}, err
	}
	defer d.Leave()
	conn, err := net.Dial("unix", d.InProc(r.name()+socketEnd))
	if err != nil {
		return record{}, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(answerTime))
	if _, err := fmt.Fprintln(conn, word); err != nil {
		return record{}, err
	}
	var answer record
	return answer, json.NewDecoder(conn).Decode(&answer)
}

// undoHelper returns what a process does that apply --confirm has started; nil: this is
// none.
func undoHelper(argv []string) func(ctx context.Context, out *os.File) error {
	if len(argv) != 3 || argv[1] != undoWord {
		return nil
	}
	signal.Ignore(syscall.SIGHUP) // the terminal may go
	return func(ctx context.Context, out *os.File) error { return awaitConfirm(ctx, argv[2], out) }
}

// awaitConfirm waits until the change is confirmed, and undoes it otherwise: when the
// time ends, when it is asked to, and when it is told to end.
func awaitConfirm(ctx context.Context, name string, out *os.File) error {
	ns, starter, err := spawn.Begin(out)
	if err != nil {
		return err
	}
	defer ns.Close()
	d, err := rundir.Open(confirmDir, false)
	if err != nil {
		starter.Refuse(err)
		return err
	}
	defer d.Close()
	_ = d.Remove(name + socketEnd) // of one that was killed
	listener, err := net.Listen("unix", d.InProc(name+socketEnd))
	if err != nil {
		starter.Refuse(err)
		return err
	}
	defer func() { listener.Close(); _ = d.Remove(name + socketEnd) }()
	var r record
	if err := d.Read(name+recordEnd, &r); err != nil {
		starter.Refuse(err)
		return err
	}
	_ = starter.Ready("")
	gone := make(chan struct{})
	stop := starter.WhenGone(func() { starter.Close(); close(gone) })
	defer stop()
	asked := make(chan question)
	go listen(listener, asked)
	var timeIsUp <-chan time.Time
	for {
		select {
		case <-gone:
			gone = nil
			timeIsUp = time.After(r.For)
			if err := d.Read(name+recordEnd, &r); err == nil {
				r.Until = time.Now().Add(r.For)
				_ = d.Write(name+recordEnd, r)
			}
			continue
		case q := <-asked:
			if q.word == askConfirm {
				_ = d.Remove(name + recordEnd)
				q.answer(r)
				return nil
			}
			if gone != nil {
				q.answer(r) // apply is at work
				continue
			}
			r = undoNow(d, r)
			q.answer(r)
			return nil
		case <-timeIsUp:
		case <-ctx.Done():
		}
		undoNow(d, r)
		return nil
	}
}

// question is a word that somebody has asked, and where the answer goes.
type question struct {
	word string
	conn net.Conn
}

func (q question) answer(r record) {
	_ = json.NewEncoder(q.conn).Encode(r)
	q.conn.Close()
}

// listen reads what is asked.
func listen(l net.Listener, asked chan<- question) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		_ = conn.SetDeadline(time.Now().Add(answerTime))
		word, err := bufio.NewReader(conn).ReadString('\n')
		if word = strings.TrimSpace(word); err != nil || word != askConfirm && word != askUndo {
			conn.Close()
			continue
		}
		asked <- question{word, conn}
	}
}

// undoNow undoes a change, and writes down what came of it.
func undoNow(d *rundir.Dir, r record) record {
	_ = d.Read(r.name()+recordEnd, &r) // apply has written since what was carried out
	// An engine that is being restarted is waited for.
	const patience, pause = 2 * time.Minute, time.Second
	waiting, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	h := reconcile.Host{
		Options: attach.Options{Keeper: "/proc/self/exe"},
		Find: func(ctx context.Context, word string) (*attach.Guest, error) {
			for {
				g, err := dockerutil.Find(ctx, word)
				if code := fault.CodeOf(err); err == nil || code != fault.Runtime && code != fault.Timeout {
					if err != nil {
						return nil, err
					}
					return g, nil
				}
				select {
				case <-waiting.Done():
					return nil, err
				case <-time.After(pause):
				}
			}
		},
	}
	r.Lost = h.Undo(context.Background(), grammar(), r.Backs)
	r.Taken = time.Now()
	_ = d.Write(r.name()+recordEnd, r)
	return r
}

func (o *output) confirmEntry() *cli.Command {
	return &cli.Command{
		Name:      "confirm",
		Usage:     "keep what apply --confirm has changed, which is undone otherwise",
		ArgsUsage: "[NAME]",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "undo", Usage: "undo the change at once"},
			jsonFlag,
		},
		Action: o.confirmCommand,
	}
}

func (o *output) confirmCommand(c *cli.Context) error {
	w, err := words(c, 0, 1)
	if err != nil {
		return err
	}
	r, err := recordOf(strings.TrimPrefix(strings.Join(w, ""), "file:"))
	if err != nil {
		return err
	}
	if r.Taken.IsZero() {
		if r, err = r.decide(o, c.Bool("undo")); err != nil {
			return err
		}
	} else if !c.Bool("undo") || len(r.Lost) > 0 {
		defer rundir.Drop(confirmDir, r.name()+recordEnd) // it has been told
		return r.wasTaken()
	} else {
		_ = rundir.Drop(confirmDir, r.name()+recordEnd)
	}
	if o.json {
		return o.document(map[string]any{"name": strings.Join(r.Names, ","), "confirmed": r.Taken.IsZero()})
	}
	return nil
}

// recordOf returns the record for a name; without one, the only one.
func recordOf(name string) (record, error) {
	all, err := records()
	if err != nil {
		return record{}, fault.New(fault.Failed, "confirm", name, "%w", err)
	}
	var names []string
	for _, r := range all {
		names = append(names, r.name())
	}
	if name != "" {
		all = slices.DeleteFunc(all, func(r record) bool { return !slices.Contains(r.Names, name) })
	}
	switch {
	case len(all) == 0:
		e := fault.New(fault.NotFound, "confirm", name, "no change waits for its confirmation")
		if len(names) > 0 {
			e.WithHint("those of %s do", strings.Join(names, ", "))
		}
		return record{}, e
	case len(all) > 1:
		return record{}, fault.New(fault.Usage, "confirm", "", "%d changes wait for their confirmation", len(all)).
			WithHint("gopipework confirm NAME, with one of %s", strings.Join(names, ", "))
	}
	return all[0], nil
}

// decide tells the process which of the two it is to be. If the process was killed, the change
// stands, and this is done here.
func (r record) decide(o *output, undo bool) (record, error) {
	word := askConfirm
	if undo {
		word = askUndo
	}
	answer, err := r.ask(word)
	for range 20 { // it was killed while it was asked, and soon its socket refuses
		if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) && !errors.Is(err, io.EOF) {
			break
		}
		time.Sleep(50 * time.Millisecond)
		answer, err = r.ask(word)
	}
	if all, _ := records(); err != nil { // its time may have come meanwhile
		for _, one := range all {
			if one.name() == r.name() && !one.Taken.IsZero() {
				_ = rundir.Drop(confirmDir, r.name()+recordEnd)
				return one, one.wasTaken()
			}
		}
	}
	switch {
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist):
		d, err := rundir.Open(confirmDir, true)
		if err != nil {
			return r, fault.New(fault.Failed, "confirm", r.name(), "%w", err)
		}
		defer d.Close()
		if undo {
			r = undoNow(d, r)
		} else {
			o.say("warning: the process that would have undone the change was killed")
		}
		_ = d.Remove(r.name() + recordEnd)
		_ = d.Remove(r.name() + socketEnd)
	case err != nil:
		return r, fault.New(fault.Failed, "confirm", r.name(), "%w", err).WithHint("try again")
	default:
		r = answer
		if undo && r.Taken.IsZero() {
			return r, fault.New(fault.Conflict, "confirm", r.name(), "apply is still at work").WithHint("try again when it is done")
		}
		if undo {
			_ = rundir.Drop(confirmDir, r.name()+recordEnd)
		}
	}
	if len(r.Lost) > 0 {
		return r, r.wasTaken()
	}
	return r, nil
}

// wasTaken is the error for a change that has been undone.
func (r record) wasTaken() error {
	e := fault.New(fault.Conflict, "confirm", strings.Join(r.Names, ","), "the change was undone at %s", r.Taken.Format(time.TimeOnly)).
		WithHint("the same apply makes it again")
	if len(r.Lost) > 0 {
		e.Code, e.Residue = fault.Residue, r.Lost
		e.Err = fmt.Errorf("%w; not all could be restored: %s", e.Err, strings.Join(r.Lost, "; "))
	}
	return e
}

// confirmed carries out a difference that is undone unless it is confirmed. What it
// prints waits until the clock runs: a terminal that is reached over what is changed may
// take nothing more.
func (r *reconciliation) confirmed(ctx context.Context, c *confirmation) error {
	if err := r.arm(ctx, c); err != nil {
		return err
	}
	stdout, stderr := r.out.stdout, r.out.stderr
	var result, log bytes.Buffer
	r.out.stdout, r.out.stderr = &result, &log
	var unwrittenErr error
	r.host.Do(ctx, r.difference, func(i *reconcile.Item, o reconcile.Outcome) {
		r.told(i, o)
		if o.Changed || fault.CodeOf(o.Err) == fault.Residue {
			unwrittenErr = cmp.Or(unwrittenErr, c.done(i))
		}
	})
	r.out.stdout, r.out.stderr = stdout, stderr
	if r.changed || len(r.failed) > 0 && fault.CodeOf(errors.Join(r.failed...)) == fault.Residue {
		until := c.begin()
		r.until = until
		_, _ = stderr.Write(log.Bytes())
		if !r.out.json {
			r.out.say("the change is undone at %s, unless it is confirmed: gopipework confirm %s", until.Format(time.TimeOnly), c.record.name())
		}
	} else {
		c.cancel()
		_, _ = stderr.Write(log.Bytes())
	}
	if unwrittenErr != nil {
		r.later = append(r.later, unwrittenErr.Error())
	}
	return r.finish(ctx)
}
