package firewall

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/gopipework/gopipework/internal/shell"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Chains and rules of nf_tables: those of iptables-nft and everybody else's.

// nftChain names a chain.
type nftChain struct {
	family      uint8 // NFPROTO_*
	table, name string
}

var nftFamilies = map[uint8]string{
	unix.NFPROTO_IPV4:   "ip",
	unix.NFPROTO_IPV6:   "ip6",
	unix.NFPROTO_INET:   "inet",
	unix.NFPROTO_BRIDGE: "bridge",
	unix.NFPROTO_NETDEV: "netdev",
	unix.NFPROTO_ARP:    "arp",
}

// String names the chain as nft does: "nft inet firewalld filter_FORWARD".
func (c nftChain) String() string {
	return fmt.Sprintf("nft %s %s %s", nftFamilies[c.family], c.table, c.name)
}

// nftBase is a chain, and what is known of it without its rules.
type nftBase struct {
	nftChain
	base     bool // it is called by a hook
	number   int  // of the hook, NF_INET_*
	priority int32
	kind     string   // filter, nat, route
	policy   verdict  // of a base chain
	devices  []string // of which it is asked alone; "eth*": of all that begin so
}

// forward reports whether it is a filter on the forward hook.
func (b nftBase) forward() bool {
	return b.base && b.number == unix.NF_INET_FORWARD && b.kind == "filter"
}

// hooks are those that a bridged frame comes by. Family bridge has the same
// numbers.
var hooks = map[int]hook{unix.NF_INET_PRE_ROUTING: preRouting, unix.NF_INET_FORWARD: forwarding, unix.NF_INET_POST_ROUTING: postRouting}

func (c *nftConn) chains() ([]nftBase, error) {
	replies, err := c.request(unix.NFT_MSG_GETCHAIN, unix.NLM_F_DUMP, unix.AF_UNSPEC)
	if err != nil {
		return nil, fmt.Errorf("list chains: %w", err)
	}
	out := make([]nftBase, 0, len(replies))
	for _, reply := range replies {
		attrs := attributes(reply.attrs)
		b := nftBase{policy: accepts, kind: attrString(attrs[unix.NFTA_CHAIN_TYPE]), nftChain: nftChain{
			family: reply.family,
			table:  attrString(attrs[unix.NFTA_CHAIN_TABLE]),
			name:   attrString(attrs[unix.NFTA_CHAIN_NAME]),
		}}
		if hook := attrs[unix.NFTA_CHAIN_HOOK]; hook != nil {
			where := attributes(hook)
			b.base = true
			b.number = int(attrUint32(where[unix.NFTA_HOOK_HOOKNUM]))
			b.priority = int32(attrUint32(where[unix.NFTA_HOOK_PRIORITY]))
			b.devices = hookDevices(where)
		}
		if policy := attrs[unix.NFTA_CHAIN_POLICY]; policy != nil && attrUint32(policy) == 0 { // NF_DROP
			b.policy = drops
		}
		out = append(out, b)
	}
	return out, nil
}

// From linux/netfilter/nf_tables.h and linux/netfilter.h.
const (
	hookDevs      = 4 // NFTA_HOOK_DEVS, a list of
	deviceName    = 1 // NFTA_DEVICE_NAME, or
	devicePrefix  = 2 // NFTA_DEVICE_PREFIX
	netdevIngress = 0 // NF_NETDEV_INGRESS
	netdevEgress  = 1 // NF_NETDEV_EGRESS
	netdevOfInet  = 5 // NF_INET_INGRESS
)

func hookDevices(hook [16][]byte) (names []string) {
	if one := hook[unix.NFTA_HOOK_DEV]; one != nil {
		names = append(names, attrString(one))
	}
	for kind, name := range eachAttribute(hook[hookDevs]) {
		switch kind {
		case deviceName:
			names = append(names, attrString(name))
		case devicePrefix:
			names = append(names, attrString(name)+"*")
		}
	}
	return names
}

// device tells which way a chain sees frames if it is asked of single devices:
// those that come in, or those that go out.
func (b nftBase) device() (at hook, ok bool) {
	switch {
	case !b.base:
	case b.family == unix.NFPROTO_NETDEV && b.number == netdevIngress, b.family == unix.NFPROTO_INET && b.number == netdevOfInet:
		return preRouting, true
	case b.family == unix.NFPROTO_NETDEV && b.number == netdevEgress:
		return postRouting, true
	}
	return 0, false
}

// From linux/netfilter/nf_tables.h.
const (
	tableOwned    = 2 // NFT_TABLE_F_OWNER
	tablePersists = 4 // NFT_TABLE_F_PERSIST
)

