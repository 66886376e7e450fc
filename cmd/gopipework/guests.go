package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/dockerutil"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/urfave/cli/v2"
)

// withGuest calls do with the guest that word names. See withGuests.
func (o *output) withGuest(c *cli.Context, word string, do func(context.Context, *attach.Guest, attach.Options) error) error {
	return o.withGuests(c, []string{word}, func(ctx context.Context, g []*attach.Guest, opt attach.Options) error {
		return do(ctx, g[0], opt)
	})
}

// withGuests finds the guests that words name and calls do with them and the options of
// the command. Finding them counts against the timeout. With --await it waits for them
// first, which does not; and again, if one of them has died meanwhile.
func (o *output) withGuests(c *cli.Context, words []string, do func(context.Context, []*attach.Guest, attach.Options) error) error {
	opt, err := o.options(c)
	if err != nil {
		return err
	}
	if !slices.Contains(given(c), "await") {
		return o.withThose(c, words, dockerutil.Find, opt, do)
	}
	await := c.Duration("await")
	if await <= 0 {
		return fault.BadWord("read flag", "--await", "it must be longer than 0s").WithHint("--await 30s")
	}
	ctx, cancel := context.WithTimeout(c.Context, await)
	defer cancel()
	find := func(_ context.Context, word string) (*attach.Guest, error) {
		if opt.Step != nil {
			opt.Step("# wait until " + word + " runs")
		}
		return dockerutil.Await(ctx, word)
	}
	for {
		died := false
		err := o.withThose(c, words, find, opt, func(ctx context.Context, g []*attach.Guest, opt attach.Options) error {
			err := do(ctx, g, opt)
			died = err != nil && slices.ContainsFunc(g, func(g *attach.Guest) bool { return g.Alive() != nil })
			return err
		})
		if !died || fault.CodeOf(err) != fault.Gone || ctx.Err() != nil {
			return err
		}
	}
}

// withThose is withGuests with the function that finds a guest.
func (o *output) withThose(c *cli.Context, words []string, find func(context.Context, string) (*attach.Guest, error), opt attach.Options, do func(context.Context, []*attach.Guest, attach.Options) error) error {
	ctx, start := c.Context, time.Now()
	if opt.Timeout > 0 {
		var cancel func()
		ctx, cancel = context.WithTimeout(ctx, opt.Timeout)
		defer cancel()
	}
	var guests []*attach.Guest
	for _, word := range words {
		g, err := find(ctx, word)
		if err != nil {
			return stopped(c.Context, err)
		}
		defer g.Close()
		o.doubt(g)
		guests = append(guests, g)
	}
	if opt.Timeout > 0 && !slices.Contains(given(c), "await") {
		opt.Timeout = max(opt.Timeout-time.Since(start), time.Millisecond)
	}
	return stopped(c.Context, do(c.Context, guests, opt))
}

// options reads the flags that control a run.
func (o *output) options(c *cli.Context) (attach.Options, error) {
	// /proc/self/exe is this program even if its file has been replaced or deleted.
	opt := attach.Options{DryRun: c.Bool("dry-run"), Timeout: c.Duration("timeout"), Keeper: "/proc/self/exe"}
	if slices.Contains(given(c), "timeout") && opt.Timeout <= 0 {
		return opt, fault.BadWord("read flag", "--timeout", "it must be longer than 0s").WithHint("--timeout 30s")
	}
	opt.Step = func(step string) {
		o.caught() // there was nothing to undo before
		if !strings.HasPrefix(step, "#") {
			o.stands = "it was undone"
		}
		if c.Bool("v") {
			o.step(step)
		}
	}
	return opt, nil
}

// stopped returns the signal that ended the context in place of the error that it led
// to. A residue is reported all the same.
func stopped(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); err != nil && cause != nil && fault.CodeOf(err) != fault.Residue {
		return cause
	}
	return err
}
