package attach

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guestnet"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/kind"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/spec"
	"golang.org/x/sys/unix"
)

// planLink decides, as planAttach does, for a link between two guests. Inside each
// of them it is an attach like any other.
func planLink(s LinkSpec, f linkFacts) (build.Plan, error) {
	d := &build.Draft{}
	var ends [2]*build.Job
	for i, at := range linkSides {
		j := jobFor(s.Ends[i], build.Facts{Inside: f.Ends[i].Inside, New: f.Ends[i].New, Origin: f.Origin, Machine: f.Machine, Joined: f.joined()}, at)
		j.Kind, j.Traits = KindVeth, kind.GuestPair.Traits
		j.LinkMTU = linkMTU(j)
		if err := guestnet.CheckShape(j, guestnet.AskedShape(j)); err != nil {
			return build.Plan{}, err
		}
		ends[i] = j
	}
	d.Attachments = linkAttachments(ends)
	if f.joined() && ends[0].Complete() && ends[1].Complete() {
		if err := keepLink(d, ends); err != nil {
			return build.Plan{}, err
		}
		return d.Plan, nil
	}
	for _, j := range ends {
		if !f.joined() && j.Complete() {
			return build.Plan{}, innerTaken(j)
		}
		if err := checkFree(j); err != nil {
			return build.Plan{}, err
		}
	}
	if err := newLink(d, ends, f.joined()); err != nil {
		return build.Plan{}, err
	}
	for i, j := range ends { // one end may have its mark already
		d.Attachments[i].Origin = j.Origin()
	}
	return d.Plan, nil
}

// keepLink holds both ends of a link that is there against what is asked for.
func keepLink(d *build.Draft, ends [2]*build.Job) error {
	for _, j := range ends {
		if err := checkSame(j); err != nil {
			return err
		}
	}
	for _, j := range ends {
		planUpAgain(j, d)
		kind.RepairCable(j, d)
		takeOver(j, d)
	}
	return nil
}

// newLink plans the pair and what is inside both guests. The addresses of both
// are there before either waits for duplicate address detection.
func newLink(d *build.Draft, ends [2]*build.Job, half bool) error {
	a, b := ends[0], ends[1]
	kind.PlanClearing(a, d)
	if !half { // otherwise b's end goes with a's
		kind.PlanClearing(b, d)
	} else {
		guestnet.ClearInbound(b, d)
	}
	d.Add(addPair{
		Place: a.Place, inner: a.Names.Inner, mac: a.LinkMAC(),
		far: b.Names.Inner, farMAC: b.LinkMAC(), netns: guests.NetNSWord(b.There.Guest), mtu: a.LinkMTU,
	})
	for _, e := range ends {
		guestnet.PlanBeforeUp(e, d)
		guestnet.PlanUp(e, d)
		guestnet.PlanShape(e, d)
	}
	for _, ipv6 := range []bool{false, true} {
		for _, e := range ends {
			guestnet.PlanAddresses(e, d, ipv6)
		}
		for _, e := range ends {
			if err := guestnet.PlanFollowing(e, d, ipv6); err != nil {
				return err
			}
		}
	}
	for i, e := range ends {
		planMark(e, d)
		warn(e, d)
		warnSubnet(e, d, ends[1-i])
	}
	return nil
}

// warnSubnet warns of an end that has no route to the other by the link: each has
// addresses, and none of the other's is in a subnet of its own, or its gateway.
func warnSubnet(j *build.Job, d *build.Draft, other *build.Job) {
	if len(j.Addrs) == 0 || len(other.Addrs) == 0 {
		return
	}
	for _, a := range other.Addrs {
		if slices.Contains(j.Gateways, a.Addr()) || slices.ContainsFunc(j.Addrs, func(p netip.Prefix) bool { return p.Contains(a.Addr()) }) {
			return
		}
	}
	d.Warn("%s cannot reach %s through the link: its own subnet is %s", j.There.Guest.Name, other.There.Guest.Name+" ("+spec.Join(other.Addrs)+")", spec.Join(subnets(j.Addrs)))
}

func subnets(all []netip.Prefix) (out []netip.Prefix) {
	for _, p := range all {
		out = append(out, p.Masked())
	}
	return out
}

// linkAttachments are what will be there, in either guest.
func linkAttachments(ends [2]*build.Job) []Attachment {
	all := []Attachment{newAttachment(ends[0]), newAttachment(ends[1])}
	for i := range all {
		other := all[1-i]
		all[i].Interface.Kind = "veth"
		all[i].Host = Host{Kind: string(KindVeth), Name: other.Guest.Word(), Port: other.Interface.Name}
	}
	return all
}

// addPair makes a veth pair with an end in either guest, under their final
// names.
type addPair struct {
	plan.Place
	inner  string
	mac    net.HardwareAddr
	far    string // the name in the other guest
	farMAC net.HardwareAddr
	netns  string // the other guest
	mtu    int
}

func (s addPair) Do(_ context.Context, m *plan.Machine) error {
	for _, at := range linkSides {
		if err := ours.GiveID(m, at); err != nil {
			return err
		}
	}
	err := s.Kernel(m).AddVeth(rtnl.Veth{
		Name: s.inner, MAC: s.mac, PeerName: s.far, PeerNS: m.Guests[plan.InFar].Namespace, PeerMAC: s.farMAC,
		MTU: s.mtu, Group: plan.Group,
	})
	if errors.Is(err, unix.EOPNOTSUPP) {
		return fault.New(fault.Unsupported, "make veth", s.inner, "%w", err).WithHint("%s", ours.Missing("veth"))
	}
	if err != nil {
		return fault.Explain("make veth", s.inner, err)
	}
	// Both indexes come from the first end: the other may be renamed already.
	l, err := s.Kernel(m).LinkByName(s.inner)
	if err != nil {
		return plan.Half(fault.Explain("find veth", s.inner, err), ours.DropHalf(m, s.Side, "veth", 0), s)
	}
	m.Know(s.Side, s.inner, l.Index)
	m.Know(plan.InFar, s.far, l.Peer)
	return nil
}

func (s addPair) Undo(_ context.Context, m *plan.Machine) error {
	return fault.IgnoreAbsent("delete veth", s.inner, ours.DeleteLink(s.Kernel(m), s.Index(m, s.inner)))
}

func (addPair) Nature() plan.Nature { return plan.Undoable }

func (s addPair) String() string {
	return s.Enter + fmt.Sprintf("ip link add name %s address %s mtu %d group %d type veth peer name %s address %s mtu %d group %d netns %s",
		s.inner, s.mac, s.mtu, plan.Group, s.far, s.farMAC, s.mtu, plan.Group, s.netns)
}
