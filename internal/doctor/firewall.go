package doctor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/gopipework/gopipework/bridge/firewall"
	"github.com/gopipework/gopipework/internal/finding"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/shell"
)

// firewallChecks look at the rules of the host that a bridged frame meets. That a rule
// drops is sure only when a probe was lost: what is read is kept until then.
var firewallChecks = []check{(*walker).readFirewall}

// readFirewall reads the rules. Without probes, what they surely drop is told.
func (w *walker) readFirewall() ([]finding.Finding, error) {
	q := firewallQuery(w.on, w.port, w.near)
	err := w.host.k.Run(func() (err error) { w.rules, err = firewall.Observe(w.ctx, q); return err })
	if err != nil {
		return nil, err
	}
	w.hops[len(w.hops)-1].Facts = w.firewallFacts()
	if w.ask.Passive {
		return w.suspects(), nil
	}
	var out []finding.Finding
	for _, name := range w.rules.Unseen {
		out = append(out, finding.FirewallUnseen.Perhaps("%s is in use, and its rules cannot be read", name))
	}
	for _, p := range w.rules.Paths {
		if p.Filtered && p.Unread != "" {
			out = append(out, finding.FirewallUnseen.Perhaps("the %s rules of %s could not be read: %s", p.Backend, p.Family, p.Unread))
		}
	}
	return out, nil
}

func firewallQuery(bridge, port *rtnl.Link, e *end) firewall.Query {
	q := firewall.Query{Bridge: bridge.Name, Port: port.Name, CallsIPv4: bridge.NFCallIPv4, CallsIPv6: bridge.NFCallIPv6}
	for _, p := range e.prefixes() {
		family := firewall.IPv4
		if p.Addr().Is6() {
			family = firewall.IPv6
		}
		if q.Addresses = append(q.Addresses, p); !slices.Contains(q.Families, family) {
			q.Families = append(q.Families, family)
		}
	}
	return q
}

// firewallFacts is what a person wants to know of the rules.
func (w *walker) firewallFacts() (facts []string) {
	for _, p := range w.rules.Paths {
		if !p.Filtered || !p.Asked {
			continue
		}
		fact := "iptables sees bridged " + p.Family.String() + " frames"
		switch {
		case p.Drops && len(w.missingRules(p.Family)) > 0:
			fact += ", which FORWARD would drop"
		case p.Drops:
			fact += ", and a rule lets them through FORWARD"
		}
		if !slices.Contains(facts, fact) {
			facts = append(facts, fact)
		}
	}
	if facts == nil {
		facts = append(facts, "iptables does not see bridged frames")
	}
	return facts
}

// missingRules returns the rules that would let the guest's frames of a family through FORWARD.
func (w *walker) missingRules(family firewall.Family) (rules []firewall.Rule) {
	port := w.port.Name
	if plan.IsOurs(w.on) {
		port = ""
	}
	for _, r := range w.rules.Needed(w.on.Name, port) {
		if r.Family == family && w.rules.Drops(r) {
			rules = append(rules, r)
		}
	}
	return rules
}

// suspects are the findings about what the rules surely drop, as far as reading them tells.
func (w *walker) suspects() (out []finding.Finding) {
	for _, p := range w.rules.Paths {
		if p.Asked && p.Filtered && p.Drops && (w.rules.DockerOwned || len(w.missingRules(p.Family)) > 0) {
			name := "ip filter FORWARD"
			if p.Family == firewall.IPv6 {
				name = "ip6 filter FORWARD"
			}
			if p.Backend == firewall.Legacy {
				name = "iptables-legacy filter FORWARD"
			}
			out = append(out, w.dropped(name, p.By, p.Family))
		}
		for _, b := range p.Blocks {
			if !b.Sure {
				continue
			}
			out = append(out, w.dropped(strings.TrimPrefix(b.Chain, "nft "), b.Rule, p.Family))
		}
	}
	return out
}

