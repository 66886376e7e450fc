package guestnet

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/shell"
	"github.com/gopipework/gopipework/internal/spec"
	"golang.org/x/sys/unix"
)

// Shaping is done where frames leave a link: a queue can wait there, and what
// sends into it feels that it is full. What the guest sends leaves by its own
// end, of any kind of link. What it gets leaves, on a Linux bridge, by the
// host's end of the pair. For all others there is no such end, or it is not
// ours to shape: ovs-vswitchd deletes the qdiscs of its ports when it starts.
// There what comes in is sent through an ifb in the guest (inbound.go).
//
// Our qdiscs are known by their handles.
const (
	shapeMajor = plan.Group     // netem, at the root
	belowMajor = shapeMajor + 1 // tbf, below a netem
	aloneMajor = shapeMajor + 2 // tbf, at the root: two kinds cannot have one handle
)

// Egress is what shapes the frames that leave by a link.
type Egress struct {
	Rate          spec.Rate
	Loss          spec.Loss
	delay, jitter spec.Delay
	MTU           int // of the link; bytes
}

func Sent(s spec.Shaping, mtu int) Egress     { return Egress{s.RateOut, s.Loss, s.Delay, s.Jitter, mtu} }
func Received(s spec.Shaping, mtu int) Egress { return Egress{Rate: s.RateIn, MTU: mtu} }

func (e Egress) Worse() bool  { return e.Loss != 0 || e.delay != 0 }
func (e Egress) Shapes() bool { return e.Worse() || e.Rate != 0 }

// Root is what stands at the root of the link.
func (e Egress) Root() rtnl.Qdisc {
	if !e.Worse() {
		return rtnl.Qdisc{Kind: "tbf", Handle: rtnl.QdiscHandle(aloneMajor, 0), Parent: rtnl.QdiscRoot, TBF: e.Tbf()}
	}
	return rtnl.Qdisc{Kind: "netem", Handle: rtnl.QdiscHandle(shapeMajor, 0), Parent: rtnl.QdiscRoot, Netem: &rtnl.Netem{
		Limit:  netemLimit,
		Loss:   uint32(math.Round(float64(e.Loss) / spec.AllLost * math.MaxUint32)),
		Delay:  time.Duration(e.delay),
		Jitter: time.Duration(e.jitter),
	}}
}

// Below is what stands below a netem, if there is a rate.
func (e Egress) Below() rtnl.Qdisc {
	return rtnl.Qdisc{Kind: "tbf", Handle: rtnl.QdiscHandle(belowMajor, 0), Parent: rtnl.QdiscHandle(shapeMajor, 1), TBF: e.Tbf()}
}

// netemLimit is in packets: what is on its way for 100 ms at 1 Gbit/s.
const netemLimit = 10000

// The bucket of a tbf holds what a timer that is a little late owes, and two
// frames at least; a packet that is longer than the bucket, which offload
// makes, is cut (tbf_segment). What waits is a tenth of a second's worth, and
// 20 frames at least, or TCP finds no rhythm.
const (
	burstTime = 10 * time.Millisecond
	queueTime = 100 * time.Millisecond
	Header    = 18 // bytes of Ethernet around the MTU, with a VLAN tag
)

func (e Egress) Tbf() *rtnl.TBF {
	frame := float64(e.MTU + Header)
	bytes := float64(e.Rate) / 8
	burst := max(bytes*burstTime.Seconds(), 2*frame)
	limit := burst + max(bytes*queueTime.Seconds(), 20*frame)
	return &rtnl.TBF{
		Rate:  uint64(e.Rate) / 8,
		Burst: uint32(burst),
		Limit: uint32(min(limit, math.MaxUint32)),
	}
}

// change makes a link that has have into one that has e. What waits in a qdisc
// that stays is kept.
func (e Egress) change(k plan.Kernel, index int, have Egress) error {
	on := func(q rtnl.Qdisc, do func(rtnl.Qdisc) error) error {
		q.Index = index
		return lacksQdisc(q.Kind, do(q))
	}
	switch {
	case !e.Shapes() && !have.Shapes():
		return nil
	case !e.Shapes():
		return on(have.Root(), notOurs(k.DelQdisc))
	}
	if err := on(e.Root(), k.SetQdisc); err != nil {
		return err
	}
	switch {
	case e.Worse() && e.Rate != 0:
		return on(e.Below(), k.SetQdisc)
	case e.Worse() && have.Worse() && have.Rate != 0:
		return on(have.Below(), notOurs(k.DelQdisc))
	}
	return nil
}

// notOurs makes a deletion of what somebody has replaced meanwhile one that
// found nothing.
func notOurs(del func(rtnl.Qdisc) error) func(rtnl.Qdisc) error {
	return func(q rtnl.Qdisc) error {
		if err := del(q); !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			return err
		}
		return nil
	}
}

// lacksQdisc explains a kernel without a kind of qdisc.
func lacksQdisc(kind string, err error) error {
	if !errors.Is(err, unix.ENOENT) {
		return err
	}
	return fault.New(fault.Unsupported, "shape with", kind, "%w", err).
		WithHint("the kernel needs the module sch_%s (CONFIG_NET_SCH_%s)", kind, strings.ToUpper(kind))
}

