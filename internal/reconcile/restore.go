package reconcile

import (
	"context"
	"errors"
	"fmt"
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
		} else if _, rest := Asked(a); len(rest) > 0 {
			more := strings.Join(rest, ", ") + " of " + named(a)
			lost, details = append(lost, more), append(details, more)
		}
	}
	why := "what was there before is attached again, as gopipework list shows it"
	if len(lost) > 0 {
		why = "what was there before could not all be restored: " + strings.Join(details, "; ")
	}
	return undone(err, why, lost...)
}

// undone returns an error with what became of what was done before it, and what of that
// could not be undone.
func undone(err error, how string, lost ...string) error {
	out := &fault.Error{Code: fault.CodeOf(err), Err: err}
	if e := (*fault.Error)(nil); errors.As(err, &e) {
		out.Op, out.Object, out.Hint, out.Residue, out.Err = e.Op, e.Object, e.Hint, e.Residue, e.Err
	}
	out.Err = fmt.Errorf("%w; %s", out.Err, how)
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
		s, _ := Asked(a)
		_, err = attach.Attach(ctx, s, g, h.Options)
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
	here, _ := Asked(a)
	there, _ := Asked(before[1])
	_, err = attach.Link(ctx, attach.LinkSpec{Ends: [2]attach.Spec{here, there}}, g, other, h.Options)
	return err
}
