package main

import (
	"slices"
	"strings"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/shell"
	"github.com/gopipework/gopipework/internal/typo"
	"github.com/urfave/cli/v2"
)

// arguments are the flags and the words of a command line.
type arguments struct {
	flags []string // each flag followed by its value, for the flag library
	words []string
	help  bool
	given []cli.Flag // those on the line, each once
}

// arrange separates the flags of a command from its words, in any order. A flag that
// takes a value takes the next argument, whatever it looks like. "--" ends the flags.
func arrange(cmd *cli.Command, args []string) (arguments, error) {
	var a arguments
	for i := 0; i < len(args); i++ {
		arg := args[i]
		switch {
		case arg == "--":
			a.words = append(a.words, args[i+1:]...)
			return a, nil
		case arg == "-h" || arg == "--help":
			a.help = true
			continue
		case !strings.HasPrefix(arg, "-"):
			a.words = append(a.words, arg)
			continue
		}
		name, _, hasValue := strings.Cut(arg, "=")
		f := findFlag(cmd, name)
		if f == nil {
			return a, unknownFlag(cmd, name, args)
		}
		if hasValue && !takesValue(f) {
			return a, fault.BadWord("read flag", arg, "%s takes no value", name).WithHint("%s", name)
		}
		switch again := slices.Contains(a.given, f); {
		case !again:
			a.given = append(a.given, f)
		case takesValue(f) && !repeats(f):
			return a, fault.BadWord("read flag", name, "it is given twice")
		}
		a.flags = append(a.flags, arg)
		if !takesValue(f) || hasValue {
			continue
		}
		if i++; i == len(args) {
			return a, fault.BadWord("read flag", name, "it needs a value").WithHint("%s", flagUsage(f))
		}
		a.flags = append(a.flags, args[i])
	}
	return a, nil
}

// findFlag returns the flag that an argument such as "-i" or "--mtu" names.
func findFlag(cmd *cli.Command, arg string) cli.Flag {
	for _, f := range cmd.Flags {
		if slices.ContainsFunc(f.Names(), func(n string) bool { return dashed(n) == arg }) {
			return f
		}
	}
	return nil
}

func takesValue(f cli.Flag) bool {
	_, isBool := f.(*cli.BoolFlag)
	return !isBool
}

// repeats reports whether a flag may be given more than once.
func repeats(f cli.Flag) bool {
	_, isList := f.(*cli.StringSliceFlag)
	return isList
}

func dashed(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}

func flagUsage(f cli.Flag) string {
	return strings.ReplaceAll(f.String(), "\t", "  ")
}

// unknownFlag returns the error for a flag that the command does not have, with the
// corrected line as its hint if there is one.
func unknownFlag(cmd *cli.Command, name string, args []string) error {
	e := fault.BadWord("read flag", name, "gopipework %s has no such flag", cmd.Name)
	switch {
	case slices.Contains(raw, cmd.Name):
		return e.WithHint("put the flags of the other program after the guest: gopipework %s %s", cmd.Name, cmd.ArgsUsage)
	case name == "-i" && strings.Contains(cmd.ArgsUsage, "IFNAME"):
		return e.WithHint("it belongs to gopipework attach; here, write gopipework %s %s", cmd.Name, cmd.ArgsUsage)
	}
	if hint := ownWay(cmd.Name, name); hint != "" {
		return e.WithHint("%s", hint)
	}
	if cmd.Name == attachName {
		if line := asWord(cmd, name, args); line != nil {
			return e.WithHint("gopipework %s", shell.Line(line))
		}
	}
	for _, other := range commands(nil) {
		if findFlag(other, name) != nil {
			return e.WithHint("it belongs to gopipework %s", other.Name)
		}
	}
	var names []string
	for _, f := range cmd.VisibleFlags() {
		for _, n := range f.Names() {
			names = append(names, dashed(n))
		}
	}
	if best := typo.Nearest(name, names); best != "" {
		line := slices.Clone(args)
		for i, arg := range line {
			if head, tail, _ := strings.Cut(arg, name); head == "" && (tail == "" || tail[0] == '=') {
				line[i] = best + tail
			}
		}
		return e.WithHint("gopipework %s", shell.Line(withCommand(cmd, line)))
	}
	return e.WithHint("gopipework help %s", cmd.Name)
}

// withCommand puts the name of the command in front of a line. An attach needs none.
func withCommand(cmd *cli.Command, args []string) []string {
	if cmd.Name == attachName {
		return args
	}
	return append([]string{cmd.Name}, args...)
}

// splitCommand returns the command of a line, and the line without it. The command is
// the first word, or --wait before any word. If the first word is not a command, the
// line is an attach, and the word is the host interface.
func splitCommand(table []*cli.Command, args []string) (name string, rest []string) {
	attachCmd := findCommand(table, attachName)
	for i := 0; i < len(args) && args[i] != "--"; i++ {
		arg := args[i]
		if strings.HasPrefix(arg, "-") && arg != hereName {
			if f := findFlag(attachCmd, arg); f != nil && takesValue(f) {
				i++
			}
			continue
		}
		if c := findCommand(table, arg); c != nil {
			return c.Name, slices.Delete(slices.Clone(args), i, i+1)
		}
		break
	}
	return attachName, args
}
