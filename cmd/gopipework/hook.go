package main

import (
	"cmp"
	"context"
	"os"
	"time"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/dockerutil"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/labels"
	"github.com/gopipework/gopipework/internal/oci"
	"github.com/gopipework/gopipework/internal/policy"
	"github.com/urfave/cli/v2"
)

const hookName = "hook"

// hookTimeout is how long the start of a container can be held up.
const hookTimeout = 10 * time.Second

// usualPath is where the programs of a host are. A runtime need not tell a hook.
const usualPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

func (o *output) hookEntry() *cli.Command {
	return &cli.Command{
		Name:   hookName,
		Usage:  "what an OCI runtime such as runc runs before a container's first process: attach what the container asks for by annotations or labels, and the policy allows",
		Flags:  []cli.Flag{policyFlag, hookTimeoutFlag(), dryRunFlag},
		Action: o.hookCommand,
	}
}

func hookTimeoutFlag() cli.Flag {
	return &cli.DurationFlag{Name: "timeout", Usage: "give up after `DURATION` and undo; the container then does not start", DefaultText: hookTimeout.String()}
}

func (o *output) hookCommand(c *cli.Context) error {
	if _, err := words(c, 0, 0); err != nil {
		return err
	}
	opt, err := o.options(c)
	if err != nil {
		return err
	}
	if isTerminal(os.Stdin) {
		return fault.BadWord("read", "the state of a container", "standard input is a terminal").
			WithHint("an OCI runtime runs gopipework hook, and writes the state to its standard input")
	}
	state, err := oci.ReadState(os.Stdin)
	if err != nil || state.PID == 0 {
		return err
	}
	if os.Getenv("PATH") == "" {
		os.Setenv("PATH", usualPath)
	}
	opt.Timeout = cmp.Or(opt.Timeout, hookTimeout)
	ctx, cancel := context.WithTimeout(c.Context, opt.Timeout)
	defer cancel()
	asks, err := asksFor(ctx, state)
	if err == nil && len(asks.Keys()) > 0 {
		err = o.hook(ctx, c, state, asks, opt)
	}
	return stopped(c.Context, err)
}

// asksFor returns what a container asks for: by its annotations or, if it has none of ours and
// Docker runs it, by its labels. Docker also tells its name.
func asksFor(ctx context.Context, s oci.State) (labels.Container, error) {
	g, err := s.Guest()
	asks := labels.Container{Runtime: g.Runtime, ID: g.ID, Name: g.Name, Labels: s.Annotations, Annotated: true}
	annotated := len(asks.Keys()) > 0
	switch {
	case err != nil && annotated:
		return asks, err
	case g.Runtime == oci.CRI:
		p := s.Pod()
		asks.Member = policy.Member{Of: policy.Kubernetes, Group: p.Namespace, Name: p.Name}
		return asks, nil
	case g.Runtime != oci.Docker:
		return asks, nil
	}
	c, err := dockerutil.NewLabels(labels.Prefix).Of(ctx, g.ID, s.Rootfs(), annotated)
	if err != nil {
		return asks, err
	}
	asks.Name, asks.Member = c.Name, memberOf(c)
	if !annotated {
		asks.Labels, asks.Annotated = c.Labels, false
	}
	return asks, nil
}

// hook attaches what a container asks for: all of it, or nothing.
func (o *output) hook(ctx context.Context, c *cli.Context, s oci.State, asks labels.Container, opt attach.Options) error {
	p, err := readPolicy(c)
	if err != nil {
		return err
	}
	all, err := allowed(asks, p)
	if err != nil {
		return err
	}
	g, err := dockerutil.OpenProcess(s.PID, attach.GuestInfo{Runtime: asks.Runtime, ID: asks.ID, Name: asks.Name})
	if err != nil {
		return err
	}
	defer g.Close()
	opt.Origin = asks.Origin()
	made, err := attachAll(ctx, all, g, opt)
	if err != nil {
		return err
	}
	for _, r := range made {
		if err := o.result(r, opt.DryRun, true); err != nil {
			return err
		}
	}
	return nil
}
