package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
)

// hereName is the command for the inside of a container; pipework calls it so.
const hereName = "--wait"

// hereCommand waits for an interface of the namespace that this process is in,
// and then turns into the command, if there is one.
func (o *output) hereCommand(c *cli.Context) error {
	opt, err := o.options(c)
	if err != nil {
		return err
	}
	if c.IsSet("i") && c.String("i") == "" {
		return fault.BadWord("read flag", "-i", "its value is empty")
	}
	want, err := attach.ParseReady(c.String("i"), c.Bool("addr"), c.Bool("route"))
	if err != nil {
		return err
	}
	command := c.Args().Slice()
	path := ""
	if len(command) > 0 { // better known now than after the wait
		if path, err = exec.LookPath(command[0]); err != nil {
			return fault.New(fault.NotFound, "run", command[0], "%w", errors.Unwrap(err)).
				WithHint("an interface is named by -i: gopipework --wait -i IFNAME [-- COMMAND...]")
		}
	}
	seen, err := attach.Await(c.Context, want, nil, opt.Timeout)
	if err != nil {
		return stopped(c.Context, err)
	}
	if path == "" {
		return o.ready(seen)
	}
	// From here on a signal is the command's. One that came before is not.
	signal.Reset(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	if err := context.Cause(c.Context); err != nil {
		return err
	}
	return cannot("run", path, unix.Exec(path, command, os.Environ()))
}

// waitCommand waits for an interface of a guest, from the host.
func (o *output) waitCommand(c *cli.Context) error {
	w, err := words(c, 1, 2)
	if err != nil {
		return err
	}
	want, err := attach.ParseReady(append(w, "")[1], c.Bool("addr"), c.Bool("route"))
	if err != nil {
		return err
	}
	return o.withGuest(c, w[0], func(ctx context.Context, g attach.Guest, _ *os.File, opt attach.Options) error {
		if opt.Timeout == 0 {
			opt.Timeout = attach.DefaultTimeout
		}
		seen, err := attach.Await(ctx, want, &g, opt.Timeout)
		if err != nil {
			return err
		}
		return o.ready(seen)
	})
}

// ready says which interface is ready, to who wants to know.
func (o *output) ready(i attach.Interface) error {
	if !o.json {
		return nil
	}
	return o.document(map[string]any{"interface": i})
}
