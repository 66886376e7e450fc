package firewall

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// What a guest's own netfilter does to packets between its interface and its
// neighbours. Their frames begin and end in its namespace, so they pass other hooks
// than a bridged frame does; the rules are read and evaluated by the same code.

// guestEnd says more of a frame that begins or ends in a guest.
type guestEnd struct {
	protocol byte // of what it carries, as unix.IPPROTO_*
}

// ordinary are the protocols that an ordinary packet has.
var ordinary = []byte{unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_ICMP}

var protocolNames = map[byte]string{unix.IPPROTO_TCP: "TCP", unix.IPPROTO_UDP: "UDP", unix.IPPROTO_ICMP: "ping"}

// inGuest is what is known of a field of such a frame, where that differs from one
// that is bridged.
func (f bridgedFrame) inGuest(of field, offset, n int) (v value, ok bool) {
	name, index := "", 0
	if f.to {
		name, index = f.port, f.index
	}
	switch of {
	case inName:
		return exactly(nameBytes(name)), true
	case inIndex:
		return exactly(native32(uint32(index))), true
	case outName, outIndex:
		name, index = "", 0
		if !f.to {
			name, index = f.port, f.index
		}
		if of == outIndex {
			return exactly(native32(uint32(index))), true
		}
		return exactly(nameBytes(name)), true
	case physIn, physOut:
		return exactly(nameBytes("")), true
	case noSocket:
		return value{answer: partly}, !f.to // whose it is, nobody knows
	case layer4:
		if f.what <= reply {
			return exactly([]byte{f.protocol()}), true
		}
	case transport:
		if f.what <= reply && f.guest.protocol == unix.IPPROTO_ICMP && offset == 0 && n == 1 {
			return exactly([]byte{f.echo()}), true
		}
	case sourceType, targetType:
		switch {
		case (of == targetType) == f.to && f.what != solicit:
			return exactly(native32(rtnLocal)), true
		case of == targetType && f.what == solicit:
			return exactly(native32(rtnMulticast)), true
		case (of == sourceType) == f.to && f.family == IPv4:
			return exactly(native32(rtnUnicast)), true
		}
	case reversePath, reverseAny:
		// That packets from a neighbour find the way back is asked of the kernel.
		return exactly(native32(uint32(index))), f.to
	}
	return value{}, false
}

func (f bridgedFrame) protocol() byte {
	if f.guest.protocol == unix.IPPROTO_ICMP && f.family == IPv6 {
		return icmp6
	}
	return f.guest.protocol
}

// echo is the type of a ping, or of its answer.
func (f bridgedFrame) echo() byte {
	switch {
	case f.family == IPv6 && f.what == reply:
		return 129
	case f.family == IPv6:
		return 128
	case f.what == reply:
		return 0
	}
	return 8
}

// GuestQuery asks about packets by an interface, in the namespace that it is in.
type GuestQuery struct {
	Link      string
	Index     int
	Addresses []netip.Prefix // of the interface
}

// GuestBlock is a chain of a guest's own that stops packets.
type GuestBlock struct {
	Text string // as a person reads it
	Sure bool   // no connection can be made either way; otherwise some may
}

// ObserveGuest returns what netfilter stops of the packets between the interface and
// its neighbours, in the network namespace of the calling thread. A rule that drops
// some of them is no matter as long as an ordinary connection can be made: that is
// what such rules are for.
func ObserveGuest(ctx context.Context, q GuestQuery) ([]GuestBlock, error) {
	var out []GuestBlock
	_, _, err := readNFT(ctx, func(r *nftReader) error {
		out = nil
		if err := r.open(); err != nil || len(r.chains) == 0 {
			return err
		}
		for _, family := range families {
			blocks, err := q.blocks(family, r.guestChains(family, q.Link))
			if err != nil {
				return err
			}
			out = append(out, blocks...)
		}
		return nil
	})
	if err != nil {
		return nil, readFault(q.Link, err)
	}
	var legacy legacyReader
	for _, family := range families {
		tables, why, err := legacy.tables(ctx, family)
		if err != nil {
			return nil, readFault(q.Link, err)
		}
		if why != "" {
			out = append(out, GuestBlock{Text: "the legacy rules of " + family.Tool() + " could not be read, and may drop packets: " + why})
		}
		blocks, err := q.blocks(family, legacyGuestChains(family, tables))
		if err != nil {
			return nil, readFault(q.Link, err)
		}
		out = append(out, blocks...)
	}
	return slices.CompactFunc(out, func(a, b GuestBlock) bool { return a == b }), nil
}

// guestChain is a base chain on the way of packets that a guest sends or gets.
type guestChain struct {
	name   string // in its table
	full   string // for messages
	hook   hook
	early  bool // conntrack has not seen the packet
	arp    bool // it is asked about ARP alone
	frames bool // it is asked about all that the interface carries
	policy verdict
	rules  func(chain string) ([]chainRule, error)
}

// guestHooks are those of packets that end or begin here.
var guestHooks = map[int]hook{
	unix.NF_INET_PRE_ROUTING: preRouting, unix.NF_INET_LOCAL_IN: input,
	unix.NF_INET_LOCAL_OUT: output, unix.NF_INET_POST_ROUTING: postRouting,
}

// incoming tells which way the packets of a hook go.
func (h hook) incoming() bool { return h == preRouting || h == input }

const conntrackPriority = -200 // NF_IP_PRI_CONNTRACK

