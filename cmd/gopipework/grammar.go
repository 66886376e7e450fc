package main

import (
	"slices"
	"strings"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/topology"
	"github.com/urfave/cli/v2"
)

// grammar returns what reads the lines of a file: the commands attach and link, with the
// flags that say what is wanted, and without those that say how a command is run.
func grammar() topology.Grammar {
	out := &output{}
	attachCmd, linkCmd := out.attachEntry(), out.linkEntry()
	return topology.Grammar{
		Attach: func(words []string) (attach.Spec, error) {
			line, f, err := readLine(attachCmd, words)
			if err != nil {
				return attach.Spec{}, err
			}
			return attachSpec(line, f)
		},
		Link: func(words []string) (attach.LinkSpec, error) {
			line, f, err := readLine(linkCmd, words)
			if err != nil {
				return attach.LinkSpec{}, err
			}
			return linkSpec(line, f)
		},
		AttachFlags: mapFlags(attachCmd),
		LinkFlags:   mapFlags(linkCmd),
	}
}

// schema prints the JSON schema of a topology file.
func (o *output) schema(c *cli.Context) error {
	if _, err := words(c, 0, 0); err != nil {
		return err
	}
	if flags := given(c); len(flags) > 1 {
		return fault.BadWord("read flag", "--schema", "it goes with no other flag").WithHint("gopipework apply --schema")
	}
	if _, err := o.stdout.Write(topology.Schema(grammar())); err != nil {
		return unwritten(err)
	}
	return nil
}

// runFlags say how a command is run, and not what is wanted.
var runFlags = []string{"dry-run", "json", "v", "timeout", "keep", "await", "replace"}

// mapKeys are the keys of a map in a file for flags that have no long name; "" for one
// that a file needs no key for.
var mapKeys = map[string]string{"i": "as", "l": "host-name", "a": ""}

// mapFlags returns the flags of a command that may be keys of a map in a file.
func mapFlags(cmd *cli.Command) (all []topology.Flag) {
	for _, f := range cmd.VisibleFlags() {
		name := f.Names()[0]
		if slices.Contains(runFlags, name) {
			continue
		}
		key, short := mapKeys[name]
		if !short {
			key = name
		}
		if key == "" {
			continue
		}
		usage := ""
		if d, ok := f.(cli.DocGenerationFlag); ok {
			usage = strings.ReplaceAll(d.GetUsage(), "`", "")
		}
		all = append(all, topology.Flag{Name: key, Typed: dashed(name), Usage: usage, Bool: !takesValue(f), Many: repeats(f)})
	}
	return all
}

// readLine separates the words of a line in a file from its flags.
func readLine(cmd *cli.Command, args []string) ([]string, lineFlags, error) {
	a, err := arrange(cmd, args)
	if err != nil {
		return nil, nil, err
	}
	if a.help {
		return nil, nil, fault.BadWord("read flag", "--help", "a file has nobody to help")
	}
	f := lineFlags{}
	for i := 0; i < len(a.flags); i++ {
		dashed, value, hasValue := strings.Cut(a.flags[i], "=")
		flag := findFlag(cmd, dashed)
		name := flag.Names()[0]
		switch {
		case slices.Contains(runFlags, name):
			return nil, nil, fault.BadWord("read flag", dashed, "it says how a command is run, and a file says what is wanted").WithHint("leave it out")
		case !takesValue(flag):
			value = "true"
		case !hasValue:
			i++
			value = a.flags[i]
		}
		f[name] = append(f[name], value)
	}
	return a.words, f, nil
}

// lineFlags are the flags of a line in a file, each with its values. They are read here
// and not by the flag library, which takes longer than all else for a line.
type lineFlags map[string][]string

func (f lineFlags) String(name string) string {
	if len(f[name]) == 0 {
		return ""
	}
	return f[name][0]
}

func (f lineFlags) StringSlice(name string) []string { return f[name] }

func (f lineFlags) Bool(name string) bool { return len(f[name]) > 0 }

func (f lineFlags) LocalFlagNames() (names []string) {
	for name := range f {
		names = append(names, name)
	}
	return names
}