// tables returns the tables that the kernel does not ask (nft(8), "flags dormant"), as
// chains without a name. fleeting: one goes with the process that has made it.
func (c *nftConn) tables() (asleep map[nftChain]bool, fleeting bool, err error) {
	replies, err := c.request(unix.NFT_MSG_GETTABLE, unix.NLM_F_DUMP, unix.AF_UNSPEC)
	if err != nil {
		return nil, false, fmt.Errorf("list tables: %w", err)
	}
	asleep = map[nftChain]bool{}
	for _, reply := range replies {
		attrs := attributes(reply.attrs)
		flags := attrUint32(attrs[unix.NFTA_TABLE_FLAGS])
		if flags&unix.NFT_TABLE_F_DORMANT != 0 {
			asleep[nftChain{family: reply.family, table: attrString(attrs[unix.NFTA_TABLE_NAME])}] = true
		}
		fleeting = fleeting || flags&(tableOwned|tablePersists) == tableOwned
	}
	return asleep, fleeting, nil
}

// maxRead bounds how many rules are read, maxElements how many elements of all
// sets, and maxSet how many bytes of one set, which is about 30,000 IPv4 addresses.
// Lists of addresses to block may have hundreds of thousands.
const (
	maxRead     = 50_000
	maxElements = 200_000
	maxSet      = 512 << 10
)

// nftReader reads rules chain by chain, each once, and of them only those a frame
// comes to: a host may have thousands in chains that speak of other interfaces.
type nftReader struct {
	ctx       context.Context
	conn      *nftConn
	untouched bool // there are no tables: nothing is asked
	chains    []nftBase
	asleep    map[nftChain]bool
	fleeting  bool // a table goes with a process
	rules     map[nftChain][]chainRule
	sets      *nftSets
	read      int
}

// open lists what there is, unless an earlier look has.
func (r *nftReader) open() (err error) {
	if r.sets != nil {
		return nil
	}
	r.sets = &nftSets{reader: r}
	if r.untouched {
		return nil
	}
	if r.chains, err = r.conn.chains(); err != nil || len(r.chains) == 0 {
		return err
	}
	if len(r.chains) > 0 { // as most guests have none
		r.asleep, r.fleeting, err = r.conn.tables()
	}
	return err
}

// lasts reports whether what was read is so for as long as nobody writes. Chains of single
// devices change when a device goes, and a table can go with a process.
func (r *nftReader) lasts() bool {
	return r.sets != nil && r.read <= maxRead && !r.fleeting && !slices.ContainsFunc(r.chains, func(c nftBase) bool { return len(c.devices) > 0 && !c.isFilter() })
}

// count notes that so many rules were read.
func (r *nftReader) count(n int) error {
	if r.read += n; r.read > maxRead {
		return errTooMany
	}
	return r.ctx.Err()
}

// table returns a reader of the chains of one table.
func (r *nftReader) table(family uint8, table string) func(string) ([]chainRule, error) {
	return func(name string) ([]chainRule, error) {
		key := nftChain{family, table, name}
		if rules, ok := r.rules[key]; ok {
			return rules, nil
		}
		if err := r.count(0); err != nil {
			return nil, err
		}
		replies, err := r.conn.request(unix.NFT_MSG_GETRULE, unix.NLM_F_DUMP, family,
			nl.NewRtAttr(unix.NFTA_RULE_TABLE, nl.ZeroTerminated(table)),
			nl.NewRtAttr(unix.NFTA_RULE_CHAIN, nl.ZeroTerminated(name)))
		if err != nil {
			return nil, fmt.Errorf("list rules of %s: %w", key, err)
		}
		if err := r.count(len(replies)); err != nil {
			return nil, err
		}
		rules := make([]chainRule, 0, len(replies))
		for _, reply := range replies {
			attrs := attributes(reply.attrs)
			d := decoder{family: family, table: table, sets: r.sets}
			rules = append(rules, d.rule(attrs[unix.NFTA_RULE_USERDATA], attrs[unix.NFTA_RULE_EXPRESSIONS]))
		}
		r.rules[key] = rules
		return rules, nil
	}
}

// filter returns the table that iptables-nft keeps for a family.
func (r *nftReader) filter(family Family) filterTable {
	nf := family.nfproto()
	t := filterTable{backend: NFT, policy: accepts, rules: r.table(nf, "filter"), dormant: r.asleep[nftChain{family: nf, table: "filter"}]}
	for _, c := range r.chains {
		switch {
		case c.family != nf || c.table != "filter":
			continue
		case c.name == forwardChain && !c.forward():
			continue // somebody's own chain that only has the name
		case c.name == forwardChain:
			t.policy = c.policy
		}
		t.chains = append(t.chains, c.name)
	}
	return t
}

func (f Family) nfproto() uint8 {
	if f == IPv6 {
		return unix.NFPROTO_IPV6
	}
	return unix.NFPROTO_IPV4
}

