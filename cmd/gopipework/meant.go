package main

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/gopipework/gopipework/dockerutil"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/shell"
	"github.com/gopipework/gopipework/internal/typo"
	"github.com/urfave/cli/v2"
)

// synonyms are the words that other programs use for our commands.
var synonyms = map[string]string{
	"add": attachName, "connect": attachName, "plug": attachName,
	"del": "detach", "delete": "detach", "disconnect": "detach", "remove": "detach", "unplug": "detach",
	"show": "list", "status": "list", "ps": "list",
	"clean": "gc", "cleanup": "gc", "prune": "gc",
	"run": "exec",
}

// meantCommand guesses which command an unknown word was meant to be. It returns "" if
// none is close.
func meantCommand(word string) string {
	if name, ok := synonyms[word]; ok {
		return name
	}
	return typo.Nearest(word, commandNames())
}

// ownWay returns what to do in place of a flag that other commands have, for a command that
// has another way to the same.
func ownWay(command, flag string) string {
	switch command + " " + flag {
	case "list -v", "list --verbose", "list -l":
		return "gopipework list -o wide has more columns, and gopipework list --json all that is known"
	case "import --json":
		return "import prints a topology file; gopipework list --json is the same as a document"
	case "diff --dry-run", "list --dry-run", "import --dry-run", "graph --dry-run":
		return "leave it out: " + command + " changes nothing"
	case "diff -v":
		return "gopipework apply --dry-run -v prints the commands too"
	case "diff --prune":
		return "leave it out: diff shows what --prune would detach"
	}
	return ""
}

// asWord returns the line of an attach with a flag of other programs, and its value, as the
// word or flag that says the same here; nil: there is none.
func asWord(cmd *cli.Command, name string, args []string) []string {
	var value string
	rest := slices.Clone(args)
	for i, arg := range args {
		head, tail, has := strings.Cut(arg, "=")
		if head != name {
			continue
		}
		if rest = slices.Delete(rest, i, i+1); has {
			value = tail
		} else if i < len(rest) {
			value = rest[i]
			rest = slices.Delete(rest, i, i+1)
		}
		break
	}
	a, err := arrange(cmd, rest)
	if err != nil || value == "" {
		return nil
	}
	w := append(slices.Clone(a.words), "", "", "", "")
	switch name {
	case "--mac", "--mac-address", "--hwaddr":
		w[3] = value + w[3]
	case "--vlan", "--vid", "--tag":
		w[3] += "@" + value
	case "--gateway", "--gw", "--via":
		w[2] += "@" + value
	case "--ip", "--ip6", "--address", "--addr":
		w = slices.Insert(w, 2, value)
	case "--bridge", "--parent", "--hostif":
		w = slices.Insert(w, 0, value)
	case "--container", "--guest":
		w = slices.Insert(w, 1, value)
	case "--name", "--ifname", "--interface":
		a.flags = append(a.flags, "-i", value)
	default:
		return nil
	}
	return slices.Concat(a.flags, slices.DeleteFunc(w, func(word string) bool { return word == "" }))
}

// miscounted returns the error for a line with too few or too many words for an attach.
// It may have been meant for another command, or a route may contain spaces.
func miscounted(line []string, f flags) error {
	routes := f.StringSlice("route")
	e := fault.BadWord("read words", strings.Join(line, " "), "an attach takes HOSTIF GUEST ADDRESS[@GATEWAY] [MAC][@VLAN]")
	if len(line) > 0 && len(line) < 3 {
		if best := meantCommand(line[0]); best != "" && best != attachName {
			return e.WithHint("gopipework %s", shell.Line(append([]string{best}, line[1:]...)))
		}
	}
	for i, word := range line {
		if len(routes) > 0 && word == "via" && i+1 < len(line) {
			return e.WithHint("a route is one word: --route '%s,via %s'", routes[len(routes)-1], line[i+1])
		}
	}
	if len(line) > 4 && meantCommand(line[0]) == attachName && isAddress(line[3]) {
		return e.WithHint("gopipework %s", shell.Line(line[1:]))
	}
	for _, flag := range []string{"-i", "-l"} { // brtest -i web 192.168.1.2/24
		if took := f.String(flag[1:]); len(line) == 2 && took != "" && isAddress(line[1]) {
			words := []string{line[0], flag, "eth1", took, line[1]}
			if isBridge(took) {
				words[0], words[3] = took, line[0]
			}
			return e.WithHint("%s took %s for a name of an interface: gopipework %s", flag, took, shell.Line(words))
		}
	}
	switch {
	case len(line) == 2 && strings.Contains(line[1], "/") && !strings.HasPrefix(line[1], "/"):
		return e.WithHint("gopipework brtest %s, for a bridge called brtest", shell.Line(line))
	case len(line) == 2:
		return e.WithHint("gopipework %s 192.168.1.2/24", shell.Line(line))
	}
	return e.WithHint("gopipework help")
}

