package main

// set --for. Two processes know how it was before, and each sets it back if the
// other one is killed: the command, which waits, and one that it has started before the
// change.

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/reconcile"
	"github.com/gopipework/gopipework/internal/spawn"
	"github.com/urfave/cli/v2"
)

const (
	setBackWord = "--set-back-when-gone" // starts the process, as the first argument of this program

	longestFor = 24 * time.Hour
)

var forFlag = &cli.DurationFlag{Name: "for", Usage: "wait for `DURATION`, and then set it back; so does an interruption, and the end of this program however it comes about", DefaultText: "it stays"}

// setBack is what the process is told.
type setBack struct {
	Guest guests.GuestInfo `json:"guest"`
	Words attach.SetWords  `json:"words"`
}

// do sets it back. The guest may have ended meanwhile, and the interface with it.
func (b setBack) do(g *attach.Guest) error {
	s, err := attach.ParseSet(g.Word(), b.Words)
	if err == nil {
		_, err = attach.Set(context.Background(), s, g, attach.Options{Keeper: "/proc/self/exe"})
	}
	if code := fault.CodeOf(err); code == fault.NotFound || code == fault.Gone {
		return nil
	}
	return err
}

// setBackHelper returns what the process does; nil: this is none.
func setBackHelper(argv []string) func(ctx context.Context, out *os.File) error {
	if len(argv) != 3 || argv[1] != setBackWord {
		return nil
	}
	return func(ctx context.Context, out *os.File) error {
		ns, starter, err := spawn.Begin(out)
		if err != nil {
			return err
		}
		defer ns.Close()
		var b setBack
		if err := json.Unmarshal([]byte(argv[2]), &b); err != nil {
			starter.Refuse(err)
			return err
		}
		_ = starter.Ready("")
		gone := make(chan struct{})
		stop := starter.WhenGone(func() { close(gone) })
		defer stop()
		spawn.Rest()
		select {
		case <-ctx.Done(): // it has been set back, or was not changed
			return nil
		case <-gone:
			return b.do(guests.New(b.Guest, ns, nil))
		}
	}
}

// setFor changes an attachment, waits, and sets it back.
func (o *output) setFor(c *cli.Context, s attach.SetSpec, g *attach.Guest, opt attach.Options) error {
	within := c.Duration("for")
	if within <= 0 || within > longestFor {
		return fault.BadWord("read flag", "--for", "it must be longer than 0s, and no longer than %s", longestFor)
	}
	back, err := backOf(c.Context, s, g)
	if err != nil {
		return err
	}
	if opt.DryRun {
		r, err := attach.Set(c.Context, s, g, opt)
		if err == nil && len(r.Steps) > 0 {
			r.Steps = append(r.Steps, fmt.Sprintf("# after %s, set it back", within))
		}
		return o.resultUnless(err, r, true)
	}
	told, err := json.Marshal(back)
	if err != nil {
		return err
	}
	p, err := spawn.Program{
		Command: []string{"/proc/self/exe", setBackWord, string(told)}, Env: os.Environ(), Namespace: g.Namespace, Within: 10 * time.Second,
	}.Start(c.Context)
	if p != nil {
		defer p.End(time.Second)
	}
	if err != nil {
		return fault.New(fault.Failed, "arrange for", "--for", "%w", err)
	}
	r, err := attach.Set(c.Context, s, g, opt)
	if err != nil || !r.Changed {
		return o.resultUnless(err, r, false)
	}
	err = o.result(r, false, true)
	if err == nil {
		o.say("until %s; an interruption ends it now", time.Now().Add(within).Format(time.TimeOnly))
		select {
		case <-time.After(within):
		case <-c.Context.Done():
			err, o.stands = context.Cause(c.Context), "it was set back"
		}
	}
	if backErr := back.do(g); backErr != nil {
		return &fault.Error{
			Code: fault.Residue, Op: "set back", Object: s.IfName + " of " + g.Name, Err: backErr,
			Residue: []string{"what set has changed"},
		}
	}
	return err
}

// resultUnless prints the result of a set, unless there is an error.
func (o *output) resultUnless(err error, r attach.Result, dryRun bool) error {
	if err != nil {
		return err
	}
	return o.result(r, dryRun, true)
}

// backOf returns what sets an attachment back.
func backOf(ctx context.Context, s attach.SetSpec, g *attach.Guest) (setBack, error) {
	r, err := attach.List(ctx, g, attach.Options{})
	if err != nil {
		return setBack{}, err
	}
	n := slices.IndexFunc(r.Attachments, func(a attach.Attachment) bool { return a.Interface.Name == s.IfName })
	if n < 0 {
		return setBack{}, fault.New(fault.NotFound, "set", s.IfName+" of "+g.Name, "there is no such attachment").WithHint("gopipework list %s", g.Word())
	}
	return setBack{g.GuestInfo, reconcile.SetBack(s, r.Attachments[n])}, nil
}
