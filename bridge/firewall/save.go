package firewall

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Rules of iptables as it writes them: the one form of legacy rules that can be
// read without knowing each match's binary layout.

// savedTable is a table of iptables.
type savedTable struct {
	name     string
	chains   []string
	policies map[string]verdict // of its base chains
	rules    map[string][]chainRule
}

func (t *savedTable) in(chain string) ([]chainRule, error) { return t.rules[chain], nil }

// filter is the table as that of the rules in FORWARD.
func (t *savedTable) filter() filterTable {
	policy := accepts
	if p, ok := t.policies[forwardChain]; ok {
		policy = p
	}
	return filterTable{backend: Legacy, chains: t.chains, policy: policy, rules: t.in}
}

// parseTables reads the output of iptables-save, or of iptables -S: "*TABLE",
// ":CHAIN POLICY" or "-P CHAIN POLICY" or "-N CHAIN", and "-A CHAIN RULE" lines.
// What it does not know in a rule is a condition that may or may not hold.
func parseTables(text string) []*savedTable {
	newTable := func(name string) *savedTable {
		return &savedTable{name: name, policies: map[string]verdict{}, rules: map[string][]chainRule{}}
	}
	t := newTable("filter") // which -S means
	tables := []*savedTable{t}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "*"); ok {
			t = newTable(name)
			tables = append(tables, t)
			continue
		}
		if rest, ok := strings.CutPrefix(line, ":"); ok {
			line = "-P " + rest
		}
		words := splitWords(line)
		if len(words) < 2 {
			continue
		}
		chain := words[1]
		switch words[0] {
		case "-P":
			t.chains = append(t.chains, chain)
			if len(words) > 2 && words[2] != "-" {
				t.policies[chain] = accepts
				if words[2] == "DROP" {
					t.policies[chain] = drops
				}
			}
		case "-N":
			t.chains = append(t.chains, chain)
		case "-A":
			r := parseRule(words[2:])
			r.text = line
			t.rules[chain] = append(t.rules[chain], r)
		}
	}
	tables = slices.DeleteFunc(tables, func(t *savedTable) bool { return t.chains == nil })
	for _, t := range tables {
		for _, rules := range t.rules {
			for i := range rules {
				if r := &rules[i]; r.verdict == jumps && t.rules[r.target] == nil && !slices.Contains(t.chains, r.target) {
					r.verdict = undecided // a target that is not known
				}
			}
		}
	}
	return tables
}

// ruleReader takes the words of one rule apart.
type ruleReader struct {
	chainRule
	words []string
	not   bool
}

func (r *ruleReader) next() string {
	if len(r.words) == 0 {
		return ""
	}
	w := r.words[0]
	r.words = r.words[1:]
	return w
}

func (r *ruleReader) require(c condition) {
	c.not = c.not != r.not
	r.conditions = append(r.conditions, c)
}

// parseRule reduces a rule. Each option stands for itself: a match without one
// (-m tcp) asks for nothing that its options do not.
func parseRule(words []string) chainRule {
	r := ruleReader{words: words}
	for len(r.words) > 0 {
		option := r.next()
		if option == "!" {
			r.not = true
			continue
		}
		if r.option(option) {
			break // what follows are the target's own options
		}
		r.not = false
	}
	return r.chainRule
}

// optionNames are options that compare the name of an interface.
var optionNames = map[string]field{"-i": inName, "-o": outName, "--physdev-in": physIn, "--physdev-out": physOut}

// plainMatches ask for nothing but what their options say; each option that is
// not known to parseRule is not judged.
var plainMatches = []string{"physdev", "comment", "tcp", "udp", "sctp", "dccp", "udplite", "icmp", "icmp6", "icmpv6", "conntrack", "state", "mark", "connmark", "multiport", "addrtype"}

// variedOptions take one word, and ask for what differs from packet to packet.
var variedOptions = []string{"--dport", "--sport", "--dports", "--sports", "--ports", "--icmp-type", "--length"}

// option reads one option, and tells whether it was the target.
func (r *ruleReader) option(option string) bool {
	if key, ok := optionNames[option]; ok {
		r.require(nameCondition(key, r.next(), false))
		return false
	}
	if slices.Contains(variedOptions, option) {
		value := r.next()
		r.require(condition{key: varied, few: strings.Contains(option, "port") && fewWords(value)})
		return false
	}
	switch option {
	case "-s", "-d":
		r.require(addressCondition(r.next(), option == "-d"))
	case "-p":
		r.require(protocolCondition(r.next()))
	case "--comment":
		r.comment = r.next()
	case "-j":
		word := r.next()
		r.verdict, r.target = parseTarget(word)
		r.writes = targetWrites(word, func() bool { return slices.Contains(r.words, "--notrack") })
		return true
	case "-g":
		r.verdict, r.target = goesTo, r.next()
		return true
	case "-m":
		r.match(r.next())
	case "--physdev-is-bridged", "--physdev-is-in", "--physdev-is-out":
		c := physKind(option, false)
		r.require(c)
	case "--src-type":
		r.require(typeOptionCondition(sourceType, r.next()))
	case "--dst-type":
		r.require(typeOptionCondition(targetType, r.next()))
	case "--ctstate", "--state":
		r.require(stateCondition(r.next()))
	case "--mark":
		r.require(markCondition(r.next()))
	case "--icmpv6-type":
		r.require(icmp6Condition(r.next()))
	case "--tcp-flags":
		r.next()
		r.next()
		r.require(condition{key: varied})
	case "--syn":
		r.require(condition{key: varied})
	default:
		r.require(condition{})
		for len(r.words) > 0 && !strings.HasPrefix(r.words[0], "-") && r.words[0] != "!" {
			r.next() // its values
		}
	}
	return false
}

