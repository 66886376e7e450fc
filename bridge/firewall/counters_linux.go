package firewall

import (
	"context"
	"errors"
	"strconv"
	"strings"
)

// iptables-legacy has no trace. What it has is a count of the packets that each rule, and
// each policy, has decided over.

// Counter is how many packets a rule of iptables-legacy has decided over, or the policy of
// a chain.
type Counter struct {
	Family  Family
	Table   string
	Chain   string
	Rule    string // as iptables-save prints it: "-A FORWARD -i br0 -j DROP"; "policy drop" for a policy
	Drops   bool   // it drops the packets, or rejects them
	Packets uint64
}

// String is the counter as a person reads it, without the packets:
// "iptables-legacy filter FORWARD, policy drop".
func (c Counter) String() string {
	return chainName(c.Family, Legacy, c.Table, c.Chain) + ", " + c.Rule
}

// Counters returns the counters of iptables-legacy in the network namespace of the calling
// thread, like "iptables-legacy-save -c" and "ip6tables-legacy-save -c". It returns none
// where no legacy table is in use, and then starts no program. The error has the code
// unsupported if there is a table, but no program to list it.
func Counters(ctx context.Context) (all []Counter, err error) {
	for _, family := range families {
		text, err := saveLegacy(ctx, family, "-c")
		if missing := (*missingToolError)(nil); errors.As(err, &missing) {
			return nil, toolFault("read counters of", family.Tool()+"-legacy", err)
		}
		if err != nil {
			return nil, readFault(family.Tool()+"-legacy", err)
		}
		all = append(all, parseCounters(family, text)...)
	}
	return all, nil
}

// Moved returns the counters that have grown by some packets at least between two looks.
// Packets is by how many. Rules that were not there before are left out, and so are those
// of a chain whose rules have changed, from the change on.
func Moved(before, after []Counter, by uint64) (moved []Counter) {
	type chain struct {
		family      Family
		table, name string
	}
	had := map[chain][]Counter{}
	for _, c := range before {
		key := chain{c.Family, c.Table, c.Chain}
		had[key] = append(had[key], c)
	}
	for _, c := range after {
		key := chain{c.Family, c.Table, c.Chain}
		if len(had[key]) == 0 || had[key][0].Rule != c.Rule {
			delete(had, key)
			continue
		}
		was := had[key][0].Packets
		had[key] = had[key][1:]
		if c.Packets > was && c.Packets-was >= by {
			c.Packets -= was
			moved = append(moved, c)
		}
	}
	return moved
}

// parseCounters reads ":CHAIN POLICY [packets:bytes]" and "[packets:bytes] -A CHAIN RULE".
func parseCounters(family Family, text string) (all []Counter) {
	table := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "*"); ok {
			table = name
		}
		c := Counter{Family: family, Table: table}
		words := splitWords(line)
		switch {
		case strings.HasPrefix(line, ":") && len(words) == 3 && words[1] != "-":
			c.Chain, c.Drops = words[0][1:], words[1] == "DROP"
			c.Rule = "policy " + strings.ToLower(words[1])
			c.Packets = packets(words[2])
		case strings.HasPrefix(line, "[") && len(words) > 2 && words[1] == "-A":
			c.Chain, c.Drops = words[2], parseRule(words[3:]).verdict == drops
			_, c.Rule, _ = strings.Cut(line, " ")
			c.Packets = packets(words[0])
		default:
			continue
		}
		all = append(all, c)
	}
	return all
}

// packets reads "[packets:bytes]".
func packets(word string) uint64 {
	count, _, _ := strings.Cut(strings.TrimPrefix(word, "["), ":")
	n, _ := strconv.ParseUint(count, 10, 64)
	return n
}
