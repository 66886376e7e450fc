package main

import (
	"context"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"slices"
	"syscall"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/dockerutil"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/policy"
	"github.com/gopipework/gopipework/internal/reconcile"
	"github.com/gopipework/gopipework/internal/shell"
	"github.com/gopipework/gopipework/internal/watch"
	"github.com/urfave/cli/v2"
)

// watchName is the command that runs until it is told to end.
const watchName = "watch"

func (o *output) watchEntry() *cli.Command {
	return &cli.Command{
		Name:      watchName,
		Usage:     "keep the host as the kept lines and topology files ask, also when guests are restarted; runs until it gets SIGTERM",
		ArgsUsage: "[-f FILE...] [--labels]",
		Flags: append([]cli.Flag{
			&cli.StringSliceFlag{Name: "f", Usage: "a topology `FILE`, or a directory of *.yaml files; may be repeated"},
			&cli.BoolFlag{Name: "labels", Usage: "also attach what the policy allows labels of containers to ask for, such as gopipework.eth1"},
			policyFlag,
			timeoutFlag("give up an entry after `DURATION`, and try it again later"),
		}, tellingFlags()...),
		Action: o.watchCommand,
	}
}

// watchGarbage is how much of its heap a watch lets become garbage before it collects it, in
// percent. It runs all the time and is seldom busy, so memory is worth more than its time.
const watchGarbage = 40

func (o *output) watchCommand(c *cli.Context) error {
	reload := hangups(c.Context)
	if _, err := words(c, 0, 0); err != nil {
		return err
	}
	sources, err := sources(c)
	if err == nil {
		sources, err = withLabels(c, sources)
	}
	if err != nil {
		return err
	}
	opt, err := o.options(c)
	if err != nil {
		return err
	}
	opt.Step = nil // side by side
	if opt.Parking, err = attach.NewParking(); err != nil {
		return err
	}
	defer opt.Parking.Close()
	o.caught()
	debug.SetGCPercent(watchGarbage)
	release, err := watch.Alone(c.Context)
	if err != nil {
		return err
	}
	defer release()
	r, end, err := o.reporter(c)
	if err != nil {
		return err
	}
	defer end()
	w := watch.Watcher{
		Sources: sources, Host: reconcile.Host{Find: dockerutil.Find, Options: opt}, FindAll: findGuests,
		Follow: []func(context.Context, func(dockerutil.Event)) error{
			dockerutil.Follow,
			func(ctx context.Context, told func(dockerutil.Event)) error { return attach.Follow(ctx, opt, told) },
		},
		Concerns: dockerutil.Concerns, Announced: dockerutil.Announced,
		Report: r, Reload: reload,
	}
	return w.Run(c.Context)
}

// sources are the places where it stands what is wanted.
func sources(c *cli.Context) ([]watch.Source, error) {
	g := grammar()
	all := []watch.Source{watch.Kept{Grammar: g}, watch.Files{Path: watch.Directory, Grammar: g}, &watch.Compose{Grammar: g}}
	var paths []string
	for _, path := range c.StringSlice("f") {
		if path == "" || path == "-" {
			return nil, fault.BadWord("read flag", "-f", "it has to be a file or a directory, which is read again when it changes").WithHint("gopipework watch -f FILE")
		}
		path, err := filepath.Abs(path)
		if err != nil {
			return nil, cannot("find", path, err)
		}
		if !slices.Contains(paths, path) {
			paths = append(paths, path)
			if st, err := os.Stat(path); err == nil && st.IsDir() {
				all = append(all, watch.Files{Path: path, Grammar: g})
			} else {
				all = append(all, watch.File{Path: path, Grammar: g})
			}
		}
	}
	return all, nil
}

// withLabels adds the labels of containers to the sources, if the line asks for them. They
// come last.
func withLabels(c *cli.Context, all []watch.Source) ([]watch.Source, error) {
	path, err := policyPath(c)
	switch {
	case err != nil:
		return nil, err
	case !c.Bool("labels") && path != policy.Path:
		return nil, fault.BadWord("read flag", "--policy", "it is about labels, which are not read").WithHint("gopipework watch --labels --policy %s", shell.Quote(path))
	case !c.Bool("labels"):
		return all, nil
	}
	if path, err = filepath.Abs(path); err != nil {
		return nil, cannot("find", path, err)
	}
	return append(all, labelSource(path)), nil
}

// hangups returns a channel that has a value after each SIGHUP.
func hangups(ctx context.Context) <-chan struct{} {
	signals, reload := make(chan os.Signal, 1), make(chan struct{}, 1)
	signal.Notify(signals, syscall.SIGHUP)
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-signals:
			}
			select {
			case reload <- struct{}{}:
			default:
			}
		}
	}()
	return reload
}
