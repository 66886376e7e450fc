package main

import (
	"strings"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/urfave/cli/v2"
)

// iproute2Entry returns the entry of a command that runs a program of iproute2.
func (o *output) iproute2Entry(usage, program string, object ...string) *cli.Command {
	name := append([]string{program}, object...)
	return &cli.Command{
		Name: name[len(name)-1], Usage: usage, ArgsUsage: "GUEST ARGS...",
		Action: o.iproute2(program, object...),
	}
}

// iproute2 returns the action of a command that runs a program of iproute2. The options
// of the program, such as -6, go before its object.
func (o *output) iproute2(program string, object ...string) cli.ActionFunc {
	return func(c *cli.Context) error {
		w := c.Args().Slice()
		if len(w) == 0 {
			return fault.BadWord("read words", "", "%s takes %s", c.Command.Name, c.Command.ArgsUsage).
				WithHint("gopipework help %s", c.Command.Name)
		}
		args := []string{program}
		rest := w[1:]
		for len(rest) > 0 && strings.HasPrefix(rest[0], "-") {
			args, rest = append(args, rest[0]), rest[1:]
		}
		return o.become(c, w[0], append(append(args, object...), rest...), false)
	}
}
