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
	"github.com/gopipework/gopipework/internal/plan"
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

func isInbound(l *rtnl.Link) bool { return l.Kind == "ifb" && plan.IsOurs(l) }

// inboundOf returns the ifb of ours that a link with these qdiscs sends to what
// comes in by it; nil: none.
func inboundOf(k plan.Reader, index int, qdiscs []rtnl.Qdisc) (*rtnl.Link, error) {
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
	if fault.Absent(err) || errors.Is(err, unix.EINVAL) {
		return nil
	}
	return err
}

// inbounds are the ifbs of ours in a guest.
type inbounds struct {
	of   map[int]*rtnl.Link // by the index of the link that sends to it
	left []*rtnl.Link       // nothing is sent to: a killed run has left them, or somebody has deleted the link
}

func findInbounds(k plan.Reader, links []*rtnl.Link) (inbounds, error) {
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
			d.add(delInner{j.Place, l.Name, l.Index})
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
	return addInbound{Place: j.Place, inner: j.names.inner, ifb: j.names.inbound, mtu: j.mtu, shape: e}
}

// addInbound sends what comes in by a guest's link through a new ifb.
type addInbound struct {
	plan.Place
	inner, ifb string
	mtu        int
	shape      egress
}

// finish is what the new ifb is set to.
func (s addInbound) finish() plan.SetLink {
	return plan.SetLink{Place: s.Place, Name: s.ifb, Set: rtnl.Change{Alias: plan.MarkWord + " rate-in " + s.inner, AddrGenNone: true, Up: true}}
}

func (s addInbound) Do(ctx context.Context, m *plan.Machine) error {
	err := s.Kernel(m).AddChild(rtnl.Child{Name: s.ifb, Kind: "ifb", MTU: s.mtu, Group: plan.Group})
	if errors.Is(err, unix.EOPNOTSUPP) {
		return fault.New(fault.Unsupported, "make ifb", s.ifb, "%w", err).
			WithHint("to shape what comes in, the kernel needs the module ifb (CONFIG_IFB)")
	}
	if err != nil {
		return fault.Explain("make ifb", s.ifb, err)
	}
	if err := s.plumb(ctx, m); err != nil {
		return plan.Half(err, s.Undo(ctx, m), s)
	}
	return nil
}

func (s addInbound) plumb(ctx context.Context, m *plan.Machine) error {
	k := s.Kernel(m)
	l, err := k.LinkByName(s.ifb)
	if err != nil {
		return fault.Explain("find", s.ifb, err)
	}
	m.Know(s.Side, s.ifb, l.Index)
	if err := s.finish().Do(ctx, m); err != nil {
		return err
	}
	if err := s.shape.change(k, l.Index, egress{}); err != nil {
		return fault.Explain("shape", s.ifb, err)
	}
	inner, err := m.Find(s.Side, s.inner)
	if err != nil {
		return fault.Explain("find", s.inner, err)
	}
	switch err := k.RedirectIngress(inner, l.Index); {
	case errors.Is(err, unix.EEXIST):
		return ingressTaken(s.Enter, s.inner)
	case errors.Is(err, unix.ENOENT):
		return fault.New(fault.Unsupported, "redirect what comes in by", s.inner, "%w", err).
			WithHint("the kernel needs the modules sch_ingress, cls_u32 and act_mirred (CONFIG_NET_SCH_INGRESS, CONFIG_NET_CLS_U32, CONFIG_NET_ACT_MIRRED)")
	default:
		return fault.Explain("redirect what comes in by", s.inner, err)
	}
}

// ingressTaken refuses a link where somebody else does something with what comes
// in.
func ingressTaken(enter, link string) *fault.Error {
	return fault.New(fault.Conflict, "redirect what comes in by", link, "somebody has put an ingress qdisc or a clsact there already").
		WithHint("%stc qdisc show dev %s", enter, link)
}

// undo takes the redirection away only if it is ours.
func (s addInbound) Undo(_ context.Context, m *plan.Machine) error {
	k := s.Kernel(m)
	l, err := k.LinkByName(s.ifb)
	if err != nil {
		return fault.IgnoreAbsent("find", s.ifb, err)
	}
	if !isInbound(l) {
		return nil
	}
	if inner, err := m.Find(s.Side, s.inner); err == nil {
		if to, err := k.Redirect(inner); err == nil && to == l.Index {
			if err := k.NoIngress(inner); unlessAbsent(err) != nil {
				return fault.Explain("stop redirecting what comes in by", s.inner, err)
			}
		}
	}
	m.Forget(s.Side, s.ifb)
	return fault.IgnoreAbsent("delete", s.ifb, deleteLink(k, l.Index))
}

func (addInbound) Nature() plan.Nature { return plan.Undoable }

func (s addInbound) String() string {
	mtu := ""
	if s.mtu != 0 {
		mtu = " mtu " + itoa(s.mtu)
	}
	lines := []string{fmt.Sprintf("%sip link add %s%s group %d type ifb", s.Enter, s.ifb, mtu, plan.Group), s.finish().String()}
	lines = append(lines, s.shape.commands(s.Enter, shell.Quote(s.ifb), egress{})...)
	return strings.Join(append(lines,
		s.Enter+"tc qdisc add dev "+s.inner+" ingress",
		s.Enter+"tc filter add dev "+s.inner+" parent ffff: protocol all prio 1 u32 match u32 0 0 action mirred egress redirect dev "+s.ifb,
	), "\n")
}

// delInbound takes it away again.
type delInbound struct{ addInbound }

func (s delInbound) Do(ctx context.Context, m *plan.Machine) error {
	err := s.addInbound.Undo(ctx, m)
	if err == nil {
		return nil
	}
	return plan.Half(err, s.redirect(m), s)
}

// redirect sends what comes in through the ifb again, if that is still there.
func (s delInbound) redirect(m *plan.Machine) error {
	k := s.Kernel(m)
	l, err := k.LinkByName(s.ifb)
	if err != nil {
		return fault.IgnoreAbsent("find", s.ifb, err)
	}
	inner, err := m.Find(s.Side, s.inner)
	if err != nil {
		return fault.IgnoreAbsent("find", s.inner, err)
	}
	if to, err := k.Redirect(inner); err == nil && to == l.Index {
		return nil
	}
	return fault.Explain("redirect what comes in by", s.inner, k.RedirectIngress(inner, l.Index))
}

func (s delInbound) Undo(ctx context.Context, m *plan.Machine) error { return s.addInbound.Do(ctx, m) }

func (delInbound) Nature() plan.Nature { return plan.Undoable }

func (s delInbound) String() string {
	return s.Enter + "tc qdisc del dev " + s.inner + " ingress\n" + s.Enter + "ip link del " + s.ifb
}