// dropped is the finding about a chain that drops, called "FAMILY TABLE CHAIN", and the
// rule.
func (w *walker) dropped(chain, rule string, family firewall.Family) finding.Finding {
	kind := kindOfChain(chain, rule)
	if w.rules.DockerOwned && kind == finding.ForwardDrop && w.isDockers(chain, rule) {
		kind = finding.DockerDrop
	}
	f := kind.Surely("%s drops frames of %s", chain, w.port.Name)
	if rule != "" {
		f.Reason += ": " + rule
	}
	if kind != finding.ForwardDrop && kind != finding.UFWDrop || len(w.missingRules(family)) == 0 {
		return w.remedied(f, chain)
	}
	f.Again = w.again()
	for _, r := range w.missingRules(family) {
		command := r.UnmarkedCommand()
		if r.Port == "" || plan.IsOurs(w.port) {
			command = r.InsertCommand()
		}
		f.Mend = append(f.Mend, command)
	}
	return f
}

// isDockers reports whether it is Docker that drops there on a bridge of its own: by the policy
// of FORWARD or, in a network without communication between its containers, by a rule from the
// bridge to itself. Other rules of FORWARD and of chains called from it are the user's.
func (w *walker) isDockers(chain, rule string) bool {
	return strings.HasSuffix(chain, " FORWARD") && (rule == "" || strings.HasPrefix(rule, "policy") || strings.Count(rule, w.on.Name) > 1)
}

// dockerUser is the chain that Docker leaves to the user's own rules.
const dockerUser = "DOCKER-USER"

// remedied returns f with what lets the frames pass, as far as reading the rules tells it.
func (w *walker) remedied(f finding.Finding, chain string) finding.Finding {
	for _, p := range w.rules.Paths {
		for _, b := range p.Blocks {
			if strings.TrimPrefix(b.Chain, "nft ") == chain && b.Remedy != "" {
				return f.MendedBy(b.Remedy)
			}
		}
	}
	return f
}

// acceptFrames returns f with the commands that let the frames of both ports pass a chain of
// the families bridge and netdev, in front of all its rules.
func (w *walker) acceptFrames(f finding.Finding, s firewall.Stop, far *far) finding.Finding {
	both := []string{w.port.Name}
	if far.port != nil {
		both = append(both, far.port.Name)
	}
	ways := map[string][]string{"prerouting": {"iifname"}, "postrouting": {"oifname"}, "forward": {"iifname", "oifname"}}
	for _, name := range both {
		for _, way := range ways[s.Hook] {
			words := "nft " + shell.Quote(fmt.Sprintf(`insert rule %s %s %s %s "%s" accept`, s.Family, s.Table, s.Base, way, name))
			if f.Kind == finding.EbtablesDrop {
				flag := map[string]string{"iifname": "-i", "oifname": "-o"}[way]
				words = fmt.Sprintf("ebtables -t %s -I %s 1 %s %s -j ACCEPT", s.Table, s.Base, flag, shell.Quote(name))
			}
			f = f.MendedBy(words)
		}
		if s.Hook == "forward" {
			break // both directions of one port are enough
		}
	}
	if s.Family == "netdev" {
		f = f.MendedBy("nft " + shell.Quote(fmt.Sprintf("insert rule netdev %s %s ether saddr %s accept", s.Table, s.Base, w.near.link.MAC)))
	}
	return f
}

// kindOfChain tells whose chain it is that drops.
func kindOfChain(chain, rule string) *finding.Kind {
	words := strings.Fields(chain)
	if len(words) < 3 {
		return finding.InetDrop
	}
	family, table, name := words[0], words[1], words[len(words)-1]
	upper := strings.ToUpper(name) == name
	switch {
	case family == "netdev":
		return finding.PreroutingDrop
	case family == "bridge" && slices.Contains([]string{"filter", "nat", "broute"}, table) && upper:
		return finding.EbtablesDrop
	case family == "bridge":
		return finding.BridgeDrop
	case table == "firewalld" || strings.HasPrefix(name, "FWD") && strings.Contains(strings.ToLower(rule), "firewalld"):
		return finding.FirewalldDrop
	case strings.HasPrefix(name, "ufw"):
		return finding.UFWDrop
	case strings.HasPrefix(name, "DOCKER") && name != dockerUser, strings.HasPrefix(table, "docker"):
		return finding.DockerDrop
	case slices.Contains([]string{"raw", "mangle", "nat"}, table):
		return finding.PreroutingDrop
	case table == "filter" && upper:
		return finding.ForwardDrop
	case strings.Contains(name, "prerouting"), strings.Contains(name, "postrouting"):
		return finding.PreroutingDrop
	}
	return finding.InetDrop
}
