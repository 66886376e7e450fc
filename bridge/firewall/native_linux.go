package firewall

import (
	"errors"
	"fmt"

	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Our rules on nf_tables, where the host has no iptables-nft, as in a container that has
// gopipework alone. They are what iptables-nft would write, which therefore lists them as
// its own. Legacy tables have no such way: only their program knows their form.

// insertNative puts the rule first in its chain.
func (r Rule) insertNative() error {
	return withNFT(func(c *nftConn) error {
		m := newRule(r.Family.nfproto(), iptablesTable, r.Chain, r.exprs())
		m.flags &^= unix.NLM_F_APPEND
		err := c.batch([]nftMessage{m})
		if errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("this kernel has no match physdev (module xt_physdev, option NETFILTER_XT_MATCH_PHYSDEV), or the chain is gone: %w", err)
		}
		return err
	})
}

// deleteNative deletes the rule once. That it is not there is unix.ENOENT.
func (r Rule) deleteNative() error {
	return withNFT(func(c *nftConn) error {
		chain := []*nl.RtAttr{
			nl.NewRtAttr(unix.NFTA_RULE_TABLE, nl.ZeroTerminated(iptablesTable)),
			nl.NewRtAttr(unix.NFTA_RULE_CHAIN, nl.ZeroTerminated(r.Chain)),
		}
		replies, err := c.request(unix.NFT_MSG_GETRULE, unix.NLM_F_DUMP, r.Family.nfproto(), chain...)
		if err != nil {
			return err
		}
		for _, reply := range replies {
			attrs := attributes(reply.attrs)
			d := decoder{family: r.Family.nfproto(), table: iptablesTable}
			read := d.rule(attrs[unix.NFTA_RULE_USERDATA], attrs[unix.NFTA_RULE_EXPRESSIONS])
			if its, is := read.ours(Rule{Family: r.Family, Backend: r.Backend, Chain: r.Chain, Tool: r.Tool}); is && its == r {
				which := nl.NewRtAttr(unix.NFTA_RULE_HANDLE, attrs[unix.NFTA_RULE_HANDLE])
				return c.batch([]nftMessage{{unix.NFT_MSG_DELRULE, 0, r.Family.nfproto(), append(chain, which)}})
			}
		}
		return unix.ENOENT
	})
}

// iptablesTable is the table that iptables-nft keeps in each family.
const iptablesTable = "filter"

// exprs are the rule's expressions, in the order in which iptables-nft writes them.
func (r Rule) exprs() []expr.Any {
	name := func(key expr.MetaKey) []expr.Any {
		return []expr.Any{
			&expr.Meta{Key: key, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: append([]byte(r.Bridge), 0)},
		}
	}
	physdev, comment := xt.Unknown(r.physdev()), xt.Comment(r.comment())
	return append(append(name(expr.MetaKeyIIFNAME), name(expr.MetaKeyOIFNAME)...),
		&expr.Match{Name: "physdev", Info: &physdev},
		&expr.Match{Name: "comment", Info: &comment},
		&expr.Counter{},
		&expr.Verdict{Kind: expr.VerdictAccept},
	)
}

// physdev is the struct xt_physdev_info that decodePhysdev reads, with the padding at its
// end.
func (r Rule) physdev() []byte {
	const (
		name    = unix.IFNAMSIZ
		in      = 0x01
		out     = 0x02
		bridged = 0x04
	)
	info := make([]byte, 4*name+8)
	asked := &info[4*name+1]
	*asked = bridged
	if r.Port == "" {
		return info
	}
	at, which := info, byte(in)
	if r.Out {
		at, which = info[2*name:], out
	}
	*asked |= which
	copy(at, r.Port)
	for i := range len(r.Port) + 1 { // the byte that ends the name counts
		at[name+i] = 0xff
	}
	return info
}
