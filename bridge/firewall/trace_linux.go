package firewall

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/nlsocket"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Trace hears from the kernel what nf_tables does to the frames of some probes. It is of
// one network namespace; its methods can be called from any thread, by one goroutine at a
// time.
//
// The frames are marked by a table of its own, which is owned by a socket: the kernel
// deletes it when the socket is closed, whatever ends this process.
type Trace struct {
	conn   *nftConn // owns the table
	events int      // the socket that is told of all traces in the namespace
	table  string
	missed bool
}

// traceBuffer is how much the kernel may tell before it is read: about 5,000 events.
const traceBuffer = 4 << 20

// maxEvents bounds what one call of Events reads.
const maxEvents = 10_000

// OpenTrace begins to follow the frames of the probes in the network namespace of the
// calling thread, like "nft monitor trace" with a rule "meta nftrace set 1". The error has
// the code unsupported if this kernel cannot: before 5.12 no table can be owned, and
// nf_tables, or its family bridge, may be absent. Then nothing is left in the kernel.
func OpenTrace(probes ...Probe) (*Trace, error) {
	for _, p := range probes {
		if err := p.check(); err != nil {
			return nil, err
		}
		if p.Device != "" && bridgeIndex(p.Device) == 0 { // newer kernels would wait for one
			return nil, fault.New(fault.Gone, "trace frames from", p.Device, "there is no such interface")
		}
	}
	t := &Trace{events: -1, table: traceName()}
	if err := t.open(probes); err != nil {
		t.Close()
		return nil, traceFault(err)
	}
	return t, nil
}

func (t *Trace) open(probes []Probe) (err error) {
	if t.events, err = nlsocket.Open(unix.NETLINK_NETFILTER, time.Second); err != nil {
		return err
	}
	// A socket without a port ID hears nothing: the kernel takes it for the one that sends
	// (af_netlink.c, do_one_broadcast), whose port ID is 0 too.
	if err = unix.Bind(t.events, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return os.NewSyscallError("bind", err)
	}
	// More than net.core.rmem_max takes CAP_NET_ADMIN, which the table takes as well.
	_ = unix.SetsockoptInt(t.events, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, traceBuffer)
	if err = unix.SetsockoptInt(t.events, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, unix.NFNLGRP_NFTRACE); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	if t.conn, err = dialNFT(); err != nil {
		return err
	}
	return t.conn.batch(t.marking(probes))
}

// Close ends the trace. The table is gone when it returns.
func (t *Trace) Close() {
	if t.events >= 0 {
		unix.Close(t.events)
		t.events = -1
	}
	if t.conn != nil {
		t.conn.close()
		t.conn = nil
	}
}

// traceFault tells a kernel that cannot trace from other refusals: each of the features
// that are asked for has its own way to be absent.
func traceFault(err error) error {
	out := &fault.Error{Code: fault.CodeOfCause(err), Op: "trace frames", Err: err}
	if out.Code == fault.Failed && (errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT)) {
		out.Code = fault.Unsupported
	}
	if out.Code == fault.Unsupported {
		out.Err = fmt.Errorf("this kernel cannot (it takes Linux 5.12, and nf_tables for bridges, inet or devices): %w", err)
	}
	return out
}

// Events returns what has been traced since the last call, frame by frame. It returns when
// nothing more has come for as long as wait. The kernel tells a decision when it makes it,
// so once a probe is known to be lost or to have arrived, a wait of 0 is enough.
//
// A frame's events are together in one answer only if its way ended before the call.
func (t *Trace) Events(ctx context.Context, wait time.Duration) ([]Traced, error) {
	raw, err := t.receive(ctx, wait)
	if err != nil {
		return nil, &fault.Error{Code: fault.CodeOfCause(err), Op: "read trace", Err: err}
	}
	frames := t.group(raw)
	if !slices.ContainsFunc(frames, func(f Traced) bool { return f.Events != nil }) {
		return frames, nil
	}
	chains, err := t.conn.chains()
	if err != nil {
		return nil, &fault.Error{Code: fault.CodeOfCause(err), Op: "read trace", Err: err}
	}
	for _, f := range frames {
		place(f.Events, chains)
	}
	return frames, nil
}

