// Package passage looks for what keeps packets from flowing between a link of a guest and
// its neighbours, as far as the kernel tells it for nothing: flags, sysctls, routes and
// rules. An attach warns of what it finds, a list tells it, and doctor begins with it.
//
//	passage.go  the way, and who is told of what is in it
//	port.go     what a Linux bridge does with the port
//	filter.go   what the port lets the guest send
//	link.go     what the guest has made of its link
//	sysctl.go   the sysctls of the guest's link
//	routes.go   where the guest sends what is for its neighbours
package passage

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/gopipework/gopipework/internal/finding"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/spec"
	"golang.org/x/sys/unix"
)

// Passage is the way between a guest's link and its neighbours.
type Passage struct {
	Guest plan.Kernel
	Inner *rtnl.Link
	Of    guests.GuestInfo // whose link it is

	Host plan.Kernel
	Port *rtnl.Link // the host's end; nil: none
	On   *rtnl.Link // the Linux bridge that port is in; nil: none

	Unplugged bool // port is in no switch

	Patience time.Duration  // how long an IPv6 address that is new may take
	told     []netip.Prefix // subnets whose routes were warned of when it was planned
}

// Findings looks for what is in the way. What was deleted meanwhile has none.
func (p Passage) Findings(ctx context.Context) []finding.Finding {
	if p.Inner.Kind == string(spec.KindDummy) {
		return nil // nobody is there
	}
	var out []finding.Finding
	for _, look := range []func() ([]finding.Finding, error){p.AtPort, p.AtFilter, p.AtLink, p.AtSysctls, p.OnRoutes, func() ([]finding.Finding, error) { return p.AtFirewall(ctx) }} {
		found, err := look()
		if err != nil && !errors.Is(err, rtnl.ErrNotFound) && ctx.Err() == nil {
			found = append(found, finding.Unseen.Perhaps("cannot tell whether packets pass %s of %s: %v", p.Inner.Name, p.Of.Name, err))
		}
		out = append(out, found...)
	}
	return out
}

// WarnObstacles warns of what is in the way of an attachment that a plan has made, or
// that was there.
func WarnObstacles(ctx context.Context, m *plan.Machine, at plan.Side, a ours.Attachment, told []netip.Prefix) {
	p := Passage{Guest: ours.Freeze(m.In(at)), Of: m.Guests[at].GuestInfo, Host: m.Host(), told: told, Patience: time.Second}
	var err error
	if p.Inner, err = p.Guest.LinkByName(a.Interface.Name); err != nil {
		return // somebody deleted it: there is nothing to look at
	}
	if a.Host.Kind == string(spec.KindBridge) {
		if p.Port, err = p.Host.LinkByName(a.Host.Port); err == nil && p.Port.Master != 0 {
			p.On = &rtnl.Link{Index: p.Port.Master, Name: a.Host.Name} // more of it does not matter
		}
	}
	for _, o := range p.Findings(ctx) {
		m.Warn(o.Warning())
	}
}

// theHost is of a Passage to the host itself.
const theHost = "the host"

// HostObstacles says what is in the way of packets between an interface of the host's own
// and its neighbours.
func HostObstacles(ctx context.Context, k plan.Kernel, link string) (out []string) {
	host := ours.Freeze(k)
	l, err := host.LinkByName(link)
	if err != nil {
		return nil // somebody deleted it: there is nothing to look at
	}
	p := Passage{Guest: host, Of: guests.GuestInfo{Name: theHost}, Inner: l, Host: k, Patience: time.Second}
	for _, o := range p.Findings(ctx) {
		out = append(out, o.Warning())
	}
	return out
}

// Command is the line that runs a command where the link is.
func (p Passage) Command(words string) string {
	if p.Of.Name == theHost && p.Of.Runtime == "" {
		return words
	}
	return guests.Command(p.Of, words)
}

// place is where the link is, for a step of a plan.
func (p Passage) place() plan.Place {
	return plan.Place{Side: plan.InGuest, Enter: guests.Enter(p.Of)}
}

// cut returns what surely keeps packets from passing now, a sentence each, for a
// list. It also tells what an attach would mend, or has told in another way.
func (p Passage) cut(ctx context.Context) (out []string) {
	for _, l := range []*rtnl.Link{p.Inner, p.Port, p.On} {
		switch {
		case ours.Pulled(l):
			out = append(out, l.Name+" is down: set --carrier off has pulled the cable")
		case l != nil && !l.Up:
			out = append(out, l.Name+" is down")
		}
	}
	if p.Port != nil && p.Unplugged {
		out = append(out, p.Port.Name+" is in no bridge")
	}
	down := out != nil
	if !down && !p.Inner.Carrier && p.Inner.Type == unix.ARPHRD_ETHER && p.Inner.Kind != string(spec.KindDummy) {
		out = append(out, plan.NoCarrier(p.Inner.Name))
	}
	for _, o := range p.Findings(ctx) {
		if o.Sure && !down {
			out = append(out, o.Warning())
		}
	}
	return out
}

// Cut says what is in the way of a complete attachment's packets.
func Cut(ns *ours.Namespace, ctx context.Context, a *ours.Attachment, index int, p Passage) error {
	if a.State != ours.Complete || ns == nil || ns.Links == nil {
		return nil
	}
	var err error
	if p.Inner, err = ns.Links.LinkByIndex(index); err == nil {
		p.Guest, p.Of = ns.Links, a.Guest
		a.Cut = append(a.Cut, p.cut(ctx)...)
	}
	return ours.UnlessNotFound(err)
}