// commands are those of change.
func (e Egress) commands(enter, link string, have Egress) []string {
	tc := func(verb, parent, rest string) string {
		return strings.TrimSuffix(fmt.Sprintf("%stc qdisc %s dev %s %s %s", enter, verb, link, parent, rest), " ")
	}
	below := "parent " + class(e.Below().Parent)
	switch {
	case !e.Shapes() && !have.Shapes():
		return nil
	case !e.Shapes():
		return []string{tc("del", "root", "")}
	case !e.Worse():
		return []string{tc("replace", "root", describeQdisc(e.Root()))}
	}
	lines := []string{tc("replace", "root", describeQdisc(e.Root()))}
	switch {
	case e.Rate != 0:
		lines = append(lines, tc("replace", below, describeQdisc(e.Below())))
	case have.Worse() && have.Rate != 0:
		lines = append(lines, tc("del", below, ""))
	}
	return lines
}

func class(handle uint32) string { return fmt.Sprintf("%x:%x", handle>>16, handle&0xffff) }

// describeQdisc describes one as tc takes it.
func describeQdisc(q rtnl.Qdisc) string {
	w := fmt.Sprintf("handle %x: %s", q.Handle>>16, q.Kind)
	switch {
	case q.TBF != nil:
		return w + fmt.Sprintf(" rate %s burst %d limit %d", spec.Rate(q.TBF.Rate*8), q.TBF.Burst, q.TBF.Limit)
	case q.Netem != nil:
		w += fmt.Sprintf(" limit %d", q.Netem.Limit)
		if q.Netem.Delay != 0 {
			w += " delay " + spec.Delay(q.Netem.Delay).String()
		}
		if q.Netem.Jitter != 0 {
			w += " " + spec.Delay(q.Netem.Jitter).String()
		}
		if q.Netem.Loss != 0 {
			w += " loss " + lossOf(q.Netem).String()
		}
	}
	return w
}

func lossOf(n *rtnl.Netem) spec.Loss {
	return spec.Loss(math.Round(float64(n.Loss) / math.MaxUint32 * spec.AllLost))
}

// ShapeLink changes what shapes a link.
type ShapeLink struct {
	plan.Place
	Link       string
	Want, Have Egress
}

func (s ShapeLink) Do(_ context.Context, m *plan.Machine) error {
	i, err := m.Find(s.Side, s.Link)
	if err != nil {
		return fault.Explain("find", s.Link, err)
	}
	if err = s.Want.change(s.Kernel(m), i, s.Have); err == nil {
		return nil
	}
	return plan.Half(fault.Explain("shape", s.Link, err), s.Undo(context.Background(), m), s)
}

func (s ShapeLink) Undo(_ context.Context, m *plan.Machine) error {
	i, err := m.Find(s.Side, s.Link)
	if err == nil {
		err = s.Have.change(s.Kernel(m), i, s.Want)
	}
	return fault.IgnoreAbsent("shape", s.Link, err)
}

func (ShapeLink) Nature() plan.Nature { return plan.Undoable }

func (s ShapeLink) String() string {
	return strings.Join(s.Want.commands(s.Enter, shell.Quote(s.Link), s.Have), "\n")
}

// Shaping is what of it is ours.
func Shaping(s build.Shaped) (out spec.Shaping) {
	for _, q := range s.Out {
		switch major := q.Handle >> 16; {
		case q.Netem != nil && major == shapeMajor:
			out.Loss, out.Delay, out.Jitter = lossOf(q.Netem), spec.Delay(q.Netem.Delay), spec.Delay(q.Netem.Jitter)
		case q.TBF != nil && (major == belowMajor || major == aloneMajor):
			out.RateOut = spec.Rate(q.TBF.Rate * 8)
		}
	}
	for _, q := range s.In {
		if q.TBF != nil && q.Handle>>16 == aloneMajor {
			out.RateIn = spec.Rate(q.TBF.Rate * 8)
		}
	}
	return out
}

// foreignRoot returns what somebody else has put at the root of a link.
func foreignRoot(qdiscs []rtnl.Qdisc) (rtnl.Qdisc, bool) {
	i := slices.IndexFunc(qdiscs, func(q rtnl.Qdisc) bool {
		major := q.Handle >> 16
		return q.Parent == rtnl.QdiscRoot && major != 0 && major != shapeMajor && major != aloneMajor
	})
	if i < 0 {
		return rtnl.Qdisc{}, false
	}
	return qdiscs[i], true
}

// CheckRoot refuses a link at whose root somebody else has put something.
func CheckRoot(j *build.Job, enter, link string, qdiscs []rtnl.Qdisc) error {
	q, ok := foreignRoot(qdiscs)
	if !ok {
		return nil
	}
	return j.Refuse(fault.Conflict, "somebody has given %s a queue of another kind: %s", link, q.Kind).
		WithHint("%stc qdisc del dev %s root", enter, link)
}

