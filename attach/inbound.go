package attach

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/shell"
	"github.com/gopipework/gopipework/internal/spec"
	"golang.org/x/sys/unix"
)

// What comes in by a link in a guest can only be shaped if it is made to leave
// by another first: an ifb of ours beside it, in the guest. It is known by our
// group, and by the link that sends to it.

// inboundName is the name of that ifb.
func inboundName(inner string) string {
	const tail = "-in"
	if len(inner)+len(tail) <= spec.MaxLinkName {
		return inner + tail
	}
	const hashLength = 6
	sum := sha256.Sum256([]byte(inner))
	return inner[:spec.MaxLinkName-len(tail)-hashLength] + tail + hex.EncodeToString(sum[:])[:hashLength]
}

func isInbound(l *rtnl.Link) bool { return l.Kind == "ifb" && isOurs(l) }

// inboundOf returns the ifb of ours that a link with these qdiscs sends to what
// comes in by it; nil: none.
func inboundOf(k reader, index int, qdiscs []rtnl.Qdisc) (*rtnl.Link, error) {
	if !slices.ContainsFunc(qdiscs, func(q rtnl.Qdisc) bool { return q.Kind == "ingress" }) {
		return nil, nil
	}
	to, err := k.Redirect(index)
	if err != nil || to == 0 {
		return nil, unlessAbsent(err)
	}
	l, err := k.LinkByIndex(to)
	if err != nil || !isInbound(l) {
		return nil, unlessNotFound(err)
	}
	return l, nil
}

// unlessAbsent is nil for a link that has gone meanwhile.
func unlessAbsent(err error) error {
	if absent(err) || errors.Is(err, unix.EINVAL) {
		return nil
	}
	return err
}

// inbounds are the ifbs of ours in a guest.
type inbounds struct {
	of   map[int]*rtnl.Link // by the index of the link that sends to it
	left []*rtnl.Link       // nothing is sent to: a killed run has left them, or somebody has deleted the link
}

func findInbounds(k reader, links []*rtnl.Link) (inbounds, error) {
	found := inbounds{of: map[int]*rtnl.Link{}}
	lent, err := lentIn(k, links)
	if err != nil {
		return found, err
	}
	for _, l := range links {
		if _, is := lent[l.Index]; isInbound(l) && !is {
			found.left = append(found.left, l)
		}
	}
	if len(found.left) == 0 {
		return found, nil
	}
	all, err := k.Qdiscs()
	if err != nil {
		return found, err
	}
	for _, l := range links {
		used, err := inboundOf(k, l.Index, qdiscsOf(l.Index, all))
		if err != nil {
			return found, err
		}
		if used != nil {
			found.of[l.Index] = used
			found.left = slices.DeleteFunc(found.left, func(l *rtnl.Link) bool { return l.Index == used.Index })
		}
	}
	return found, nil
}

// checkInbound refuses a name that something else in the guest has.
func (j *job) checkInbound(rate Rate) error {
	if rate == 0 || j.traits().shapesPort {
		return nil
	}
	for _, l := range j.f.Links {
		dead := slices.ContainsFunc(j.f.deadInbounds(), func(dead *rtnl.Link) bool { return dead.Index == l.Index })
		if l.Name == j.names.inbound && !dead {
			return j.refuse(fault.Conflict, "it has an interface %s already: %s; --rate-in needs that name", l.Name, describeKind(l)).
				WithHint("choose %s", j.otherName())
		}
	}
	return nil
}

// clearInbound plans for what a killed run has left to go: under the name, or
// with the half-made link that sends to it.
func (j *job) clearInbound(d *draft) {
	for _, l := range j.f.deadInbounds() {
		if l.Name == j.names.inbound || l == j.f.Shaped.Inbound {
			d.add(delInner{j.place, l.Name, l.Index})
		}
	}
}

// deadInbounds are the ifbs of ours that have nothing to do when Inner, which
// is half made, has gone.
func (in Inside) deadInbounds() []*rtnl.Link {
	if in.Shaped.Inbound == nil {
		return in.LeftInbounds
	}
	return append(slices.Clone(in.LeftInbounds), in.Shaped.Inbound)
}

// inbound is the step that shapes what comes in by the guest's link.
func (j *job) inbound(e egress) addInbound {
	return addInbound{place: j.place, inner: j.names.inner, ifb: j.names.inbound, mtu: j.mtu, shape: e}
}

// addInbound sends what comes in by a guest's link through a new ifb.
type addInbound struct {
	place
	inner, ifb string
	mtu        int
	shape      egress
}

// finish is what the new ifb is set to.
func (s addInbound) finish() setLink {
	return setLink{place: s.place, name: s.ifb, set: rtnl.Change{Alias: markWord + " rate-in " + s.inner, AddrGenNone: true, Up: true}}
}

