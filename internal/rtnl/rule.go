package rtnl

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Rule has packets from an address looked up in a table (ip rule). Table 0 is
// a rule of some other kind, of which no more is known than its priority.
type Rule struct {
	From     netip.Addr
	Table    int
	Priority int   // the lower goes first; the main table's is 32766
	Protocol uint8 // who set it, as for a route
}

const (
	sizeofRuleHeader = 12 // struct fib_rule_hdr
	actionToTable    = 1  // FR_ACT_TO_TBL
)

// Rules returns the rules of both families. One that matches by anything but
// a source address is not told apart further: its Table is 0. A kernel
// without CONFIG_IP_MULTIPLE_TABLES has none.
//
//	ip rule show; ip -6 rule show
func (c *Conn) Rules() ([]Rule, error) {
	msgs, err := c.dump(func() *nl.NetlinkRequest {
		req := c.request(unix.RTM_GETRULE, unix.NLM_F_DUMP)
		req.AddData(ruleHeader{})
		return req
	}, unix.RTM_NEWRULE)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EAFNOSUPPORT) {
		return nil, nil
	}
	var rules []Rule
	for _, m := range msgs {
		if len(m) < sizeofRuleHeader || m[0] != unix.AF_INET && m[0] != unix.AF_INET6 {
			continue // of multicast routing
		}
		attrs := m[sizeofRuleHeader:]
		if err := wellFormed(attrs); err != nil {
			return nil, err
		}
		rules = append(rules, parseRule(m, attrs))
	}
	return rules, err
}

func parseRule(header []byte, attrs []byte) Rule {
	var r Rule
	table := int(header[4])
	plain := header[7] == actionToTable && header[1] == 0
	for a := range nested(attrs) {
		switch a.typ {
		case unix.FRA_SRC:
			r.From, _ = netip.AddrFromSlice(a.value)
		case unix.FRA_PRIORITY:
			r.Priority = int(uint32Of(a.value))
		case unix.FRA_TABLE:
			table = int(uint32Of(a.value))
		case unix.FRA_PROTOCOL:
			if len(a.value) > 0 {
				r.Protocol = a.value[0]
			}
		case unix.FRA_SUPPRESS_PREFIXLEN, unix.FRA_SUPPRESS_IFGROUP: // always told; -1 is none
			plain = plain && uint32Of(a.value) == ^uint32(0)
		case unix.FRA_PAD:
		default:
			plain = false
		}
	}
	if plain && r.From.IsValid() && int(header[2]) == r.From.BitLen() {
		r.Table = table
	}
	return r
}

func uint32Of(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.NativeEndian.Uint32(b)
}

// AddRule adds a rule. The same one again is unix.EEXIST. A kernel without
// CONFIG_IP_MULTIPLE_TABLES answers unix.EOPNOTSUPP or unix.EAFNOSUPPORT.
//
//	ip rule add from ADDRESS lookup TABLE priority P protocol N
func (c *Conn) AddRule(r Rule) error {
	return c.rule(unix.RTM_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, r)
}

// DelRule deletes the rule; unix.ENOENT says that it is not there.
func (c *Conn) DelRule(r Rule) error { return c.rule(unix.RTM_DELRULE, 0, r) }

func (c *Conn) rule(typ, flags int, r Rule) error {
	req := c.request(typ, flags)
	h := ruleHeader{family: unix.AF_INET, sourceLen: uint8(r.From.BitLen())}
	if r.From.Is6() {
		h.family = unix.AF_INET6
	}
	req.AddData(h)
	req.AddData(nl.NewRtAttr(unix.FRA_SRC, r.From.AsSlice()))
	req.AddData(nl.NewRtAttr(unix.FRA_TABLE, nl.Uint32Attr(uint32(r.Table))))
	req.AddData(nl.NewRtAttr(unix.FRA_PRIORITY, nl.Uint32Attr(uint32(r.Priority))))
	req.AddData(nl.NewRtAttr(unix.FRA_PROTOCOL, nl.Uint8Attr(r.Protocol)))
	return c.write(req)
}

// ruleHeader is struct fib_rule_hdr, of a rule that looks up in a table.
type ruleHeader struct{ family, sourceLen uint8 }

var _ nl.NetlinkRequestData = ruleHeader{}

func (ruleHeader) Len() int { return sizeofRuleHeader }

func (h ruleHeader) Serialize() []byte {
	return []byte{0: h.family, 2: h.sourceLen, 7: actionToTable, 11: 0}
}

// AllRoutes returns the unicast routes of every table, of both families;
// within a table, in the order in which the kernel prefers those of one
// destination and metric.
//
//	ip route show table all; ip -6 route show table all
func (c *Conn) AllRoutes() ([]Route, error) {
	return c.routes(unix.RT_TABLE_UNSPEC)
}

// routes returns the unicast routes of one table, or with RT_TABLE_UNSPEC of
// all.
func (c *Conn) routes(table int) (routes []Route, err error) {
	msgs, err := c.routeMessages(unix.AF_UNSPEC)
	if err != nil {
		return nil, err
	}
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		for _, m := range msgs {
			if m[0] != family {
				continue // of multicast routing, or MPLS
			}
			if r, ok := parseRoute(m); ok && (table == unix.RT_TABLE_UNSPEC || r.Table == 0) {
				routes = append(routes, r)
			}
		}
	}
	return routes, nil
}
