package rtnl

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Qdisc is a queueing discipline of a link (tc qdisc show). Of TBF and Netem
// at most one is set, as Kind says; other kinds have neither.
type Qdisc struct {
	Index  int    // of the link
	Kind   string // "tbf", "netem", "ingress", ...
	Handle uint32 // 0: the kernel's own choice, which nobody made
	Parent uint32 // QdiscRoot, or a class of another one
	TBF    *TBF
	Netem  *Netem
}

// TBF is a token bucket filter (tc-tbf(8)).
type TBF struct {
	Rate  uint64 // bytes per second
	Burst uint32 // bytes: size of the bucket; not read back
	Limit uint32 // bytes that wait for tokens; more is dropped
}

// Netem loses and delays packets (tc-netem(8)).
type Netem struct {
	Limit  uint32        // packets that wait; more is dropped
	Loss   uint32        // share of the packets: MaxUint32 is all of them
	Delay  time.Duration // of each packet
	Jitter time.Duration // by how much it varies, either way
}

// QdiscRoot is the parent of what decides over all that leaves by a link.
const QdiscRoot uint32 = netlink.HANDLE_ROOT

// QdiscHandle is the handle MAJOR:, or the class MAJOR:MINOR.
func QdiscHandle(major, minor uint16) uint32 { return netlink.MakeHandle(major, minor) }

// ingressHandle is the handle that every ingress qdisc has.
var ingressHandle = QdiscHandle(0xffff, 0)

// Qdiscs returns those of every link in the namespace.
//
//	tc qdisc show
func (c *Conn) Qdiscs() ([]Qdisc, error) {
	msgs, err := c.dump(func() *nl.NetlinkRequest {
		req := c.request(unix.RTM_GETQDISC, unix.NLM_F_DUMP)
		req.AddData(&nl.TcMsg{Family: unix.AF_UNSPEC})
		return req
	}, unix.RTM_NEWQDISC)
	if err != nil {
		return nil, err
	}
	var all []Qdisc
	for _, m := range msgs {
		q, err := parseQdisc(m)
		if err != nil {
			return nil, err
		}
		all = append(all, q)
	}
	return all, nil
}

// SetQdisc makes a qdisc with a TBF or Netem at its parent, in the place of
// what is there; one of the same handle and kind is changed, and keeps what
// waits in it. A kernel that has not got the kind answers unix.ENOENT.
//
//	tc qdisc replace dev NAME root|parent P handle H tbf rate R burst B limit L
//	tc qdisc replace dev NAME root|parent P handle H netem limit N delay D J loss P%
func (c *Conn) SetQdisc(q Qdisc) error {
	req := c.qdiscRequest(unix.RTM_NEWQDISC, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, q)
	req.AddData(nl.NewRtAttr(nl.TCA_KIND, nl.ZeroTerminated(q.Kind)))
	switch {
	case q.TBF != nil:
		req.AddData(q.TBF.options())
	case q.Netem != nil:
		req.AddData(q.Netem.options())
	}
	return c.write(req)
}

// DelQdisc deletes it, and those below it; the kernel puts its own in the
// place of one at the root.
//
//	tc qdisc del dev NAME root|parent P
func (c *Conn) DelQdisc(q Qdisc) error {
	return c.write(c.qdiscRequest(unix.RTM_DELQDISC, 0, q))
}

func (c *Conn) qdiscRequest(typ, flags int, q Qdisc) *nl.NetlinkRequest {
	req := c.request(typ, flags)
	req.AddData(&nl.TcMsg{Family: unix.AF_UNSPEC, Ifindex: int32(q.Index), Handle: q.Handle, Parent: q.Parent})
	return req
}