// Missed reports whether the kernel had more to tell than there was room for, so that
// frames or events are missing.
func (t *Trace) Missed() bool { return t.missed }

// receive returns the messages of the trace.
func (t *Trace) receive(ctx context.Context, wait time.Duration) (out []syscall.NetlinkMessage, err error) {
	for end := time.Now().Add(wait); len(out) < maxEvents; {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		msgs, err := nlsocket.Receive(t.events, unix.MSG_DONTWAIT)
		switch {
		case err == nil:
			out = append(out, msgs...)
			end = time.Now().Add(wait)
		case errors.Is(err, unix.ENOBUFS):
			t.missed = true
		case !errors.Is(err, unix.EAGAIN):
			return nil, os.NewSyscallError("recvfrom", err)
		default:
			left := time.Until(end)
			if left <= 0 {
				return out, nil
			}
			// A part at a time, as ctx may end meanwhile.
			fds := []unix.PollFd{{Fd: int32(t.events), Events: unix.POLLIN}}
			_, err := unix.Poll(fds, int(min(left, 50*time.Millisecond)/time.Millisecond)+1)
			if err != nil && !errors.Is(err, unix.EINTR) {
				return nil, os.NewSyscallError("poll", err)
			}
		}
	}
	t.missed = true
	return out, nil
}

// traceMessage is an event as the kernel sends it.
type traceMessage struct {
	TraceEvent
	id     uint32
	packet []byte // its IP header; nil but for the first event of a base chain
}

// group sorts events by frames. A frame begins where our table marks it: the kernel makes
// the ID from an address in memory, so it may have been another's before. What others
// trace is left out.
func (t *Trace) group(msgs []syscall.NetlinkMessage) []Traced {
	var frames []Traced
	var packets [][]byte // their IP headers
	current := map[uint32]int{}
	for _, m := range msgs {
		if m.Header.Type != unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_TRACE || len(m.Data) < nl.SizeofNfgenmsg {
			continue
		}
		e := parseTrace(m.Data)
		i, known := current[e.id]
		if !known {
			i, known = continued(packets, e.packet)
		}
		probe, ours := probeOf(e.Chain)
		ours = ours && e.Table == t.table
		if ours && e.Handle != 0 && (!known || frames[i].Probe == probe) {
			i, known = len(frames), true
			frames, packets = append(frames, Traced{Probe: probe}), append(packets, e.packet)
		}
		if !known {
			continue
		}
		current[e.id] = i
		if !ours {
			frames[i].Events = append(frames[i].Events, e.TraceEvent)
		}
	}
	return frames
}

// continued returns the last frame that has the IP header. Its ID changes when a bridge
// hands the frame to the host, as the interface is a part of it that the frame came in by
// (nf_tables_trace.c, nft_trace_init). An address may have been translated before, and
// the TTL counted down.
func continued(packets [][]byte, packet []byte) (int, bool) {
	same := func(a, b []byte) bool {
		switch {
		case len(a) != len(b):
			return false
		case len(a) == 20:
			return bytes.Equal(a[:8], b[:8]) && bytes.Equal(a[12:16], b[12:16])
		}
		return len(a) == 40 && bytes.Equal(a[:7], b[:7]) && bytes.Equal(a[8:24], b[8:24])
	}
	for i, p := range slices.Backward(packets) {
		if same(p, packet) {
			return i, true
		}
	}
	return 0, false
}

// parseTrace reads a message of the trace group (nf_tables_trace.c, nft_trace_notify).
func parseTrace(data []byte) traceMessage {
	e := traceMessage{TraceEvent: TraceEvent{Family: nftFamilies[data[0]]}}
	for kind, value := range eachAttribute(data[nl.SizeofNfgenmsg:]) {
		switch kind {
		case unix.NFTA_TRACE_ID:
			e.id = attrUint32(value)
		case unix.NFTA_TRACE_NETWORK_HEADER:
			e.packet = value
		case unix.NFTA_TRACE_TABLE:
			e.Table = attrString(value)
		case unix.NFTA_TRACE_CHAIN:
			e.Chain = attrString(value)
		case unix.NFTA_TRACE_RULE_HANDLE:
			e.Handle = attrUint64(value)
		case unix.NFTA_TRACE_POLICY:
			e.Policy, e.Verdict = true, traceVerdict(int32(attrUint32(value)))
		case unix.NFTA_TRACE_VERDICT:
			attrs := attributes(value)
			code := int32(attrUint32(attrs[unix.NFTA_VERDICT_CODE]))
			if code >= 0 {
				code &= 0xff // NF_VERDICT_MASK: above it are an error number, or a queue's
			}
			e.Verdict, e.Target = traceVerdict(code), attrString(attrs[unix.NFTA_VERDICT_CHAIN])
		}
	}
	return e
}