func (r *ruleReader) match(name string) {
	switch {
	case name == "rpfilter":
		var loose, invert bool
		for len(r.words) > 0 && slices.Contains([]string{"--loose", "--validmark", "--accept-local", "--invert"}, r.words[0]) {
			switch r.next() {
			case "--loose":
				loose = true
			case "--invert":
				invert = true
			}
		}
		r.require(wayBack(loose, invert))
	case name == "limit" || name == "statistic" || name == "hashlimit" || name == "quota":
		for len(r.words) > 0 && r.words[0] != "-m" && r.words[0] != "-j" && r.words[0] != "-g" && r.words[0] != "!" {
			r.next()
		}
		r.require(condition{few: strings.HasSuffix(name, "limit")})
	case name == "connmark":
		if len(r.words) > 1 && r.words[0] == "--mark" {
			r.next()
			c := markCondition(r.next())
			if t, ok := c.test.(*check); ok {
				t.field = ctMark
			}
			r.require(c)
		}
	case !slices.Contains(plainMatches, name):
		r.require(condition{})
	}
}

// fewWords reports whether the ports of a list, such as 22,6000:6063, are few.
func fewWords(list string) bool {
	n := 0
	for word := range strings.SplitSeq(list, ",") {
		from, to, isRange := strings.Cut(word, ":")
		a, _ := strconv.Atoi(from) // "" is 0
		b := a
		if isRange {
			b = 65535
		}
		if k, err := strconv.Atoi(to); err == nil {
			b = k
		}
		n += b - a + 1
	}
	return n <= maxFewPorts
}

// wayBack is whether the way to a packet's source leads where it came from; or,
// loose, whether there is one.
func wayBack(loose, missing bool) condition {
	c := &check{load: load{field: reversePath}, within: []interval{only(native32(0))}}
	if loose {
		c.field = reverseAny
	}
	return condition{test: c, not: !missing}
}

func addressCondition(word string, destination bool) condition {
	p, err := netip.ParsePrefix(word)
	if err != nil {
		addr, err := netip.ParseAddr(word)
		if err != nil {
			return condition{}
		}
		p = netip.PrefixFrom(addr, addr.BitLen())
	}
	lo, hi := bounds(p)
	l := load{field: netHeader, offset: 12, n: 4}
	if p.Addr().Is6() {
		l.offset, l.n = 8, 16
	}
	if destination {
		l.offset += l.n
	}
	return condition{test: &check{load: l, within: []interval{{lo, hi}}}}
}

var protocols = map[string]byte{"icmp": 1, "tcp": 6, "udp": 17, "ipv6-icmp": icmp6, "icmpv6": icmp6, "esp": 50, "ah": 51, "sctp": 132, "udplite": 136, "gre": 47, "dccp": 33, "ipencap": 4, "igmp": 2, "vrrp": 112, "ospf": 89}

func protocolCondition(word string) condition {
	n, ok := protocols[word]
	if !ok {
		i, err := strconv.ParseUint(word, 10, 8)
		if err != nil {
			return condition{key: varied} // some protocol by its name
		}
		n = byte(i)
	}
	return condition{test: &check{load: load{field: layer4}, within: []interval{only([]byte{n})}}}
}

var states = map[string]uint32{"INVALID": stateInvalid, "ESTABLISHED": stateReplied, "RELATED": 4, "NEW": stateNew, "UNTRACKED": stateUntracked}

func stateCondition(word string) condition {
	var bits uint32
	for _, name := range strings.Split(word, ",") {
		bit, ok := states[name]
		if !ok {
			return condition{} // SNAT, DNAT
		}
		bits |= bit
	}
	return bitsCondition(ctState, bits)
}

// bitsCondition is whether one of some bits is set.
func bitsCondition(of field, bits uint32) condition {
	return condition{not: true, test: &check{
		load:   load{field: of, mask: native32(bits), xor: native32(0)},
		within: []interval{only(native32(0))},
	}}
}

// markCondition reads VALUE/MASK.
func markCondition(word string) condition {
	value, mask, masked := strings.Cut(word, "/")
	v, err := strconv.ParseUint(value, 0, 32)
	m := uint64(0xffffffff)
	if err == nil && masked {
		m, err = strconv.ParseUint(mask, 0, 32)
	}
	if err != nil {
		return condition{}
	}
	return markedCondition(mark, uint32(v), uint32(m))
}

