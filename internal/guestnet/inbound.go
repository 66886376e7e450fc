package guestnet

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/shell"
	"github.com/gopipework/gopipework/internal/spec"
	"golang.org/x/sys/unix"
)

// What comes in by a link in a guest can only be shaped if it is made to leave
// by another first: an ifb of ours beside it, in the guest. It is known by our
// group, and by the link that sends to it.

// InboundName is the name of that ifb.
func InboundName(inner string) string {
	const tail = "-in"
	if len(inner)+len(tail) <= spec.MaxLinkName {
		return inner + tail
	}
	const hashLength = 6
	sum := sha256.Sum256([]byte(inner))
	return inner[:spec.MaxLinkName-len(tail)-hashLength] + tail + hex.EncodeToString(sum[:])[:hashLength]
}

func IsInbound(l *rtnl.Link) bool { return l.Kind == "ifb" && plan.IsOurs(l) }

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
	if err != nil || !IsInbound(l) {
		return nil, ours.UnlessNotFound(err)
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

// Inbounds are the ifbs of ours in a guest.
type Inbounds struct {
	Of   map[int]*rtnl.Link // by the index of the link that sends to it
	Left []*rtnl.Link       // nothing is sent to: a killed run has left them, or somebody has deleted the link
}

func FindInbounds(k plan.Reader, links []*rtnl.Link) (Inbounds, error) {
	found := Inbounds{Of: map[int]*rtnl.Link{}}
	lent, err := ours.LentIn(k, links)
	if err != nil {
		return found, err
	}
	for _, l := range links {
		if _, is := lent[l.Index]; IsInbound(l) && !is {
			found.Left = append(found.Left, l)
		}
	}
	if len(found.Left) == 0 {
		return found, nil
	}
	all, err := k.Qdiscs()
	if err != nil {
		return found, err
	}
	for _, l := range links {
		used, err := inboundOf(k, l.Index, QdiscsOf(l.Index, all))
		if err != nil {
			return found, err
		}
		if used != nil {
			found.Of[l.Index] = used
			found.Left = slices.DeleteFunc(found.Left, func(l *rtnl.Link) bool { return l.Index == used.Index })
		}
	}
	return found, nil
}

// CheckInbound refuses a name that something else in the guest has.
func CheckInbound(j *build.Job, rate spec.Rate) error {
	if rate == 0 || j.Traits.ShapesPort {
		return nil
	}
	for _, l := range j.There.Links {
		dead := slices.ContainsFunc(deadInbounds(j.There.Inside), func(dead *rtnl.Link) bool { return dead.Index == l.Index })
		if l.Name == j.Names.Inbound && !dead {
			return j.Refuse(fault.Conflict, "it has an interface %s already: %s; --rate-in needs that name", l.Name, ours.DescribeKind(l)).
				WithHint("choose %s", j.OtherName())
		}
	}
	return nil
}

// ClearInbound plans for what a killed run has left to go: under the name, or
// with the half-made link that sends to it.
func ClearInbound(j *build.Job, d *build.Draft) {
	for _, l := range deadInbounds(j.There.Inside) {
		if l.Name == j.Names.Inbound || l == j.There.Shaped.Inbound {
			d.Add(ours.DelInner{Place: j.Place, Name: l.Name, Index: l.Index})
		}
	}
}

// deadInbounds are the ifbs of ours that have nothing to do when Inner, which
// is half made, has gone.
func deadInbounds(in build.Inside) []*rtnl.Link {
	if in.Shaped.Inbound == nil {
		return in.LeftInbounds
	}
	return append(slices.Clone(in.LeftInbounds), in.Shaped.Inbound)
}

// InboundStep is the step that shapes what comes in by the guest's link.
func InboundStep(j *build.Job, e Egress) AddInbound {
	return AddInbound{Place: j.Place, inner: j.Names.Inner, Ifb: j.Names.Inbound, mtu: j.LinkMTU, shape: e}
}

// AddInbound sends what comes in by a guest's link through a new ifb.
type AddInbound struct {
	plan.Place
	inner, Ifb string
	mtu        int
	shape      Egress
}

// finish is what the new ifb is set to.
func (s AddInbound) finish() plan.SetLink {
	return plan.SetLink{Place: s.Place, Name: s.Ifb, Set: rtnl.Change{Alias: plan.MarkWord + " rate-in " + s.inner, AddrGenNone: true, Up: true}}
}

func (s AddInbound) Do(ctx context.Context, m *plan.Machine) error {
	err := s.Kernel(m).AddChild(rtnl.Child{Name: s.Ifb, Kind: "ifb", MTU: s.mtu, Group: plan.Group})
	if errors.Is(err, unix.EOPNOTSUPP) {
		return fault.New(fault.Unsupported, "make ifb", s.Ifb, "%w", err).
			WithHint("to shape what comes in, the kernel needs the module ifb (CONFIG_IFB)")
	}
	if err != nil {
		return fault.Explain("make ifb", s.Ifb, err)
	}
	if err := s.plumb(ctx, m); err != nil {
		return plan.Half(err, s.Undo(ctx, m), s)
	}
	return nil
}

func (s AddInbound) plumb(ctx context.Context, m *plan.Machine) error {
	k := s.Kernel(m)
	l, err := k.LinkByName(s.Ifb)
	if err != nil {
		return fault.Explain("find", s.Ifb, err)
	}
	m.Know(s.Side, s.Ifb, l.Index)
	if err := s.finish().Do(ctx, m); err != nil {
		return err
	}
	if err := s.shape.change(k, l.Index, Egress{}); err != nil {
		return fault.Explain("shape", s.Ifb, err)
	}
	inner, err := m.Find(s.Side, s.inner)
	if err != nil {
		return fault.Explain("find", s.inner, err)
	}
	switch err := k.RedirectIngress(inner, l.Index); {
	case errors.Is(err, unix.EEXIST):
		return IngressTaken(s.Enter, s.inner)
	case errors.Is(err, unix.ENOENT):
		return fault.New(fault.Unsupported, "redirect what comes in by", s.inner, "%w", err).
			WithHint("the kernel needs the modules sch_ingress, cls_u32 and act_mirred (CONFIG_NET_SCH_INGRESS, CONFIG_NET_CLS_U32, CONFIG_NET_ACT_MIRRED)")
	default:
		return fault.Explain("redirect what comes in by", s.inner, err)
	}
}

// IngressTaken refuses a link where somebody else does something with what comes
// in.
func IngressTaken(enter, link string) *fault.Error {
	return fault.New(fault.Conflict, "redirect what comes in by", link, "somebody has put an ingress qdisc or a clsact there already").
		WithHint("%stc qdisc show dev %s", enter, link)
}

// Undo deletes the redirection only if it is ours.
func (s AddInbound) Undo(_ context.Context, m *plan.Machine) error {
	k := s.Kernel(m)
	l, err := k.LinkByName(s.Ifb)
	if err != nil {
		return fault.IgnoreAbsent("find", s.Ifb, err)
	}
	if !IsInbound(l) {
		return nil
	}
	if inner, err := m.Find(s.Side, s.inner); err == nil {
		if to, err := k.Redirect(inner); err == nil && to == l.Index {
			if err := k.NoIngress(inner); unlessAbsent(err) != nil {
				return fault.Explain("stop redirecting what comes in by", s.inner, err)
			}
		}
	}
	m.Forget(s.Side, s.Ifb)
	return fault.IgnoreAbsent("delete", s.Ifb, ours.DeleteLink(k, l.Index))
}

func (AddInbound) Nature() plan.Nature { return plan.Undoable }

func (s AddInbound) String() string {
	mtu := ""
	if s.mtu != 0 {
		mtu = " mtu " + strconv.Itoa(s.mtu)
	}
	lines := []string{fmt.Sprintf("%sip link add %s%s group %d type ifb", s.Enter, s.Ifb, mtu, plan.Group), s.finish().String()}
	lines = append(lines, s.shape.commands(s.Enter, shell.Quote(s.Ifb), Egress{})...)
	return strings.Join(append(lines,
		s.Enter+"tc qdisc add dev "+s.inner+" ingress",
		s.Enter+"tc filter add dev "+s.inner+" parent ffff: protocol all prio 1 u32 match u32 0 0 action mirred egress redirect dev "+s.Ifb,
	), "\n")
}

// DelInbound deletes it.
type DelInbound struct{ AddInbound }

func (s DelInbound) Do(ctx context.Context, m *plan.Machine) error {
	err := s.AddInbound.Undo(ctx, m)
	if err == nil {
		return nil
	}
	return plan.Half(err, s.redirect(m), s)
}

// redirect sends what comes in through the ifb again, if that is still there.
func (s DelInbound) redirect(m *plan.Machine) error {
	k := s.Kernel(m)
	l, err := k.LinkByName(s.Ifb)
	if err != nil {
		return fault.IgnoreAbsent("find", s.Ifb, err)
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

func (s DelInbound) Undo(ctx context.Context, m *plan.Machine) error { return s.AddInbound.Do(ctx, m) }

func (DelInbound) Nature() plan.Nature { return plan.Undoable }

func (s DelInbound) String() string {
	return s.Enter + "tc qdisc del dev " + s.inner + " ingress\n" + s.Enter + "ip link del " + s.Ifb
}
