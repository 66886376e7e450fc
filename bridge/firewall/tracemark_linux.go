package firewall

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/google/nftables/expr"
	"github.com/gopipework/gopipework/internal/nlsocket"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// The table that marks the frames of a trace has a chain for each probe, whose name ends in
// its number:
//
//	table bridge gopipework-trace-1a2b3c4d {
//		flags owner
//		chain prerouting_0 {
//			type filter hook prerouting priority -500; policy accept;
//			ether daddr 02:42:... ether saddr 02:42:... meta nftrace set 1
//		}
//	}
//
// Its family is netdev, and the hook ingress, for a probe that comes in by a device. In a
// guest it is inet, and there is a chain for the hook output as well.

// tracePriority comes before everything that may drop a packet: the first of the others
// is that of iptables' raw with raw_before_defrag, -450 (linux/netfilter_ipv4.h).
const tracePriority = -500

// traceName is a name that nobody else has.
func traceName() string {
	b := make([]byte, 8)
	_, _ = rand.Read(b) // never fails
	return "gopipework-trace-" + hex.EncodeToString(b)
}

// markedAt is where a probe's frames are marked.
func (p Probe) markedAt() (family uint8, hooks map[int]string) {
	switch {
	case p.Device != "":
		return unix.NFPROTO_NETDEV, map[int]string{netdevIngress: "ingress"}
	case p.SourceMAC != nil || p.TargetMAC != nil:
		return unix.NFPROTO_BRIDGE, map[int]string{unix.NF_INET_PRE_ROUTING: "prerouting"}
	}
	return unix.NFPROTO_INET, map[int]string{unix.NF_INET_PRE_ROUTING: "prerouting", unix.NF_INET_LOCAL_OUT: "output"}
}

// marking returns the messages that make the tables.
func (t *Trace) marking(probes []Probe) (all []nftMessage) {
	made := map[uint8]bool{}
	for i, p := range probes {
		family, hooks := p.markedAt()
		if !made[family] {
			made[family] = true
			all = append(all, nftMessage{unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE | unix.NLM_F_EXCL, family, []*nl.RtAttr{
				nl.NewRtAttr(unix.NFTA_TABLE_NAME, nl.ZeroTerminated(t.table)),
				nl.NewRtAttr(unix.NFTA_TABLE_FLAGS, bigEndian32(tableOwned)),
			}})
		}
		for number, word := range hooks {
			name := fmt.Sprintf("%s_%d", word, i)
			all = append(all, newChain(family, t.table, name, number, tracePriority, p.Device), newRule(family, t.table, name, p.rule()))
		}
	}
	return all
}

// probeOf returns which probe a chain of ours is for.
func probeOf(chain string) (int, bool) {
	_, number, _ := strings.Cut(chain, "_")
	i, err := strconv.Atoi(number)
	return i, err == nil
}

// rule is what marks the probe's frames.
func (p Probe) rule() (all []expr.Any) {
	is := func(load expr.Any, data []byte) {
		all = append(all, load, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: data})
	}
	field := func(base expr.PayloadBase, offset uint32, data []byte) {
		is(&expr.Payload{DestRegister: 1, Base: base, Offset: offset, Len: uint32(len(data))}, data)
	}
	if p.TargetMAC != nil {
		field(expr.PayloadBaseLLHeader, 0, p.TargetMAC)
	}
	if p.SourceMAC != nil {
		field(expr.PayloadBaseLLHeader, 6, p.SourceMAC)
	}
	source, target, six := uint32(12), uint32(16), p.Source.Is6() || p.Target.Is6()
	protocol := uint16(unix.ETH_P_IP)
	if six {
		source, target, protocol = 8, 24, unix.ETH_P_IPV6
	}
	if p.Source.IsValid() || p.Target.IsValid() {
		is(&expr.Meta{Key: expr.MetaKeyPROTOCOL, Register: 1}, binary.BigEndian.AppendUint16(nil, protocol))
	}
	if p.Source.IsValid() {
		field(expr.PayloadBaseNetworkHeader, source, p.Source.AsSlice())
	}
	if p.Target.IsValid() {
		field(expr.PayloadBaseNetworkHeader, target, p.Target.AsSlice())
	}
	if p.Protocol != 0 {
		is(&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, []byte{p.Protocol})
	}
	if p.Port != 0 {
		field(expr.PayloadBaseTransportHeader, 2, binary.BigEndian.AppendUint16(nil, p.Port))
	}
	if p.Echo != 0 {
		field(expr.PayloadBaseTransportHeader, 4, binary.BigEndian.AppendUint16(nil, p.Echo))
	}
	return append(all,
		&expr.Immediate{Register: 1, Data: []byte{1}},
		&expr.Meta{Key: expr.MetaKeyNFTRACE, Register: 1, SourceRegister: true})
}

