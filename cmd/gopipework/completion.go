package main

import (
	"context"
	"embed"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gopipework/gopipework/internal/convert"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/spec"
	"github.com/urfave/cli/v2"
)

// completeName asks for what can come next on a line: gopipework --complete SHELL WORD..., of
// which the last is being written. The scripts of the shells do.
const completeName = "--complete"

//go:embed completion
var scripts embed.FS

var shells = []string{"bash", "zsh", "fish"}

func (o *output) completionEntry() *cli.Command {
	return &cli.Command{
		Name:      "completion",
		Usage:     "print the completion of gopipework's command line for a shell",
		ArgsUsage: strings.Join(shells, "|"),
		Action:    o.completionCommand,
	}
}

func (o *output) completionCommand(c *cli.Context) error {
	w, err := words(c, 1, 1)
	if err != nil {
		return err
	}
	text, err := scripts.ReadFile("completion/gopipework." + w[0])
	if err != nil {
		return fault.BadWord("complete for", w[0], "the shells are %s", strings.Join(shells, ", ")).
			WithHint("source <(gopipework completion bash)")
	}
	_, err = o.stdout.Write(text)
	return err
}

// candidate is what can come next.
type candidate struct {
	word  string
	about string // in a few words; "": nothing to say
}

// files is the only candidate where the shell knows better.
var files = []candidate{{word: ":files"}}

// complete prints what can come next, each on a line, as a shell reads it. It is silent
// about errors: a person is typing.
func (o *output) complete(ctx context.Context, args []string) error {
	if len(args) < 2 {
		return nil
	}
	shell, line := args[0], args[1:]
	for _, c := range complete(ctx, line) {
		switch {
		case c.about == "" || shell == "bash":
			fmt.Fprintln(o.stdout, inShell(shell, c.word))
		case shell == "zsh":
			fmt.Fprintln(o.stdout, inShell(shell, c.word)+":"+c.about)
		default:
			fmt.Fprintln(o.stdout, c.word+"\t"+c.about)
		}
	}
	return nil
}

// inShell is a word as a list of candidates has it: zsh separates it from what is said
// about it by a colon.
func inShell(shell, word string) string {
	if shell == "zsh" && word != files[0].word {
		return strings.ReplaceAll(word, ":", `\:`)
	}
	return word
}

// partLine is what is there of a line when its last word is being written.
type partLine struct {
	cmd     *cli.Command
	given   []cli.Flag
	words   []string
	pending cli.Flag // the flag whose value is being written; nil: none
	foreign bool     // what comes is for another program
	first   bool     // no command has been written, and no word
	last    string
}

// complete returns what can come in place of the last word of a line.
func complete(ctx context.Context, line []string) []candidate {
	p := readPart(line)
	var all []candidate
	flag, value, has := strings.Cut(p.last, "=")
	switch {
	case p.foreign:
		return nil
	case p.pending != nil:
		all = valuesOf(ctx, p, p.pending, p.last)
	case has && strings.HasPrefix(flag, "-"):
		f := findFlag(p.cmd, flag)
		if f == nil {
			return nil
		}
		for _, c := range valuesOf(ctx, p, f, value) {
			all = append(all, candidate{flag + "=" + c.word, c.about})
		}
	case strings.HasPrefix(p.last, "-"):
		all = p.flags()
	default:
		all = p.nextWord(ctx)
	}
	if slices.Equal(all, files) {
		return all
	}
	all = slices.DeleteFunc(all, func(c candidate) bool { return !strings.HasPrefix(c.word, p.last) || !harmless(c.word) })
	return slices.CompactFunc(all, func(a, b candidate) bool { return a.word == b.word })
}

