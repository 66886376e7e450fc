package main

import (
	"context"
	"os"
	"time"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/dockerutil"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/urfave/cli/v2"
)

// withGuest is withGuests for one.
func (o *output) withGuest(c *cli.Context, word string, do func(context.Context, attach.Guest, *os.File, attach.Options) error) error {
	return o.withGuests(c, []string{word}, func(ctx context.Context, g []attach.Guest, hostNS *os.File, opt attach.Options) error {
		return do(ctx, g[0], hostNS, opt)
	})
}

// withGuests finds the guests and calls do with all that a command which
// changes them needs.
func (o *output) withGuests(c *cli.Context, words []string, do func(context.Context, []attach.Guest, *os.File, attach.Options) error) error {
	opt, err := o.options(c)
	if err != nil {
		return err
	}
	ctx, start := c.Context, time.Now()
	if opt.Timeout > 0 {
		var cancel func()
		ctx, cancel = context.WithTimeout(ctx, opt.Timeout)
		defer cancel()
	}
	var guests []attach.Guest
	for _, word := range words {
		ref, err := dockerutil.Parse(word)
		if err != nil {
			return err
		}
		found, err := dockerutil.Find(ctx, ref)
		if err != nil {
			return stopped(c.Context, err)
		}
		defer found.Close()
		o.doubt(found)
		guests = append(guests, guestOf(found))
	}
	if opt.Timeout > 0 {
		opt.Timeout = max(opt.Timeout-time.Since(start), time.Millisecond)
	}
	return withHost(func(hostNS *os.File) error {
		if name := c.Command.Name; name != "list" && name != "wait" && !opt.DryRun {
			o.warnings = attach.WakeKeepers(ctx)
		}
		return stopped(c.Context, do(c.Context, guests, hostNS, opt))
	})
}

// withHost calls do with the network namespace that this process is in.
func withHost(do func(*os.File) error) error {
	hostNS, err := os.Open("/proc/self/ns/net")
	if err != nil {
		return fault.New(fault.Failed, "open", "this process's network namespace", "%w", err)
	}
	defer hostNS.Close()
	return do(hostNS)
}

// options reads the flags that say how a run is carried out.
func (o *output) options(c *cli.Context) (attach.Options, error) {
	opt := attach.Options{DryRun: c.Bool("dry-run"), Timeout: c.Duration("timeout")}
	if c.IsSet("timeout") && opt.Timeout <= 0 {
		return opt, fault.BadWord("read flag", "--timeout", "it must be longer than 0s").WithHint("--timeout 30s")
	}
	if c.Bool("v") {
		opt.Step = o.step
	}
	return opt, nil
}

// stopped prefers the signal that ended the context to what came of it, unless
// that is more than nothing.
func stopped(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); err != nil && cause != nil && fault.CodeOf(err) != fault.Residue {
		return cause
	}
	return err
}

// guestOf is where the two halves of the program meet: whose namespace it is,
// and what is done in it.
func guestOf(g *dockerutil.Guest) attach.Guest {
	return attach.Guest{
		GuestInfo: attach.GuestInfo{
			Runtime: g.Runtime, ID: g.ID, Name: g.Name, PID: g.PID, NetNS: g.Inode(), Path: g.Path, Shares: g.Shares,
			Published: g.Published, Joined: g.Joined,
		},
		Namespace: g.NetNS,
		Alive:     g.Alive,
	}
}
