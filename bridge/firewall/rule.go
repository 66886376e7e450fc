package firewall

import (
	"fmt"
	"slices"
	"strings"

	"github.com/gopipework/gopipework/internal/shell"
)

// Family is an address family; netfilter keeps a set of rules for each.
type Family int

// The families that br_netfilter hands to iptables and ip6tables.
const (
	IPv4 Family = 4
	IPv6 Family = 6
)

// String returns "IPv4" or "IPv6".
func (f Family) String() string { return fmt.Sprintf("IPv%d", int(f)) }

// Tool is the program that writes its rules: iptables or ip6tables.
func (f Family) Tool() string {
	if f == IPv6 {
		return "ip6tables"
	}
	return "iptables"
}

// Backend is one of the kernel's two implementations of iptables. Each packet passes the
// chains of both, so either can drop it.
type Backend string

// NFT is iptables on nf_tables (iptables-nft), Legacy the old x_tables.
const (
	NFT    Backend = "nft"
	Legacy Backend = "legacy"
)

// The chains that our rules go into. Docker's rules jump to DOCKER-USER first, and its
// daemon leaves the contents of that chain alone when it restarts.
const (
	forwardChain    = "FORWARD"
	dockerUserChain = "DOCKER-USER"
)

// commentPrefix begins the comment of each of our rules. The comment is the mark by which
// they are recognized.
const commentPrefix = "gopipework "

// Rule is one of our iptables rules: it accepts frames that are bridged within one bridge.
// Rules are compared with ==.
type Rule struct {
	Family  Family
	Backend Backend
	Chain   string // DOCKER-USER or FORWARD
	Bridge  string
	Port    string // "" for all ports of a bridge that we created
	Out     bool   // with Port: frames to the port, otherwise from it
	Tool    string // the program that writes it on this host, for printing: iptables, iptables-legacy, ...
}

// InsertCommand returns what a person types to put the rule first in its chain.
func (r Rule) InsertCommand() string {
	return r.command(append([]string{"-I", r.Chain, "1"}, r.match()...))
}

// UnmarkedCommand is InsertCommand for what is not ours, where the rule is to be the user's
// own: a marked one without an attachment is deleted when it is next looked for.
func (r Rule) UnmarkedCommand() string {
	return r.command(slices.Concat([]string{"-I", r.Chain, "1"}, r.conditions(), accept))
}

// DeleteCommand returns what a person types to delete the rule.
func (r Rule) DeleteCommand() string {
	return r.command(append([]string{"-D", r.Chain}, r.match()...))
}

// String names the rule as messages do: IPv4 DOCKER-USER "gopipework brtest".
func (r Rule) String() string {
	return fmt.Sprintf("%s %s %q", r.Family, r.Chain, r.comment())
}

func (r Rule) comment() string {
	return commentPrefix + strings.TrimSpace(r.Bridge+" "+r.Port)
}

// match returns the rule's matches and its target, as iptables -S shows them.
func (r Rule) match() []string {
	return slices.Concat(r.conditions(), []string{"-m", "comment", "--comment", r.comment()}, accept)
}

var accept = []string{"-j", "ACCEPT"}

// conditions returns the matches without the mark.
func (r Rule) conditions() []string {
	args := []string{"-i", r.Bridge, "-o", r.Bridge, "-m", "physdev"}
	switch {
	case r.Port != "" && r.Out:
		args = append(args, "--physdev-out", r.Port)
	case r.Port != "":
		args = append(args, "--physdev-in", r.Port)
	}
	return append(args, "--physdev-is-bridged")
}

func (r Rule) command(args []string) string {
	tool := r.Tool
	switch {
	case tool == "" && r.Backend == Legacy:
		tool = r.Family.Tool() + "-legacy"
	case tool == "":
		tool = r.Family.Tool()
	}
	words := []string{tool}
	for _, a := range args {
		words = append(words, shell.Quote(a))
	}
	return strings.Join(words, " ")
}

// narrow returns the rules that do for one port what r does for all of them.
func (r Rule) narrow(port string) []Rule {
	if port == "" {
		return []Rule{r}
	}
	in, out := r, r
	in.Port, out.Port, out.Out = port, port, true
	return []Rule{in, out}
}
