package reconcile

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/ours"
)

// restore attaches again what was detached for a successor, after err has put an end to
// that. It returns err, with what could not be restored.
func (h Host) restore(ctx context.Context, before []attach.Attachment, err error) error {
	h.Options.Step = nil
	ctx = context.WithoutCancel(ctx) // an interruption is no reason to leave it out
	var lost, details []string
	for n, a := range before {
		if n == 1 && Joined(before[0], a) {
			break
		}
		if rerr := h.reattach(ctx, before, n); rerr != nil {
			lost, details = append(lost, named(a)), append(details, named(a)+": "+rerr.Error())
		} else if len(a.More) > 0 {
			more := strings.Join(a.More, ", ") + " of " + named(a)
			lost, details = append(lost, more), append(details, more)
		}
	}
	why := "what was there before is attached again"
	if len(lost) > 0 {
		why = "what was there before could not all be restored: " + strings.Join(details, "; ")
	}
	out := &fault.Error{Code: fault.CodeOf(err), Err: err}
	if e := (*fault.Error)(nil); errors.As(err, &e) {
		out.Op, out.Object, out.Hint, out.Residue, out.Err = e.Op, e.Object, e.Hint, e.Residue, e.Err
	}
	out.Err = fmt.Errorf("%w; %s", out.Err, why)
	if len(lost) > 0 {
		out.Code, out.Residue = fault.Residue, append(out.Residue, lost...)
	}
	return out
}

// reattach attaches one of what was there, and with an end of a link also the other.
func (h Host) reattach(ctx context.Context, before []attach.Attachment, n int) error {
	a := before[n]
	h.Options.Origin = a.Origin
	g, err := ours.Reopen(a.Guest)
	if err != nil {
		return err
	}
	defer g.Close()
	if a.Host.Kind != string(attach.KindVeth) {
		_, err = attach.Attach(ctx, specOf(a), g, h.Options)
		return err
	}
	if len(before) < 2 || !Joined(before[0], before[1]) {
		return errors.New("the other end of the link is not known")
	}
	other, err := ours.Reopen(before[1].Guest)
	if err != nil {
		return err
	}
	defer other.Close()
	_, err = attach.Link(ctx, attach.LinkSpec{Ends: [2]attach.Spec{specOf(a), specOf(before[1])}}, g, other, h.Options)
	return err
}

// specOf is what asks for an attachment, as far as a list shows it.
func specOf(a attach.Attachment) attach.Spec {
	s := attach.Spec{
		HostIF: attach.HostIF{Kind: attach.Kind(a.Host.Kind), Name: a.Host.Name}, Guest: a.Guest.Word(),
		IfName: a.Interface.Name, Addrs: a.Interface.Addresses, Gateways: a.Interface.Gateway,
		VLAN: a.Host.VLAN, MTU: a.Interface.MTU,
	}
	switch attach.Kind(a.Host.Kind) {
	case attach.KindVeth:
		s.HostIF.Name = ""
	case attach.KindBridge, attach.KindOVS:
		s.HostName = a.Host.Port
	}
	if mac, err := net.ParseMAC(a.Interface.MAC); err == nil && a.Host.Kind != string(attach.KindPhys) && a.Host.Kind != string(attach.KindIPvlan) {
		s.MAC = mac
	}
	if a.Lease != nil {
		s.From, s.Addrs, s.Gateways = attach.Source{Kind: a.Lease.Source}, nil, nil
	}
	if there := a.Shaping; there != nil {
		s.Shape = attach.Reshape{RateIn: &there.RateIn, RateOut: &there.RateOut, Loss: &there.Loss, Delay: &there.Delay, Jitter: &there.Jitter}
	}
	return s
}
