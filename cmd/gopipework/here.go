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

// hereName is the command that runs inside a container. pipework has it as a flag.
const hereName = "--wait"

func (o *output) hereEntry() *cli.Command {
	return &cli.Command{
		Name: hereName, Usage: "inside a container: wait for its own interface, then turn into COMMAND; needs no privileges and no other program", ArgsUsage: "[-i IFNAME] [-- COMMAND...]",
		Flags: append(waitFlags(&cli.DurationFlag{Name: "timeout", Usage: "give up after `DURATION`", DefaultText: "never"}),
			&cli.StringFlag{Name: "i", Usage: "wait for `IFNAME`", DefaultText: "eth1"}),
		Action: o.hereCommand,
	}
}

// hereCommand waits for an interface of this process's own namespace, and then turns
// into the command, if there is one.
func (o *output) hereCommand(c *cli.Context) error {
	opt, err := o.options(c)
	if err != nil {
		return err
	}
	if err := noneEmpty(c, "i"); err != nil {
		return err
	}
	want, err := attach.ParseReady(c.String("i"), c.Bool("addr"), c.Bool("route"))
	if err != nil {
		return err
	}
	command := c.Args().Slice()
	path := ""
	if len(command) > 0 { // fail now rather than after the wait
		if path, err = exec.LookPath(command[0]); err != nil {
			return fault.New(fault.NotFound, "run", command[0], "%w", errors.Unwrap(err)).
				WithHint("use -i to name the interface: gopipework --wait -i IFNAME [-- COMMAND...]")
		}
	}
	ctx := c.Context
	if opt.Timeout > 0 {
		var cancel func()
		ctx, cancel = context.WithTimeout(ctx, opt.Timeout)
		defer cancel()
	}
	seen, err := attach.Await(ctx, want, nil)
	if err != nil {
		return stopped(c.Context, err)
	}
	if path == "" {
		return o.ready(seen)
	}
	// From here on signals are for the command. One that came before ends the wait.
	signal.Reset(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	if err := context.Cause(c.Context); err != nil {
		return err
	}
	return cannot("run", path, unix.Exec(path, command, os.Environ()))
}