// RedirectIngress has all that comes in by a link come out of another, which
// is best an ifb: what passes that comes in by the first link after all. A link
// where somebody does something with what comes in ([Conn.Ingress]) answers
// unix.EEXIST, a kernel without the classifier u32 or the action mirred
// unix.ENOENT. An ingress qdisc without filters does nothing: it is used.
//
//	tc qdisc add dev NAME ingress
//	tc filter add dev NAME parent ffff: protocol all prio 1 u32 match u32 0 0 action mirred egress redirect dev TO
func (c *Conn) RedirectIngress(from, to int) error {
	req := c.qdiscRequest(unix.RTM_NEWQDISC, unix.NLM_F_CREATE|unix.NLM_F_EXCL,
		Qdisc{Index: from, Handle: ingressHandle, Parent: netlink.HANDLE_INGRESS})
	req.AddData(nl.NewRtAttr(nl.TCA_KIND, nl.ZeroTerminated("ingress")))
	made := c.write(req)
	if errors.Is(made, unix.EEXIST) {
		if taken, err := c.Ingress(from); err != nil || taken {
			return cmp.Or(err, made)
		}
	} else if made != nil {
		return made
	}
	action := netlink.NewMirredAction(to)
	err := c.with(func(h *netlink.Handle) error {
		return h.FilterAdd(&netlink.U32{
			FilterAttrs: netlink.FilterAttrs{LinkIndex: from, Parent: ingressHandle, Priority: 1, Protocol: unix.ETH_P_ALL},
			Actions:     []netlink.Action{action},
		})
	})
	err = settle(err, func() (bool, error) {
		is, err := c.Redirect(from)
		return is == to, err
	})
	if err != nil && made == nil {
		err = errors.Join(err, c.NoIngress(from))
	}
	return err
}

// Ingress reports whether something is done with what comes in by a link: by
// filters of an ingress qdisc, or by a clsact, which also filters what goes out.
//
//	tc qdisc show dev NAME ingress; tc filter show dev NAME ingress
func (c *Conn) Ingress(index int) (bool, error) {
	all, err := c.Qdiscs()
	if err != nil {
		return false, err
	}
	for _, q := range all {
		switch {
		case q.Index != index:
		case q.Kind == "clsact":
			return true, nil
		case q.Kind == "ingress":
			filters, err := c.ingressFilters(index)
			return len(filters) > 0, err
		}
	}
	return false, nil
}

func (c *Conn) ingressFilters(index int) ([]netlink.Filter, error) {
	h, err := c.inet()
	if err != nil {
		return nil, err
	}
	return retry(func() ([]netlink.Filter, error) { return h.FilterList(byIndex(index), ingressHandle) })
}

// NoIngress takes the ingress qdisc of a link away, and its filters with it.
//
//	tc qdisc del dev NAME ingress
func (c *Conn) NoIngress(index int) error {
	return c.DelQdisc(Qdisc{Index: index, Handle: ingressHandle, Parent: netlink.HANDLE_INGRESS})
}

// Redirect returns the index of the link that RedirectIngress sends to what
// comes in by a link; 0 for none.
//
//	tc filter show dev NAME ingress
func (c *Conn) Redirect(from int) (int, error) {
	filters, err := c.ingressFilters(from)
	if err != nil {
		return 0, err
	}
	for _, f := range filters {
		u, ok := f.(*netlink.U32)
		if !ok {
			continue
		}
		for _, a := range u.Actions {
			if m, ok := a.(*netlink.MirredAction); ok && m.MirredAction == netlink.TCA_EGRESS_REDIR {
				return m.Ifindex, nil
			}
		}
	}
	return 0, nil
}

// tick is the unit in which tbf and netem take times (PSCHED_SHIFT).
const tick = 64 * time.Nanosecond

func ticks(d time.Duration) uint32 { return uint32(min(int64(d/tick), int64(^uint32(0)))) }

// Attributes of netem whose times are in nanoseconds (linux/pkt_sched.h).
const (
	netemLatency64 = 10
	netemJitter64  = 11
)