// isForward reports whether it is iptables' own FORWARD, which a Path is about.
func (b nftBase) isForward(family Family) bool {
	return b.forward() && b.nftChain == nftChain{family.nfproto(), "filter", forwardChain}
}

// iptables is the word for the table if it is one of iptables-nft's.
func (b nftBase) iptables(family Family) bool {
	return b.family == family.nfproto() && slices.Contains([]string{"raw", "mangle", "nat", "filter", "security"}, b.table) &&
		slices.Contains([]string{"PREROUTING", "FORWARD", "POSTROUTING"}, b.name)
}

// elsewhere judges the chains that the frames pass besides iptables' FORWARD.
// Family bridge's see each bridged frame, whatever bridge-nf-call says, and see
// ports as its interfaces. What the rules change of the frames is added to changed.
func (r *nftReader) elsewhere(s subject, changed *written) (blocks []Block, err error) {
	chains := slices.DeleteFunc(slices.Clone(r.chains), func(c nftBase) bool {
		_, single := c.device()
		_, on := hooks[c.number]
		on = on && c.base && (c.family == unix.NFPROTO_BRIDGE || s.filtered && (c.family == s.family.nfproto() || c.family == unix.NFPROTO_INET))
		return !single && !on || c.isFilter() || c.isForward(s.family) || r.asleep[nftChain{family: c.family, table: c.table}]
	})
	slices.SortStableFunc(chains, func(a, b nftBase) int {
		return cmp.Or(cmp.Compare(a.number, b.number), cmp.Compare(a.priority, b.priority))
	})
	for _, c := range chains {
		at, single := c.device()
		frames := s.frames(hooks[c.number], c.family == unix.NFPROTO_BRIDGE)
		if single {
			frames = s.through(at, c.devices)
		}
		if c.kind == "nat" {
			frames = begin(frames)
		}
		changed.in(frames)
		for i := range frames {
			frames[i].early = c.number == unix.NF_INET_PRE_ROUTING && c.priority < conntrackPriority
		}
		w := walker{rules: r.table(c.family, c.table), withOurs: true}
		j, err := judge(c.name, c.policy, w, frames)
		if errors.Is(err, errTooMany) {
			j, err = judgement{doubtful: []string{err.Error()}}, nil
		}
		if err != nil {
			return nil, err
		}
		j = s.judged(j, c.kind == "nat")
		blocks = append(blocks, j.block(c.String(), func(rule string) string { return r.remedy(c, s, rule) })...)
	}
	return blocks, nil
}

// remedy is what a person does to let the frames pass a rule of a chain.
func (r *nftReader) remedy(c nftBase, s subject, rule string) string {
	at := hooks[c.number]
	firewalld, wayBack := c.table == "firewalld", asksWayBack(rule)
	switch {
	case wayBack && s.route() != "":
		return s.route()
	case wayBack && firewalld: // no zone changes it
		return "IPv6_rpfilter=no in /etc/firewalld/firewalld.conf"
	case firewalld:
		return "firewall-cmd --zone=trusted --add-interface=" + shell.Quote(s.bridge)
	case c.iptables(s.family):
		return s.remedy(toolOr(s.family, NFT), c.table, at)
	}
	if at, single := c.device(); single { // there a frame's interface is the port
		word := map[hook]string{preRouting: "iifname", postRouting: "oifname"}[at]
		return fmt.Sprintf("nft 'insert rule %s %s %s %s %q accept'", nftFamilies[c.family], c.table, c.name, word, s.Port)
	}
	if c.kind == "nat" {
		p, ok := s.subnet()
		if !ok {
			return ""
		}
		ip := map[Family]string{IPv4: "ip", IPv6: "ip6"}[s.family]
		return fmt.Sprintf("nft 'insert rule %s %s %s %s saddr %s %s daddr %s accept'", nftFamilies[c.family], c.table, c.name, ip, p, ip, p)
	}
	in, out := "iifname", "oifname"
	if c.family == unix.NFPROTO_BRIDGE && at == forwarding && s.Port != "" {
		rule := fmt.Sprintf("insert rule bridge %s %s", c.table, c.name)
		return fmt.Sprintf("nft '%s iifname %q accept; %s oifname %q accept'", rule, s.Port, rule, s.Port)
	}
	if c.family == unix.NFPROTO_BRIDGE { // by a feature that not every kernel has
		in, out = "meta ibrname", "meta obrname"
	}
	words := map[hook]string{
		preRouting:  fmt.Sprintf("%s %q", in, s.bridge),
		forwarding:  fmt.Sprintf("%s %q %s %q", in, s.bridge, out, s.bridge),
		postRouting: fmt.Sprintf("%s %q", out, s.bridge),
	}
	return fmt.Sprintf("nft 'insert rule %s %s %s %s accept'", nftFamilies[c.family], c.table, c.name, words[at])
}