func attrUint64(b []byte) uint64 {
	if len(b) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

// traceHooks are the words for NF_INET_*, of which NF_BR_* are the same.
var traceHooks = [...]string{
	unix.NF_INET_PRE_ROUTING: "prerouting", unix.NF_INET_LOCAL_IN: "input", unix.NF_INET_FORWARD: "forward",
	unix.NF_INET_LOCAL_OUT: "output", unix.NF_INET_POST_ROUTING: "postrouting",
}

// hookWord is what nft calls the hook of a base chain.
func hookWord(b nftBase) string {
	switch {
	case b.family != unix.NFPROTO_NETDEV && b.number >= 0 && b.number < len(traceHooks):
		return traceHooks[b.number]
	case b.family == unix.NFPROTO_NETDEV && b.number == netdevIngress:
		return "ingress"
	case b.family == unix.NFPROTO_NETDEV && b.number == netdevEgress:
		return "egress"
	}
	return ""
}

// place fills in the base chains. A chain that is none was entered from the last one
// before it.
func place(events []TraceEvent, chains []nftBase) {
	bases := map[TraceEvent]nftBase{}
	for _, c := range chains {
		if c.base {
			bases[TraceEvent{Family: nftFamilies[c.family], Table: c.table, Chain: c.name}] = c
		}
	}
	var last TraceEvent // what an event before had
	for i := range events {
		e := &events[i]
		if b, ok := bases[TraceEvent{Family: e.Family, Table: e.Table, Chain: e.Chain}]; ok {
			e.Base = e.Chain
			e.Hook = hookWord(b)
		} else if last.Family == e.Family && last.Table == e.Table {
			e.Base, e.Hook = last.Base, last.Hook
		}
		last = *e
	}
}

// Stop returns what stopped the frame, and false if no rule of nf_tables did. The rule is
// read now: if somebody has deleted it since, it has no text but its handle.
func (t *Trace) Stop(f Traced) (Stop, bool, error) {
	e, ok := f.Stopped()
	if !ok {
		return Stop{}, false, nil
	}
	s := Stop{TraceEvent: e, Rule: "policy " + string(e.Verdict)}
	if e.Policy {
		return s, true, nil
	}
	s.Rule = fmt.Sprintf("rule %d", e.Handle)
	text, err := t.conn.ruleText(e)
	switch {
	case errors.Is(err, unix.ENOENT):
		return s, true, nil
	case err != nil:
		return s, true, readFault(e.Table, err)
	}
	if text != "" {
		s.Rule = text
	}
	return s, true, nil
}

// ruleText is the rule of an event as a person reads it.
func (c *nftConn) ruleText(e TraceEvent) (string, error) {
	var family uint8
	for number, name := range nftFamilies {
		if name == e.Family {
			family = number
		}
	}
	replies, err := c.request(unix.NFT_MSG_GETRULE, 0, family,
		nl.NewRtAttr(unix.NFTA_RULE_TABLE, nl.ZeroTerminated(e.Table)),
		nl.NewRtAttr(unix.NFTA_RULE_CHAIN, nl.ZeroTerminated(e.Chain)),
		nl.NewRtAttr(unix.NFTA_RULE_HANDLE, binary.BigEndian.AppendUint64(nil, e.Handle)))
	if err != nil || len(replies) != 1 {
		return "", err
	}
	attrs := attributes(replies[0].attrs)
	d := decoder{family: family, table: e.Table, sets: &nftSets{}}
	return d.rule(attrs[unix.NFTA_RULE_USERDATA], attrs[unix.NFTA_RULE_EXPRESSIONS]).text, nil
}