// harmless reports whether a shell takes a word as it stands. A guest can give an interface a
// name that is a command to a shell.
func harmless(word string) bool {
	return strings.IndexFunc(word, func(r rune) bool {
		return r != '-' && r != '_' && !strings.ContainsRune(".:/@=,+%", r) && !(r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z')
	}) < 0
}

// readPart separates what has been written. It takes what it cannot understand for words.
func readPart(line []string) partLine {
	before, last := line[:len(line)-1], line[len(line)-1]
	if len(before) > 0 && before[0] == onHostFlag {
		before = before[1:]
	}
	table := commands(nil)
	name, rest := splitCommand(table, before)
	p := partLine{cmd: findCommand(table, name), last: last}
	for i := 0; i < len(rest); i++ {
		flag, _, has := strings.Cut(rest[i], "=")
		f := findFlag(p.cmd, flag)
		switch {
		case rest[i] == "--":
			p.foreign = true
			return p
		case f == nil:
			p.words = append(p.words, rest[i])
		case takesValue(f) && !has && i == len(rest)-1:
			p.pending = f
		case takesValue(f) && !has:
			i++
			fallthrough
		default:
			p.given = append(p.given, f)
		}
	}
	p.first = name == attachName && len(p.words) == 0 && !slices.Contains(before, attachName)
	p.foreign = slices.Contains(raw, name) && len(p.words) > 0
	return p
}

// flags are those of the command that can still be given.
func (p partLine) flags() (all []candidate) {
	for _, f := range p.cmd.VisibleFlags() {
		if slices.Contains(p.given, f) && !repeats(f) {
			continue
		}
		for _, n := range f.Names() {
			about, _, _ := strings.Cut(flagUsage(f), "\n")
			_, about, _ = strings.Cut(about, "  ")
			all = append(all, candidate{dashed(n), strings.TrimSuffix(strings.TrimSpace(about), " (default: false)")})
		}
	}
	if p.first && strings.HasPrefix(hereName, p.last) {
		all = append(all, candidate{word: hereName})
	}
	return append(all, candidate{"--help", "explain the command"})
}

// nextWord are the candidates for the next word of the command.
func (p partLine) nextWord(ctx context.Context) (all []candidate) {
	if p.first {
		for _, c := range commands(nil) {
			all = append(all, candidate{c.Name, c.Usage})
		}
		all = slices.DeleteFunc(all, func(c candidate) bool { return c.word == hereName })
		return append(all, hostInterfaces(p.last)...)
	}
	places := placesOf(p.cmd)
	at := len(p.words)
	if at >= len(places) {
		if len(places) == 0 || !strings.HasSuffix(places[len(places)-1], "...") {
			return nil
		}
		at = len(places) - 1
	}
	switch place := strings.TrimSuffix(places[at], "..."); place {
	case "HOSTIF":
		return hostInterfaces(p.last)
	case "GUEST":
		return guestWords(ctx, p.last, false)
	case "GUEST[:IFNAME]":
		return guestWords(ctx, p.last, true)
	case "IFNAME":
		return interfacesOf(ctx, p.words[at-1])
	case "ADDRESS":
		return plain("dhcp", "dhcp6", "slaac", "0/0")
	case "COMMAND|words":
		return plain(append(commandNames(), wordsName)...)
	default:
		if place == strings.ToLower(place) {
			return plain(strings.Split(place, "|")...)
		}
	}
	return nil
}

// placesOf are the words that a command takes, as its usage names them.
func placesOf(c *cli.Command) (all []string) {
	if c.Name == attachName {
		return []string{"HOSTIF", "GUEST", "ADDRESS", "MAC"}
	}
	skip := false
	for _, word := range strings.Fields(c.ArgsUsage) {
		bare := strings.TrimPrefix(word, "[")
		switch {
		case word == "|":
			return all
		case strings.HasPrefix(bare, "-"):
			skip = !strings.HasSuffix(word, "]")
			continue
		case skip:
			skip = false
			continue
		}
		if strings.Count(bare, "[") < strings.Count(bare, "]") {
			bare = strings.Replace(bare, "]", "", 1)
		}
		all = append(all, bare)
	}
	return all
}

func plain(words ...string) (all []candidate) {
	for _, w := range words {
		all = append(all, candidate{word: w})
	}
	return all
}

// valuesOf are the candidates for the value of a flag.
func valuesOf(ctx context.Context, p partLine, f cli.Flag, written string) []candidate {
	switch f.Names()[0] {
	case "a":
		return plain("4", "6", "inet", "inet6")
	case "mode":
		return plain("bridge", "private", "vepa", "passthru", "l2", "l3", "l3s")
	case "default":
		return plain("front", "keep")
	case "uplink":
		return plain("vxlan:")
	case "isolated", "antispoof", "source-routing", "host-access", "carrier":
		return plain(spec.On, spec.Off)
	case "format":
		return plain(graphFormats...)
	case "from":
		return plain(convert.Formats()...)
	case "o":
		return plain(listFormats...)
	case "log":
		return plain("text", "json")
	case "explain":
		return plain(append(findingNames(), "all")...)
	case "to":
		if p.cmd.Name == "set" {
			return bridgeWords(written)
		}
		return guestWords(ctx, written, true)
	case "mirror":
		return guestWords(ctx, written, true)
	case "dns", "route":
		if p.cmd.Name == "set" {
			return plain(spec.None)
		}
	case "f", "w", "bundle", "policy":
		return files
	}
	return nil
}

// within returns what a look-up finds, or nothing if it takes longer than a person who has
// pressed a key would wait.
func within(ctx context.Context, look func(context.Context) []candidate) []candidate {
	const moment = 100 * time.Millisecond
	ctx, cancel := context.WithTimeout(ctx, moment)
	defer cancel()
	found := make(chan []candidate, 1)
	go func() { found <- look(ctx) }()
	select {
	case all := <-found:
		return all
	case <-ctx.Done():
		return nil
	}
}
