package firewall

import (
	"fmt"
	"slices"
	"strings"
)

// Firewall is what this namespace's netfilter does to frames bridged within
// one bridge. The zero value filters nothing.
type Firewall struct {
	// Paths has one entry for each family on nf_tables, even without rules, and one
	// more for each family whose legacy table is in use.
	Paths []Path
	// DockerOwned is true for a bridge that Docker created. Docker's rules decide which
	// containers may communicate over it, and we do not overrule them.
	DockerOwned bool
	// Restless is true if the rules kept changing while they were read.
	Restless bool
	// Unseen names filters of bridged frames that are in use but cannot be read.
	Unseen []string
}

// Path describes how the frames of one family pass one backend.
type Path struct {
	Family   Family
	Backend  Backend
	Asked    bool   // the guest uses this family
	Filtered bool   // br_netfilter passes them to iptables, by the namespace's sysctl or the bridge's option
	Drops    bool   // without our own rules FORWARD drops them
	By       string // the rule that drops them
	Chain    string // the chain that our accept belongs in
	Tool     string // the program that writes there: iptables, ip6tables-legacy, ...; "" if there is none
	Ours     []Rule // rules of ours in Chain's table, for any bridge and port
	Late     []Rule // those for the bridge that have no effect, because a drop comes before them

	// Blocks are chains that stop frames, or may stop them, whatever rules we add. An
	// accept in one chain does not prevent the next one from dropping (nft(8), "VERDICT
	// STATEMENT").
	Blocks []Block

	// Unread says why the rules could not be read: there is a legacy table, but no
	// program to list it. It is empty if they were read.
	Unread string
}

// Block is a chain that stops frames.
type Block struct {
	Chain   string // as "nft inet firewalld filter_FORWARD"
	Rule    string // the rule that stops them, as a person reads it
	Diverts bool   // it does not drop them, but changes their addresses or sends them elsewhere
	Sure    bool   // it stops all of them; otherwise it stops some, or that is not known
	More    int    // how many other rules of the chain may stop some
	Remedy  string // a command that lets them pass, or ""
}

func (b Block) does() string {
	if b.Diverts {
		return "diverts"
	}
	return "drops"
}

// Needed returns the rules that are missing for frames to pass between all
// ports of the bridge, or, with a port, between that port and the others. It
// returns none where nothing drops, and none for a bridge that is Docker's. In
// DOCKER-USER a rule is needed even if nothing drops yet: Docker may set the policy
// of FORWARD to DROP later. For IPv6 it does so with its first IPv6 network.
func (f Firewall) Needed(bridge, port string) []Rule {
	if f.DockerOwned {
		return nil
	}
	var rules []Rule
	for _, p := range f.Paths {
		if p.Filtered {
			rules = append(rules, p.missing(bridge, port)...)
		}
	}
	return rules
}

func (p Path) missing(bridge, port string) []Rule {
	if !p.Drops && p.Chain != dockerUserChain {
		return nil
	}
	all := Rule{Family: p.Family, Backend: p.Backend, Chain: p.Chain, Bridge: bridge, Tool: p.Tool}
	if p.works(all) {
		return nil
	}
	return slices.DeleteFunc(all.narrow(port), p.works)
}

// Drops reports whether frames are dropped now because the rule is missing.
func (f Firewall) Drops(r Rule) bool {
	return slices.ContainsFunc(f.Paths, func(p Path) bool {
		return p.Family == r.Family && p.Backend == r.Backend && p.Filtered && p.Drops
	})
}

// works reports whether a rule is there and has an effect.
func (p Path) works(r Rule) bool { return slices.Contains(p.Ours, r) && !slices.Contains(p.Late, r) }

// Cut returns a sentence for everything that stops frames between the ports of the bridge,
// or between that port and the others. It leaves out what may stop only some of them.
func (f Firewall) Cut(bridge, port string) []string {
	var out []string
	for _, p := range f.Paths {
		if p.Asked && p.Filtered && p.Drops && (f.DockerOwned || len(p.missing(bridge, port)) > 0) {
			out = append(out, fmt.Sprintf("%s drops %s frames (%s)", chainName(p.Family, p.Backend, "filter", forwardChain), p.Family, p.By))
		}
		for _, b := range p.Blocks {
			if b.Sure {
				out = append(out, fmt.Sprintf("%s %s %s frames (%s)", b.Chain, b.does(), p.Family, b.Rule))
			}
		}
	}
	return out
}

// OursFor returns our rules for the bridge and its ports, or, with a port, for that port
// alone. A rule that exists twice is listed twice, because deleting it takes two calls of
// Delete.
func (f Firewall) OursFor(bridge, port string) []Rule {
	var rules []Rule
	for _, p := range f.Paths {
		for _, r := range p.Ours {
			if r.Bridge == bridge && (port == "" || r.Port == port) {
				rules = append(rules, r)
			}
		}
	}
	return rules
}

// Warnings returns a sentence for everything that our rules cannot change and that a user
// must know about frames within the bridge.
func (f Firewall) Warnings(bridge string) []string {
	var out []string
	if f.DockerOwned && slices.ContainsFunc(f.Paths, func(p Path) bool { return p.Filtered }) {
		out = append(out, fmt.Sprintf("%s is Docker's own bridge: Docker's rules decide which frames pass between its ports, and %s",
			bridge, f.dockerState()))
	}
	var blocks []Block
	families := map[Block][]string{}
	for _, p := range f.Paths {
		for _, b := range p.Blocks {
			if families[b] == nil {
				blocks = append(blocks, b)
			}
			families[b] = append(families[b], p.Family.String())
		}
	}
	for _, b := range blocks {
		out = append(out, b.warning(bridge, strings.Join(families[b], " and ")))
	}
	for _, p := range f.Paths {
		if p.Filtered && p.Unread != "" {
			out = append(out, fmt.Sprintf("the %s rules of %s could not be read, and may drop frames bridged within %s: %s",
				p.Backend, p.Family.Tool(), bridge, p.Unread))
		}
	}
	if f.Restless {
		out = append(out, "the host's firewall kept changing while it was read: this report may be out of date")
	}
	for _, name := range f.Unseen {
		out = append(out, fmt.Sprintf("%s is in use, and its rules cannot be read: they may drop frames bridged within %s", name, bridge))
	}
	return out
}

func (b Block) warning(bridge, families string) string {
	does := b.does()
	if !b.Sure {
		does = "may " + strings.TrimSuffix(does, "s") + " some"
	}
	text := fmt.Sprintf("%s %s %s frames bridged within %s", b.Chain, does, families, bridge)
	if b.Rule != "" {
		text += fmt.Sprintf(" (%s", b.Rule)
		if b.More > 0 {
			text += fmt.Sprintf("; and %d more rules", b.More)
		}
		text += ")"
	}
	switch {
	case b.Diverts:
		text += ": with a different address, or along a different path, they or the answers may not arrive"
	case b.Sure:
		text += ", and an accept elsewhere cannot undo that"
	}
	if b.Remedy != "" {
		text += "; to let them pass: " + b.Remedy
	}
	return text
}

func (f Firewall) dockerState() string {
	var drops []string
	for _, p := range f.Paths {
		if p.Filtered && p.Drops && !slices.Contains(drops, p.Family.String()) {
			drops = append(drops, p.Family.String())
		}
	}
	if drops == nil {
		return "they let new connections pass now"
	}
	return "they drop " + strings.Join(drops, " and ") + " now"
}