func markedCondition(of field, value, mask uint32) condition {
	return condition{test: &check{
		load:   load{field: of, mask: native32(mask), xor: native32(0)},
		within: []interval{only(binary.NativeEndian.AppendUint32(nil, value))},
	}}
}

func icmp6Condition(word string) condition {
	kind, _, code := strings.Cut(word, "/")
	n, err := strconv.ParseUint(kind, 10, 8)
	if err != nil || code {
		return condition{key: varied}
	}
	return condition{test: &check{load: load{field: transport, n: 1}, within: []interval{only([]byte{byte(n)})}}}
}

// physKind is a match on what sort of frame it is. A bridged one has both a
// port that it came in by and one that it goes out by; only the first form is
// ours, so that the others keep a name to tell them from it.
func physKind(option string, not bool) condition {
	c := condition{key: isBridged, not: not}
	if option != "--physdev-is-bridged" {
		c.name = option
	}
	return c
}

// nameCondition reads an interface as iptables writes it: "br+" is each that
// begins with "br".
func nameCondition(key field, name string, not bool) condition {
	name, prefix := strings.CutSuffix(name, "+")
	return condition{key: key, name: name, prefix: prefix, not: not}
}

// parseTarget reads iptables' word for what a rule does. One that it does not
// know is a chain, or a target that nobody here has heard of.
func parseTarget(word string) (verdict, string) {
	switch word {
	case "ACCEPT":
		return accepts, ""
	case "DROP", "REJECT":
		return drops, ""
	case "RETURN":
		return returns, ""
	case "NFQUEUE", "QUEUE":
		return undecided, ""
	case "DNAT", "SNAT", "MASQUERADE", "REDIRECT", "NETMAP":
		return diverts, ""
	}
	if slices.Contains(goingOn, word) {
		return goesOn, ""
	}
	return jumps, word
}

// goingOn are targets after which the packet comes to the next rule. Those of
// ebtables have small letters.
var goingOn = []string{
	"AUDIT", "CHECKSUM", "CLASSIFY", "CONNMARK", "CONNSECMARK", "CT", "DSCP", "ECN", "HL", "HMARK",
	"IDLETIMER", "LED", "LOG", "MARK", "NFLOG", "NOTRACK", "RATEEST", "SECMARK", "SET", "TCPMSS",
	"TCPOPTSTRIP", "TEE", "TOS", "TPROXY", "TRACE", "TTL", "ULOG", "log", "nflog", "ulog",
}

// targetWrites is what a target changes of what later rules ask for.
func targetWrites(word string, notrack func() bool) (w written) {
	w.marks = slices.Contains([]string{"MARK", "CONNMARK", "HMARK", "TPROXY"}, word)
	w.tracking = word == "NOTRACK" || word == "CT" && notrack()
	return w
}

// addressTypes are the words of RTN_*, from linux/rtnetlink.h.
var addressTypes = []string{"UNSPEC", "UNICAST", "LOCAL", "BROADCAST", "ANYCAST", "MULTICAST", "BLACKHOLE", "UNREACHABLE", "PROHIBIT", "THROW", "NAT", "XRESOLVE"}

// typeCondition is whether an address is of one of some types, bits of RTN_*.
func typeCondition(of field, bits uint16) condition {
	c := &check{load: load{field: of}}
	for i := range addressTypes {
		if bits&(1<<i) != 0 {
			c.within = append(c.within, only(native32(uint32(i))))
		}
	}
	return condition{test: c}
}

func typeWords(bits uint16) string {
	var words []string
	for i, word := range addressTypes {
		if bits&(1<<i) != 0 {
			words = append(words, word)
		}
	}
	return strings.Join(words, ",")
}

func typeOptionCondition(of field, words string) condition {
	var bits uint16
	for word := range strings.SplitSeq(words, ",") {
		i := slices.Index(addressTypes, word)
		if i < 0 {
			return condition{}
		}
		bits |= 1 << i
	}
	return typeCondition(of, bits)
}

// splitWords splits a line of iptables -S, where a value with blanks is in
// double quotes and quotes and backslashes in it are escaped (xtables.c,
// xtables_save_string). Outside quotes a backslash is a plain character.
func splitWords(line string) []string {
	var words []string
	var word strings.Builder
	inWord, inQuotes, escaped := false, false, false
	for _, c := range line {
		switch {
		case escaped:
			word.WriteRune(c)
			escaped = false
		case inQuotes && c == '\\':
			escaped = true
		case c == '"' && (inQuotes || !inWord):
			inQuotes, inWord = !inQuotes, true
		case c == ' ' && !inQuotes:
			if inWord {
				words = append(words, word.String())
				word.Reset()
			}
			inWord = false
		default:
			word.WriteRune(c)
			inWord = true
		}
	}
	if inWord {
		words = append(words, word.String())
	}
	return words
}