// guestChains returns those that a packet of the family meets on the interface.
func (r *nftReader) guestChains(family Family, link string) (out []guestChain) {
	for _, c := range r.chains {
		g := guestChain{name: c.name, full: c.String(), policy: c.policy, rules: r.table(c.family, c.table)}
		at, single := c.device()
		switch {
		case !c.base || c.kind == "nat" || r.asleep[nftChain{family: c.family, table: c.table}]:
			continue
		case single && subject{Query: Query{Port: link}}.covered(c.devices):
			g.hook, g.frames = at, true
		case single:
			continue
		case c.family == unix.NFPROTO_ARP && family == IPv4:
			g.hook, g.arp = output, true
			if c.number == arpIn {
				g.hook = input
			}
		case c.family == family.nfproto(), c.family == unix.NFPROTO_INET:
			var ok bool
			if g.hook, ok = guestHooks[c.number]; !ok {
				continue
			}
			g.early = c.priority < conntrackPriority
		default:
			continue
		}
		out = append(out, g)
	}
	return out
}

const arpIn = 0 // NF_ARP_IN

// covered tells whether a chain of single devices sees the port.
func (s subject) covered(devices []string) bool {
	return slices.ContainsFunc(devices, func(d string) bool {
		prefix, many := strings.CutSuffix(d, "*")
		return d == s.Port || many && strings.HasPrefix(s.Port, prefix)
	})
}

func legacyGuestChains(family Family, tables []*savedTable) (out []guestChain) {
	for _, t := range tables {
		if t.name == "nat" {
			continue
		}
		for _, h := range []hook{preRouting, input, output, postRouting} {
			name := strings.ToUpper(h.String())
			if policy, ok := t.policies[name]; ok {
				out = append(out, guestChain{name: name, full: chainName(family, Legacy, t.name, name), hook: h,
					early: t.name == "raw", policy: policy, rules: t.in})
			}
		}
	}
	return out
}

// stop is where packets of one kind end.
type stop struct {
	by      string // the chain, and its rule
	unclear bool   // it cannot be told
}

// block says what of a guest's is stopped there.
func (s stop) block(what string, sure bool) GuestBlock {
	may := "drops"
	if s.unclear {
		may = "may drop"
	}
	return GuestBlock{strings.Replace(s.by, "%", may+" "+what, 1), sure && !s.unclear}
}

// blocks judges the chains: whether somebody is found, and whether a connection can be
// made either way.
func (q GuestQuery) blocks(family Family, chains []guestChain) ([]GuestBlock, error) {
	own := slices.DeleteFunc(slices.Clone(q.Addresses), func(p netip.Prefix) bool { return p.Addr().Is6() != (family == IPv6) })
	if len(own) == 0 || len(chains) == 0 {
		return nil, nil
	}
	frame := bridgedFrame{family: family, port: q.Link, index: q.Index, own: own[0]}
	finds := []carried{arp}
	if family == IPv6 {
		finds = []carried{solicit, advertise}
	}
	for _, what := range finds {
		s, err := frame.stopped(chains, what, unix.IPPROTO_ICMP, nil)
		if err != nil {
			return nil, err
		}
		if s != nil {
			name := map[Family]string{IPv4: "ARP", IPv6: "IPv6 neighbour discovery"}[family]
			return []GuestBlock{s.block(name, true)}, nil
		}
	}
	return frame.connections(chains)
}

// connections judges the chains: whether a connection can be made either way. The frame
// has the family and the addresses.
func (f bridgedFrame) connections(chains []guestChain) (out []GuestBlock, err error) {
	for _, fromGuest := range []bool{true, false} {
		var stops []*stop
		var names []string
		for _, protocol := range ordinary {
			s, err := f.stopped(chains, data, protocol, &fromGuest)
			if err != nil {
				return nil, err
			}
			if s != nil {
				stops, names = append(stops, s), append(names, protocolNames[protocol])
			}
		}
		all := len(stops) == len(ordinary)
		what := f.family.String() + " connections"
		switch {
		case all && fromGuest:
			return append(out, stops[0].block("all "+what+" that it begins, or their answers", true)), nil
		case all:
			out = append(out, stops[0].block("all new "+what+" to it", false))
		case len(stops) > 0 && fromGuest:
			some := strings.Join(names, " and ") + " over " + f.family.String()
			out = append(out, stops[0].block(some+" that it begins, or the answers", false))
		}
	}
	return out, nil
}

// stopped returns where packets end on their way through all chains; nil: at least
// some of them pass. What begins in the guest goes out, and its answer comes in; nil
// asks both ways.
func (f bridgedFrame) stopped(chains []guestChain, what carried, protocol byte, fromGuest *bool) (*stop, error) {
	slices.SortStableFunc(chains, func(a, b guestChain) int { return cmp.Compare(a.hook, b.hook) })
	var changed written
	var doubt *stop
	for _, c := range chains {
		if !c.frames && c.arp != (what == arp) {
			continue
		}
		f := f
		f.what, f.hook, f.to, f.early = what, c.hook, c.hook.incoming(), c.early
		f.guest, f.written = &guestEnd{protocol}, &changed
		if fromGuest != nil && *fromGuest == f.to {
			f.what = reply
		}
		w := walker{frame: f, rules: c.rules, withOurs: true}
		v, err := w.base(c.name, c.policy)
		if errors.Is(err, errTooMany) {
			v, err, w.unclear = goesOn, nil, err.Error()
		}
		if err != nil {
			return nil, err
		}
		at := func(rule string) string { return c.full + " % (" + rule + ")" }
		switch {
		case v == drops && w.accepted == no:
			return &stop{by: at(w.last)}, nil
		case (v == drops || v == undecided) && w.accepted <= unclear && doubt == nil:
			doubt = &stop{by: at(w.last), unclear: true}
		case w.unclear != "" && doubt == nil:
			doubt = &stop{by: at(w.unclear), unclear: true}
		}
	}
	return doubt, nil
}