func (s addInbound) do(ctx context.Context, m *machine) error {
	err := s.kernel(m).AddChild(rtnl.Child{Name: s.ifb, Kind: "ifb", MTU: s.mtu, Group: Group})
	if errors.Is(err, unix.EOPNOTSUPP) {
		return fault.New(fault.Unsupported, "make ifb", s.ifb, "%w", err).
			WithHint("to shape what comes in, the kernel needs the module ifb (CONFIG_IFB)")
	}
	if err != nil {
		return explain("make ifb", s.ifb, err)
	}
	if err := s.plumb(ctx, m); err != nil {
		return half(err, s.undo(ctx, m), s)
	}
	return nil
}

func (s addInbound) plumb(ctx context.Context, m *machine) error {
	k := s.kernel(m)
	l, err := k.LinkByName(s.ifb)
	if err != nil {
		return explain("find", s.ifb, err)
	}
	m.index[end{s.side, s.ifb}] = l.Index
	if err := s.finish().do(ctx, m); err != nil {
		return err
	}
	if err := s.shape.change(k, l.Index, egress{}); err != nil {
		return explain("shape", s.ifb, err)
	}
	inner, err := m.find(end{s.side, s.inner})
	if err != nil {
		return explain("find", s.inner, err)
	}
	switch err := k.RedirectIngress(inner, l.Index); {
	case errors.Is(err, unix.EEXIST):
		return ingressTaken(s.enter, s.inner)
	case errors.Is(err, unix.ENOENT):
		return fault.New(fault.Unsupported, "redirect what comes in by", s.inner, "%w", err).
			WithHint("the kernel needs the modules sch_ingress, cls_u32 and act_mirred (CONFIG_NET_SCH_INGRESS, CONFIG_NET_CLS_U32, CONFIG_NET_ACT_MIRRED)")
	default:
		return explain("redirect what comes in by", s.inner, err)
	}
}

// ingressTaken refuses a link where somebody else does something with what comes
// in.
func ingressTaken(enter, link string) *fault.Error {
	return fault.New(fault.Conflict, "redirect what comes in by", link, "somebody has put an ingress qdisc or a clsact there already").
		WithHint("%stc qdisc show dev %s", enter, link)
}

// undo takes the redirection away only if it is ours.
func (s addInbound) undo(_ context.Context, m *machine) error {
	k := s.kernel(m)
	l, err := k.LinkByName(s.ifb)
	if err != nil {
		return ignoreAbsent("find", s.ifb, err)
	}
	if !isInbound(l) {
		return nil
	}
	if inner, err := m.find(end{s.side, s.inner}); err == nil {
		if to, err := k.Redirect(inner); err == nil && to == l.Index {
			if err := k.NoIngress(inner); unlessAbsent(err) != nil {
				return explain("stop redirecting what comes in by", s.inner, err)
			}
		}
	}
	delete(m.index, end{s.side, s.ifb})
	return ignoreAbsent("delete", s.ifb, deleteLink(k, l.Index))
}

func (addInbound) nature() nature { return undoable }

func (s addInbound) String() string {
	mtu := ""
	if s.mtu != 0 {
		mtu = " mtu " + itoa(s.mtu)
	}
	lines := []string{fmt.Sprintf("%sip link add %s%s group %d type ifb", s.enter, s.ifb, mtu, Group), s.finish().String()}
	lines = append(lines, s.shape.commands(s.enter, shell.Quote(s.ifb), egress{})...)
	return strings.Join(append(lines,
		s.enter+"tc qdisc add dev "+s.inner+" ingress",
		s.enter+"tc filter add dev "+s.inner+" parent ffff: protocol all prio 1 u32 match u32 0 0 action mirred egress redirect dev "+s.ifb,
	), "\n")
}

// delInbound takes it away again.
type delInbound struct{ addInbound }

func (s delInbound) do(ctx context.Context, m *machine) error {
	err := s.addInbound.undo(ctx, m)
	if err == nil {
		return nil
	}
	return half(err, s.redirect(m), s)
}

// redirect sends what comes in through the ifb again, if that is still there.
func (s delInbound) redirect(m *machine) error {
	k := s.kernel(m)
	l, err := k.LinkByName(s.ifb)
	if err != nil {
		return ignoreAbsent("find", s.ifb, err)
	}
	inner, err := m.find(end{s.side, s.inner})
	if err != nil {
		return ignoreAbsent("find", s.inner, err)
	}
	if to, err := k.Redirect(inner); err == nil && to == l.Index {
		return nil
	}
	return explain("redirect what comes in by", s.inner, k.RedirectIngress(inner, l.Index))
}

func (s delInbound) undo(ctx context.Context, m *machine) error { return s.addInbound.do(ctx, m) }

func (delInbound) nature() nature { return undoable }

func (s delInbound) String() string {
	return s.enter + "tc qdisc del dev " + s.inner + " ingress\n" + s.enter + "ip link del " + s.ifb
}