func (t TBF) options() *nl.RtAttr {
	const ethernet = 1 // TC_LINKLAYER_ETHERNET: the kernel needs no table of times
	qopt := nl.TcTbfQopt{Limit: t.Limit}
	qopt.Rate.Linklayer = ethernet
	qopt.Rate.Rate = uint32(min(t.Rate, uint64(^uint32(0))))
	if t.Rate > 0 {
		qopt.Buffer = ticks(time.Duration(float64(t.Burst) / float64(t.Rate) * float64(time.Second)))
	}
	o := nl.NewRtAttr(nl.TCA_OPTIONS, nil)
	o.AddRtAttr(nl.TCA_TBF_PARMS, qopt.Serialize())
	if t.Rate > uint64(^uint32(0)) {
		o.AddRtAttr(nl.TCA_TBF_RATE64, nl.Uint64Attr(t.Rate))
	}
	o.AddRtAttr(nl.TCA_TBF_BURST, nl.Uint32Attr(t.Burst))
	return o
}

// options are a structure, and attributes behind it.
func (n Netem) options() *nl.RtAttr {
	qopt := nl.TcNetemQopt{Limit: n.Limit, Loss: n.Loss, Latency: ticks(n.Delay), Jitter: ticks(n.Jitter)}
	o := nl.NewRtAttr(nl.TCA_OPTIONS, qopt.Serialize())
	o.AddRtAttr(netemLatency64, nl.Uint64Attr(uint64(n.Delay)))
	o.AddRtAttr(netemJitter64, nl.Uint64Attr(uint64(n.Jitter)))
	return o
}

// parseQdisc reads the body of an RTM_NEWQDISC message.
func parseQdisc(m []byte) (Qdisc, error) {
	if len(m) < nl.SizeofTcMsg {
		return Qdisc{}, fmt.Errorf("short qdisc message of %d bytes", len(m))
	}
	msg := nl.DeserializeTcMsg(m)
	q := Qdisc{Index: int(msg.Ifindex), Handle: msg.Handle, Parent: msg.Parent}
	var options []byte
	for a := range nested(m[nl.SizeofTcMsg:]) {
		switch a.typ &^ unix.NLA_F_NESTED {
		case nl.TCA_KIND:
			q.Kind = unix.ByteSliceToString(a.value)
		case nl.TCA_OPTIONS:
			options = a.value
		}
	}
	switch q.Kind {
	case "tbf":
		q.TBF = parseTBF(options)
	case "netem":
		q.Netem = parseNetem(options)
	}
	return q, nil
}

func parseTBF(b []byte) *TBF {
	var t TBF
	for a := range nested(b) {
		switch {
		case a.typ == nl.TCA_TBF_PARMS && len(a.value) >= nl.SizeofTcTbfQopt && t.Rate == 0:
			qopt := nl.DeserializeTcTbfQopt(a.value)
			t.Rate, t.Limit = uint64(qopt.Rate.Rate), qopt.Limit
		case a.typ == nl.TCA_TBF_RATE64 && len(a.value) >= 8:
			t.Rate = nl.NativeEndian().Uint64(a.value)
		}
	}
	return &t
}

func parseNetem(b []byte) *Netem {
	if len(b) < nl.SizeofTcNetemQopt {
		return &Netem{}
	}
	qopt := nl.DeserializeTcNetemQopt(b)
	n := Netem{
		Limit: qopt.Limit, Loss: qopt.Loss,
		Delay: time.Duration(qopt.Latency) * tick, Jitter: time.Duration(qopt.Jitter) * tick,
	}
	for a := range nested(b[nl.SizeofTcNetemQopt:]) {
		if len(a.value) < 8 {
			continue
		}
		switch d := time.Duration(nl.NativeEndian().Uint64(a.value)); a.typ {
		case netemLatency64:
			n.Delay = d
		case netemJitter64:
			n.Jitter = d
		}
	}
	return &n
}
