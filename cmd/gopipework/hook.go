package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/dockerutil"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/labels"
	"github.com/gopipework/gopipework/internal/nsfs"
	"github.com/gopipework/gopipework/internal/oci"
	"github.com/gopipework/gopipework/internal/plainname"
	"github.com/gopipework/gopipework/internal/policy"
	"github.com/gopipework/gopipework/internal/shell"
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
	if err == nil {
		err = misnamed(asks.Info().Word(), state.Annotations)
	}
	if err == nil && len(asks.Keys()) > 0 {
		err = o.hook(ctx, c, state, asks, opt)
	}
	return stopped(c.Context, err)
}

// misnamed is the error for an annotation that has the name of a label: nobody reads it, and its
// container would start without what it asks for.
func misnamed(guest string, annotations map[string]string) error {
	for _, key := range slices.Sorted(maps.Keys(annotations)) {
		if ifName, is := strings.CutPrefix(key, labels.Prefix); is {
			if !plainname.Is(ifName) {
				ifName = "an interface"
			}
			return fault.New(fault.Failed, "attach", ifName+" to "+guest, "refused: %s is the name of a label, and this is an annotation", policy.Quote(key)).
				WithHint("call the annotation %s", policy.Quote("org."+key))
		}
	}
	return nil
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
	case g.Runtime == guests.RuntimeCRI:
		p := s.Pod()
		asks.Member = policy.Member{Of: policy.Kubernetes, Group: p.Namespace, Name: p.Name}
		return asks, nil
	case g.Runtime != guests.RuntimeDocker:
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
	g, err := dockerutil.OpenProcess(s.PID, asks.Info())
	if err != nil {
		if f := (*fault.Error)(nil); errors.As(err, &f) && f.Code == fault.Conflict { // it is in the host's
			f.Hint = fmt.Sprintf("its %s %s asks for an interface: remove that, as a container with the host's network (--network host) cannot have one", asks.Origin(), policy.Quote(asks.Keys()[0]))
		}
		return err
	}
	defer g.Close()
	opt.Origin = asks.Origin()
	made, err := attachAll(ctx, all, g, opt)
	if err != nil {
		return hintElsewhere(err, g)
	}
	for _, r := range made {
		if err := o.result(r, opt.DryRun, true); err != nil {
			return err
		}
	}
	return nil
}

// hintElsewhere has the hint of an error name another process of the guest's network, such as one of
// the container that the guest joins (--network container:X): the guest itself does not start, and
// nothing finds it by its own name.
func hintElsewhere(err error, g *attach.Guest) error {
	var f *fault.Error
	if !errors.As(err, &f) || !strings.Contains(f.Hint, g.Word()) {
		return err
	}
	pids, _ := nsfs.Processes()
	for _, pid := range pids {
		if pid != g.PID && nsfs.Is(g.Namespace, nsfs.OfProcess(pid)) {
			f.Hint = strings.ReplaceAll(f.Hint, shell.Quote(g.Word()), guests.RuntimePID+":"+strconv.Itoa(pid))
			break
		}
	}
	return err
}
