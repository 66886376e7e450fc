package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/dockerutil"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/shell"
	"github.com/urfave/cli/v2"
)

// attachCommand plugs a guest into a host interface.
func (o *output) attachCommand(c *cli.Context) error {
	w, err := attachWords(c)
	if err != nil {
		return err
	}
	spec, err := attach.Parse(w)
	if err != nil {
		return misspelt(c.Args().Slice(), err)
	}
	return o.withGuest(c, spec.Guest, func(ctx context.Context, g attach.Guest, hostNS *os.File, opt attach.Options) error {
		r, err := attach.Attach(ctx, spec, g, hostNS, opt)
		if err != nil {
			return err
		}
		if name := r.Attachments[0].Interface.Name; c.Bool("v") && g.Joined && g.Runtime == dockerutil.RuntimeDocker && strings.HasPrefix(name, "eth") {
			o.say("hint: docker network connect takes the first ethN that Docker has not used itself, and fails while that is our %s: another name, such as -i lan0, keeps out of its way", name)
		}
		return o.result(r, opt.DryRun, true)
	})
}

// attachWords puts the words of the line where they belong.
func attachWords(c *cli.Context) (attach.Words, error) {
	line := c.Args().Slice()
	if len(line) < 3 || len(line) > 4 {
		return attach.Words{}, miscounted(line, c.StringSlice("route"))
	}
	line = append(line, "")
	w := attach.Words{
		HostIF: line[0], Guest: line[1], Address: line[2], MAC: line[3],
		IfName: c.String("i"), HostName: c.String("l"), Family: c.String("a"),
		MTU: c.String("mtu"), Mode: c.String("mode"),
		Default: c.String("default"), Metric: c.String("metric"), DNS: c.String("dns"), Routes: c.StringSlice("route"), SourceRouting: c.Bool("source-routing"),
		DirectPhys: c.Bool("direct-phys"), ForcePhys: c.Bool("force-phys"), HostAccess: c.Bool("host-access"), ACD: c.Bool("acd"), Verify: c.Bool("verify"), NoDAD: c.Bool("nodad"),
		VLANFiltering: c.Bool("vlan-filtering"), NoFirewall: c.Bool("no-firewall"),
	}
	if err := noneEmpty(c, "i", "l", "a", "mtu", "mode", "default", "metric", "dns"); err != nil {
		return w, err
	}
	var err error
	if w.Shape, err = shapeWords(c); err != nil {
		return w, err
	}
	if strings.Contains(w.Guest, "/") && strings.Count(w.Address, "/") == 0 && !strings.HasPrefix(w.Guest, "/") {
		return w, fault.BadWord("read guest", w.Guest, "it looks like the address, which comes after the guest").
			WithHint("gopipework %s", shell.Line([]string{w.HostIF, w.Address, w.Guest, w.MAC}))
	}
	return w, nil
}

// miscounted answers a line that has too few or too many words to be an
// attach: perhaps it was meant to be another command, or a route has blanks.
func miscounted(line, routes []string) error {
	e := fault.BadWord("read words", strings.Join(line, " "), "an attach takes HOSTIF GUEST ADDRESS[@GATEWAY] [MAC][@VLAN]")
	if len(line) > 0 && len(line) < 3 {
		if best := meantCommand(line[0]); best != "" && best != attachName {
			return e.WithHint("gopipework %s", shell.Line(append([]string{best}, line[1:]...)))
		}
	}
	for i, word := range line {
		if len(routes) > 0 && word == "via" && i+1 < len(line) {
			return e.WithHint("a route is one word: --route '%s,via %s'", routes[len(routes)-1], line[i+1])
		}
	}
	switch {
	case len(line) == 2 && strings.Contains(line[1], "/") && !strings.HasPrefix(line[1], "/"):
		return e.WithHint("gopipework brtest %s, on a bridge brtest", shell.Line(line))
	case len(line) == 2:
		return e.WithHint("gopipework %s 192.168.1.2/24", shell.Line(line))
	}
	return e.WithHint("gopipework help")
}

// misspelt answers a line of another command, of three or four words, whose first
// word has a typing error: what would be the address does not look like one.
func misspelt(line []string, err error) error {
	var e *fault.Error
	best := meantCommand(line[0])
	if best == "" || strings.ContainsAny(line[2], "./:") || !errors.As(err, &e) {
		return err
	}
	return e.WithHint("gopipework %s", shell.Line(append([]string{best}, line[1:]...)))
}

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

// step prints a step for -v, as the shell's -x does.
func (o *output) step(s string) {
	for line := range strings.Lines(s) {
		fmt.Fprintln(o.stderr, "+ "+clean(strings.TrimSuffix(line, "\n")))
	}
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
