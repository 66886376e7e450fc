package main

import (
	"cmp"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/gopipework/gopipework/internal/oci"
	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
)

const runtimeName = "runtime"

func (o *output) runtimeEntry() *cli.Command {
	return &cli.Command{
		Name:      runtimeName,
		Usage:     "become runc, after adding gopipework hook to the container that it is to create",
		ArgsUsage: "ARGS...",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "runc", Usage: "the OCI runtime to become, a `PATH` or a name", DefaultText: "runc"},
			policyFlag, hookTimeoutFlag(),
		},
		Action: o.runtimeCommand,
	}
}

// runtimeCommand turns into runc, with the arguments as they are.
func (o *output) runtimeCommand(c *cli.Context) error {
	opt, err := o.options(c)
	if err != nil {
		return err
	}
	if err := noneEmpty(c, "runc", policyFlag.Name); err != nil {
		return err
	}
	name := cmp.Or(c.String("runc"), "runc")
	runc, err := exec.LookPath(name)
	if err != nil {
		return notFound(name, err)
	}
	args := c.Args().Slice()
	if bundle, is := oci.Creates(args); is {
		h, err := hookOf(c, cmp.Or(opt.Timeout, hookTimeout))
		if err == nil {
			err = oci.AddHook(bundle, h)
		}
		if err != nil {
			return err
		}
	}
	return cannot("run", runc, unix.Exec(runc, append([]string{name}, args...), os.Environ()))
}

// hookOf is the entry of the hook, which finds the same engines as this process.
func hookOf(c *cli.Context, timeout time.Duration) (oci.Hook, error) {
	path, err := os.Executable()
	if err != nil {
		return oci.Hook{}, cannot("find", "gopipework", err)
	}
	h := oci.Hook{Path: path, Args: []string{"gopipework", hookName, "--timeout", timeout.String()}, Timeout: int((timeout + undoTimeout) / time.Second)}
	if policy := c.String(policyFlag.Name); policy != "" {
		h.Args = append(h.Args, "--"+policyFlag.Name, policy)
	}
	for _, name := range []string{"PATH", "DOCKER_HOST"} {
		if value := os.Getenv(name); value != "" {
			h.Env = append(h.Env, name+"="+value)
		}
	}
	return h, nil
}

// endOwnFlags puts "--" in front of the first argument of runtime that is runc's, unless it is
// there.
func endOwnFlags(cmd *cli.Command, args []string) []string {
	if len(args) > 0 && (args[0] == "-h" || args[0] == "--help") {
		return args
	}
	n := 0
	for n < len(args) && args[n] != "--" {
		name, _, has := strings.Cut(args[n], "=")
		f := findFlag(cmd, name)
		if f == nil {
			return slices.Insert(slices.Clone(args), n, "--")
		}
		if n++; takesValue(f) && !has {
			n++
		}
	}
	return args
}
