package main

// set --for. Two processes know how it was before, and each sets it back if the
// other one is killed: the command, which waits, and one that it has started before the
// change. Neither holds the guest's namespace meanwhile: it goes with the guest.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/reconcile"
	"github.com/gopipework/gopipework/internal/spawn"
	"github.com/urfave/cli/v2"
)

const (
	setBackWord = "--set-back-when-gone" // starts the process, as the first argument of this program

	longestFor = 24 * time.Hour
)

var forFlag = &cli.DurationFlag{Name: "for", Usage: "make the change for `DURATION`, then set it back; an interruption, or the end of this program however it comes about, sets it back at once", DefaultText: "it stays"}

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
		var r reconcile.Reversal
		if err = json.Unmarshal([]byte(argv[2]), &r); err == nil {
			var alone net.Listener
			if alone, err = onlyOne(r); err == nil {
				defer alone.Close()
			}
		}
		if err != nil {
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
			_, err := r.Do(context.Background(), attach.Options{Keeper: "/proc/self/exe"})
			return err
		}
	}
}

// onlyOne refuses a second change of an interface for a limited time: how it is before that
// is not how it is to be in the end. The kernel lets the name go with the process.
func onlyOne(r reconcile.Reversal) (net.Listener, error) {
	l, err := net.Listen("unix", fmt.Sprintf("@gopipework-set-for-%d-%d", r.Guest.NetNS, r.Index))
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fault.New(fault.Conflict, "set", r.Before.IfName+" of "+r.Guest.Name, "another set --for has changed it for a limited time")
	}
	return l, err
}

// setFor changes an attachment, waits, and sets it back.
func (o *output) setFor(c *cli.Context, s attach.SetSpec, g *attach.Guest, opt attach.Options) error {
	within := c.Duration("for")
	if within <= 0 || within > longestFor {
		return fault.BadWord("read flag", "--for", "it must be longer than 0s, and no longer than %s", longestFor)
	}
	if s.Antispoof != nil && !*s.Antispoof {
		return fault.New(fault.Usage, "set", s.IfName+" of "+s.Guest, "--antispoof off cannot be set back: by then the guest may have taken other addresses").
			WithHint("leave --for out, and attach it again with --antispoof and --replace afterwards")
	}
	back, err := reconcile.PlanReversal(c.Context, s, g, opt)
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
	p, err := startSetBack(c.Context, back)
	if p != nil {
		defer p.End(time.Second)
	}
	if err != nil {
		return err
	}
	r, err := attach.Set(c.Context, s, g, opt)
	if err != nil || !r.Changed {
		return o.resultUnless(err, r, false)
	}
	g.Close() // its namespace ends with it
	o.say("until %s; an interruption ends it now", time.Now().Add(within).Format(time.TimeOnly))
	select {
	case <-time.After(within):
	case <-c.Context.Done():
		err, o.stands = context.Cause(c.Context), "it was set back"
	}
	left, backErr := back.Do(context.WithoutCancel(c.Context), attach.Options{Keeper: opt.Keeper})
	switch code := fault.CodeOf(backErr); {
	case code == fault.Gone || code == fault.NotFound:
		o.stands = "there was nothing left to set back"
		r.Warnings = append(r.Warnings, fmt.Sprintf("nothing was set back: %v", backErr))
	case backErr != nil:
		return &fault.Error{Code: fault.Residue, Op: "set back", Object: s.IfName + " of " + g.Name, Err: backErr, Residue: []string{back.Command()}}
	case len(left) > 0:
		r.Warnings = append(r.Warnings, "somebody has changed it meanwhile, so it stays: "+strings.Join(left, ", "))
	}
	if err != nil {
		o.warn(r.Warnings)
	}
	return o.resultUnless(err, r, false)
}

// startSetBack starts the process.
func startSetBack(ctx context.Context, back reconcile.Reversal) (*spawn.Process, error) {
	told, err := json.Marshal(back)
	if err != nil {
		return nil, err
	}
	ns, err := os.Open("/proc/self/ns/net") // the host's
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	p, err := spawn.Program{
		Command: []string{"/proc/self/exe", setBackWord, string(told)}, Env: os.Environ(), Namespace: ns, Within: 10 * time.Second,
	}.Start(ctx)
	var no spawn.Report
	switch {
	case err == nil:
		return p, nil
	case errors.As(err, &no) && no.Code == fault.Conflict:
		op := "set " + back.Before.IfName + " of " + back.Guest.Name
		return p, fault.New(no.Code, "set", back.Before.IfName+" of "+back.Guest.Name, "%s", strings.TrimPrefix(no.Text, op+": ")).WithHint("end that one first: an interruption sets it back")
	}
	return p, fault.New(fault.Failed, "start", "the process that sets it back", "%w", err)
}

// resultUnless prints the result of a set, unless there is an error.
func (o *output) resultUnless(err error, r attach.Result, dryRun bool) error {
	if err != nil {
		return err
	}
	return o.result(r, dryRun, true)
}