// misspelt adds to the error of a line that cannot be read the line that was meant, if it can
// be guessed.
func misspelt(line []string, err error) error {
	var e *fault.Error
	if len(line) < 3 {
		return err
	}
	if better := meantLine(line); better != nil && errors.As(err, &e) {
		return e.WithHint("gopipework %s", shell.Line(better))
	}
	return err
}

// meantLine guesses which line of three words or more was meant; nil: there is no guess.
func meantLine(line []string) []string {
	best := meantCommand(line[0])
	address, options, has := strings.Cut(line[2], ":")
	source := typo.Nearest(address, []string{"dhcp", "dhcp6", "slaac", "udhcpc", "dhclient", "dhcpcd"})
	switch {
	case best == attachName && len(line) > 3 && isAddress(line[3]): // add brtest web 192.168.1.2/24
		return line[1:]
	case isGuest(line[0]) && !isGuest(line[1]) && isAddress(line[2]):
		return swapped(line)
	case best != "" && best != attachName && !strings.ContainsAny(line[2], "./:"):
		return append([]string{best}, line[1:]...)
	case source != "" && source != address:
		if has {
			source += ":" + options
		}
		return slices.Replace(slices.Clone(line), 2, 3, source)
	}
	return nil
}

// swapped returns a line with its first two words the other way round.
func swapped(line []string) []string {
	return append([]string{line[1], line[0]}, line[2:]...)
}

// isAddress reports whether a word looks like the address of a line.
func isAddress(word string) bool {
	word, _, _ = strings.Cut(word, "@")
	_, err := netip.ParsePrefix(word)
	return err == nil || slices.Contains([]string{"0/0", "dhcp", "dhcp6", "slaac"}, word)
}

// isGuest reports whether a word can only be a guest.
func isGuest(word string) bool {
	prefix, _, has := strings.Cut(word, ":")
	return has && dockerutil.IsRuntime(prefix)
}

// isBridge reports whether a word is called as a bridge.
func isBridge(word string) bool {
	return strings.HasPrefix(word, "br") || strings.HasPrefix(word, "ovs")
}

// meantOnHost adds to the error of a line whose guest or host interface was not found what was
// meant, as far as the host tells: the two words the other way round, or a network of Docker's.
func meantOnHost(ctx context.Context, line []string, err error) error {
	var e *fault.Error
	if !errors.As(err, &e) || e.Code != fault.NotFound {
		return err
	}
	if e.Op == dockerutil.OpFind {
		_, missing := net.InterfaceByName(line[1])
		if isGuest(line[1]) || missing != nil && !isBridge(line[1]) {
			return err
		}
		return e.WithHint("if %s is what it is to be plugged into: gopipework %s", line[1], shell.Line(swapped(line)))
	}
	if bridge := dockerutil.BridgeOf(ctx, line[0]); bridge != "" {
		return e.WithHint("%s is a network of Docker's, whose bridge is %s: gopipework %s", line[0], bridge, shell.Line(append([]string{bridge}, line[1:]...)))
	}
	return err
}

// notTheKind refuses the word bridge as a host interface, unless there is one of that name:
// it is a kind, and what Docker calls its own network.
func notTheKind(line []string) error {
	const word = "bridge"
	if line[0] != word {
		return nil
	}
	if _, err := net.InterfaceByName(word); err == nil {
		return nil
	}
	rest := shell.Line(line[1:])
	return fault.BadWord("read host interface", word, "there is none of that name; it is a kind, and the name of Docker's own network").
		WithHint("gopipework docker0 %s, for Docker's bridge; gopipework bridge:bridge %s creates one of that name", rest, rest)
}
