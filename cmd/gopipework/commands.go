package main

import (
	"context"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"
)

const attachName = "attach"

// commands returns the table of commands. The command line is read by it, the help text
// is made from it, and a test compares the man page with it.
func commands(out *output) []*cli.Command {
	all := []*cli.Command{
		out.attachEntry(),
		out.detachEntry(),
		out.linkEntry(),
		out.listEntry(),
		out.setEntry(),
		out.doctorEntry(),
		out.applyEntry(),
		out.diffEntry(),
		out.destroyEntry(),
		out.confirmEntry(),
		out.watchEntry(),
		out.eventsEntry(),
		out.gcEntry(),
		out.forgetEntry(),
		out.importEntry(),
		out.graphEntry(),
		out.composeEntry(),
		out.policyEntry(),
		out.hookEntry(),
		out.runtimeEntry(),
		out.evpnEntry(),
		out.execEntry(),
		out.iproute2Entry("run ip route in a guest's network namespace; options such as -6 come first", "ip", "route"),
		out.iproute2Entry("run ip rule in a guest's network namespace; options such as -6 come first", "ip", "rule"),
		out.iproute2Entry("run tc in a guest's network namespace", "tc"),
		out.captureEntry(),
		out.waitEntry(),
		out.completionEntry(),
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

// findCommand returns the command with that name or alias, or nil.
func findCommand(table []*cli.Command, name string) *cli.Command {
	for _, c := range table {
		if c.HasName(name) {
			return c
		}
	}
	return nil
}

// dispatch finds the command of a line, separates its flags from its words, and runs it.
func dispatch(ctx context.Context, args []string, out *output) error {
	out.json = wantsJSON(args)
	if isPlugin(args) {
		return out.answerEngine(ctx)
	}
	if len(args) == 0 {
		out.usage()
		return errShown
	}
	switch args[0] {
	case "--version":
		args = []string{"version"}
	case "-h", "--help":
		args = []string{"help"}
	case completeName:
		return out.complete(ctx, args[1:])
	case onHostFlag:
		return onHost(args[1:])
	}
	table := commands(out)
	name, rest := splitCommand(table, args)
	out.provider = name == composeName
	if slices.Contains(raw, name) && len(rest) > 0 && !strings.HasPrefix(rest[0], "-") {
		rest = append([]string{"--"}, rest...) // what follows GUEST is for another program
	}
	if name == "help" && slices.Equal(rest, []string{hereName}) {
		return out.help(hereName) // a command that looks like a flag
	}
	cmd := findCommand(table, name)
	if name == runtimeName {
		rest, out.json = endOwnFlags(cmd, rest), false
	}
	a, err := arrange(cmd, rest)
	if err != nil {
		return err
	}
	if a.help {
		return out.help(name)
	}
	// The library takes its time for each flag. Those that are not given have no value.
	cmd.Flags = a.given
	if name != "help" && name != "version" { // these have nothing to undo
		var except []os.Signal
		if name == watchName {
			except = append(except, syscall.SIGHUP) // see hangups
		}
		ctx, out.caught = withSignals(ctx, except...)
	}
	app := &cli.App{
		Name: "gopipework", Commands: []*cli.Command{cmd}, HideHelp: true, HideVersion: true,
		Compiled:                  time.Unix(0, 0), // otherwise the library looks up the age of the program's file
		DisableSliceFlagSeparator: true,            // a --route contains commas
		Writer:                    io.Discard, ErrWriter: io.Discard,
		ExitErrHandler: func(*cli.Context, error) {}, // run returns the exit code
	}
	line := slices.Concat([]string{app.Name, "--", name}, a.flags, []string{"--"}, a.words)
	return app.RunContext(ctx, line)
}

// wantsJSON looks for --json before the line is read, so that an error in reading it is
// a JSON document too.
func wantsJSON(args []string) bool {
	for i, a := range args {
		switch a {
		case "--json", "-o=json":
			return true
		case "-o":
			if i+1 < len(args) && args[i+1] == jsonFormat {
				return true
			}
		case "--":
			return false
		}
	}
	return false
}