// nftMessage is a change of nf_tables.
type nftMessage struct {
	kind, flags int
	family      uint8
	attrs       []*nl.RtAttr
}

// newChain adds a chain of the type filter at a hook; device is the only one that it is for,
// or "".
func newChain(family uint8, table, name string, number int, priority int32, device string) nftMessage {
	hook := nl.NewRtAttr(unix.NFTA_CHAIN_HOOK, nil)
	hook.AddRtAttr(unix.NFTA_HOOK_HOOKNUM, bigEndian32(uint32(number)))
	hook.AddRtAttr(unix.NFTA_HOOK_PRIORITY, bigEndian32(uint32(priority)))
	if device != "" {
		hook.AddRtAttr(unix.NFTA_HOOK_DEV, nl.ZeroTerminated(device))
	}
	return nftMessage{unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE, family, []*nl.RtAttr{
		nl.NewRtAttr(unix.NFTA_CHAIN_TABLE, nl.ZeroTerminated(table)),
		nl.NewRtAttr(unix.NFTA_CHAIN_NAME, nl.ZeroTerminated(name)),
		nl.NewRtAttr(unix.NFTA_CHAIN_TYPE, nl.ZeroTerminated("filter")),
		hook,
	}}
}

// newRule adds a rule at the end of a chain.
func newRule(family uint8, table, chain string, exprs []expr.Any) nftMessage {
	return nftMessage{unix.NFT_MSG_NEWRULE, unix.NLM_F_CREATE | unix.NLM_F_APPEND, family, []*nl.RtAttr{
		nl.NewRtAttr(unix.NFTA_RULE_TABLE, nl.ZeroTerminated(table)),
		nl.NewRtAttr(unix.NFTA_RULE_CHAIN, nl.ZeroTerminated(chain)),
		exprList(family, exprs),
	}}
}

// exprList is the list of a rule's expressions.
func exprList(family uint8, exprs []expr.Any) *nl.RtAttr {
	list := nl.NewRtAttr(unix.NFTA_RULE_EXPRESSIONS, nil)
	for _, e := range exprs {
		if data, err := expr.Marshal(family, e); err == nil { // none of these can fail
			list.AddRtAttr(unix.NFTA_LIST_ELEM, data)
		}
	}
	return list
}

// batch makes all of the changes, or none and returns the first error (nfnetlink.c,
// nfnetlink_rcv_batch).
func (c *nftConn) batch(messages []nftMessage) error { return c.send(messages, true) }

// tryBatch returns the error that batch would, and changes nothing: without its end the
// kernel forgets the changes.
func (c *nftConn) tryBatch(messages []nftMessage) error { return c.send(messages, false) }

func (c *nftConn) send(messages []nftMessage, commit bool) error {
	subsystem := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.NFNL_SUBSYS_NFTABLES))
	frame := func(kind int) []byte {
		c.seq++
		req := nl.NewNetlinkRequest(kind, 0)
		req.Seq = c.seq
		req.AddData(&nl.Nfgenmsg{NfgenFamily: unix.AF_UNSPEC, Version: nl.NFNETLINK_V0, ResId: subsystem})
		return req.Serialize()
	}
	out := frame(unix.NFNL_MSG_BATCH_BEGIN)
	for _, m := range messages {
		req := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_NFTABLES<<8|m.kind, m.flags|unix.NLM_F_ACK)
		c.seq++
		req.Seq = c.seq
		req.AddData(&nl.Nfgenmsg{NfgenFamily: m.family, Version: nl.NFNETLINK_V0})
		for _, a := range m.attrs {
			req.AddData(a)
		}
		out = append(out, req.Serialize()...)
	}
	if commit {
		out = append(out, frame(unix.NFNL_MSG_BATCH_END)...)
	}
	if err := unix.Sendto(c.fd, out, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return os.NewSyscallError("sendto", err)
	}
	return c.answered(len(messages))
}

// answered reads the answers to a batch. They are all there when it has been sent, and
// those that name an error come for some of the messages, or for its beginning alone.
func (c *nftConn) answered(n int) error {
	answers := 0
	var first error
	for {
		msgs, err := nlsocket.Receive(c.fd, unix.MSG_DONTWAIT)
		if errors.Is(err, unix.EAGAIN) {
			break
		}
		if err != nil {
			return os.NewSyscallError("recvfrom", err)
		}
		for _, m := range msgs {
			if m.Header.Type == unix.NLMSG_ERROR {
				answers++
				if err := netlinkError(m.Data); first == nil {
					first = err
				}
			}
		}
	}
	if first == nil && answers != n {
		return fmt.Errorf("nf_tables answers %d of %d messages", answers, n)
	}
	return first
}

func bigEndian32(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }
