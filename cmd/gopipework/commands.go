package main

import (
	"context"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/urfave/cli/v2"
)

const attachName = "attach"

// later are words that the contract reserves for commands that this version
// does not have. A device of such a name is reached by "gopipework attach".
var later = []string{
	"doctor", "watch", "apply", "destroy", "graph", "completion",
}

// commands is the table that the command line is read by and the help text is
// made from. The man page is held against it by a test.
func commands(out *output) []*cli.Command {
	all := []*cli.Command{
		out.attachEntry(),
		out.detachEntry(),
		out.linkEntry(),
		out.listEntry(),
		out.setEntry(),
		out.gcEntry(),
		out.execEntry(),
		out.iproute2Entry("run ip route in a guest's network namespace; options such as -6 come first", "ip", "route"),
		out.iproute2Entry("run ip rule in a guest's network namespace; options such as -6 come first", "ip", "rule"),
		out.iproute2Entry("run tc in a guest's network namespace", "tc"),
		out.waitEntry(),
		out.hereEntry(),
		out.helpEntry(),
		out.versionEntry(),
	}
	for _, c := range all {
		c.OnUsageError = badFlag
		c.HideHelp = true
	}
	return all
}

// findCommand finds a command of the table by its name or alias, nil if there is none.
func findCommand(table []*cli.Command, name string) *cli.Command {
	for _, c := range table {
		if c.HasName(name) {
			return c
		}
	}
	return nil
}

// dispatch finds the command, tells its flags from its words, and runs it.
func dispatch(ctx context.Context, args []string, out *output) error {
	out.json = wantsJSON(args)
	if len(args) == 0 {
		out.usage()
		return errShown
	}
	switch args[0] {
	case "--version":
		args = []string{"version"}
	case "-h", "--help":
		args = []string{"help"}
	}
	table := commands(out)
	name, rest := splitCommand(table, args)
	if slices.Contains(later, name) {
		return fault.New(fault.Unsupported, "run", name, "this version does not have it").
			WithHint("for an interface of that name: gopipework attach %s ...", name)
	}
	if slices.Contains(raw, name) && len(rest) > 0 && !strings.HasPrefix(rest[0], "-") {
		rest = append([]string{"--"}, rest...) // what follows GUEST is another program's
	}
	if name == "help" && slices.Equal(rest, []string{hereName}) {
		return out.help(hereName) // a command that looks like a flag
	}
	cmd := findCommand(table, name)
	a, err := arrange(cmd, rest)
	if err != nil {
		return err
	}
	if a.help {
		return out.help(name)
	}
	if name != "help" && name != "version" { // they have nothing to undo
		ctx = withSignals(ctx)
	}
	app := &cli.App{
		Name: "gopipework", Commands: []*cli.Command{cmd}, HideHelp: true, HideVersion: true,
		Compiled:                  time.Unix(0, 0), // else the library looks at the program's file
		DisableSliceFlagSeparator: true,            // a route has commas of its own
		Writer:                    io.Discard, ErrWriter: io.Discard,
		ExitErrHandler: func(*cli.Context, error) {}, // run exits
	}
	line := slices.Concat([]string{app.Name, "--", name}, a.flags, []string{"--"}, a.words)
	return app.RunContext(ctx, line)
}

// wantsJSON looks before anything is read, so that an error in the reading is
// a JSON document too.
func wantsJSON(args []string) bool {
	for _, a := range args {
		switch a {
		case "--json":
			return true
		case "--":
			return false
		}
	}
	return false
}