// QdiscsOf returns those of one link.
func QdiscsOf(index int, all []rtnl.Qdisc) (out []rtnl.Qdisc) {
	for _, q := range all {
		if q.Index == index {
			out = append(out, q)
		}
	}
	return out
}

// HasQueue reports whether something can stand at the root of a link: on most virtual
// links nothing does, unless somebody shapes them.
func HasQueue(l *rtnl.Link) bool { return l.Queue != "noqueue" }

// ShapingIn is what of a guest's link's shaping is ours, as seen from inside the guest.
// The queues are read only where there can be one: on the link, or on an ifb beside it.
func ShapingIn(k plan.Reader, l *rtnl.Link) (spec.Shaping, error) {
	if !HasQueue(l) {
		links, err := k.Links()
		if err != nil || !slices.ContainsFunc(links, IsInbound) {
			return spec.Shaping{}, err
		}
	}
	s, err := ReadShaped(k, l.Index)
	return Shaping(s), err
}

// ReadShaped looks at what shapes a guest's link from inside the guest.
func ReadShaped(k plan.Reader, index int) (s build.Shaped, err error) {
	all, err := k.Qdiscs()
	if err != nil {
		return s, err
	}
	s.Out = QdiscsOf(index, all)
	if s.Inbound, err = inboundOf(k, index, s.Out); s.Inbound != nil {
		s.In = QdiscsOf(s.Inbound.Index, all)
	} else if err == nil && slices.ContainsFunc(s.Out, func(q rtnl.Qdisc) bool { return q.Kind == "ingress" || q.Kind == "clsact" }) {
		s.Taken, err = k.Ingress(index)
		err = unlessAbsent(err)
	}
	return s, err
}

// ShapedAt looks at the host's end of a pair, where nothing in the guest shapes
// what comes in.
func ShapedAt(o *build.Looker, k plan.Kernel, own *rtnl.Link, s *build.Shaped) {
	if own == nil || s.Inbound != nil {
		return
	}
	o.Look("the queues of "+own.Name, func() error {
		all, err := k.Qdiscs()
		s.In = QdiscsOf(own.Index, all)
		return err
	})
}

// CheckShape refuses what cannot be shaped so.
func CheckShape(j *build.Job, want spec.Shaping) error {
	switch {
	case want.Jitter != 0 && want.Delay == 0:
		return j.Refuse(fault.Usage, "--jitter varies a --delay, but none is given")
	case want.Jitter > want.Delay:
		return j.Refuse(fault.Usage, "the jitter, %s, is more than the delay, %s", want.Jitter, want.Delay)
	case j.Traits.Lent && want != spec.Shaping{}:
		return j.Refuse(fault.Unsupported, "a card that is lent whole keeps its own queues").
			WithHint("a macvlan on it can be shaped: macvlan:%s", j.HostIF.Name)
	}
	return nil
}

// PlanPortShape plans what shapes the host's end of a new pair, or of one that was
// parked, where what somebody else has put there stays.
func PlanPortShape(j *build.Job, d *build.Draft) {
	var have Egress
	if j.Takes() {
		have = Received(Shaping(build.Shaped{In: j.There.Parked.Queues}), j.LinkMTU)
	}
	if e := Received(AskedShape(j), j.LinkMTU); e.Rate != have.Rate {
		d.Add(ShapeLink{Link: j.Names.Port, Want: e, Have: have})
	}
}

// HasForeignRoot reports whether somebody else has put something at the root of a link.
func HasForeignRoot(queues []rtnl.Qdisc) bool {
	_, has := foreignRoot(queues)
	return has
}

// PlanShape plans what shapes a new link inside the guest.
func PlanShape(j *build.Job, d *build.Draft) {
	want := AskedShape(j)
	if e := Sent(want, j.LinkMTU); e.Shapes() {
		d.Add(ShapeLink{Place: j.Place, Link: j.Names.Inner, Want: e})
	}
	if e := Received(want, j.LinkMTU); e.Shapes() && !j.Traits.ShapesPort {
		d.Add(InboundStep(j, e))
	}
}

// AskedShape is the shaping that is asked of a new link.
func AskedShape(j *build.Job) spec.Shaping { return j.Spec.Shape.Apply(spec.Shaping{}) }

// ShapeDiffers holds what shapes a link that is there against what is asked
// for. It returns the flags with which set would change it.
func ShapeDiffers(j *build.Job, differ build.Differ) (flags []string) {
	there, asked := spec.ShapeFields(Shaping(j.There.Shaped)), spec.WordFields(j.Spec.Shape.Words())
	for i, a := range asked {
		if is := spec.OrNone(there[i].Word); a.Word != "" && a.Word != is {
			differ(a.Name, is, a.Word)
			flags = append(flags, "--"+a.Name+" "+a.Word)
		}
	}
	return flags
}

// ShapingOrNil is s for the JSON output: absent where there is none.
func ShapingOrNil(s spec.Shaping) *spec.Shaping {
	if s == (spec.Shaping{}) {
		return nil
	}
	return &s
}
