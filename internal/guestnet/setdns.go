package guestnet

import (
	"context"
	"os"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/spec"
)

// Other name servers for an attachment that is there (set --dns).

// SetDNS plans for the name servers that j asks for. It comes last: what was in the file
// before cannot be noted twice. changed is whether somebody has written to the file since.
func SetDNS(j *build.Job, d *build.Draft, changed bool) error {
	if err := CheckDNS(j); err != nil {
		return err
	}
	note := j.There.Resolv
	own := note != nil && note.Index == j.There.Inner.Index
	switch {
	case own && note.Asked == j.DNS.String():
	case own && j.DNS.IsZero():
		warnChanged(d, changed, j.There.Guest.Name)
		d.Add(RestoreDNS{Place: j.Place, note: *note})
	case own && changed:
		return j.Refuse(fault.Conflict, "somebody has changed /etc/resolv.conf since its name servers were written there").
			WithHint("gopipework set %s %s --dns none leaves it as it is", j.Spec.Guest, j.Names.Inner)
	case own:
		d.Add(ChangeDNS{j.Place, j.DNS, *note})
	case !j.DNS.IsZero():
		PlanDNSAway(j, d)
		PlanDNS(j, d)
	}
	return nil
}

// ChangeDNS writes other name servers in the place of those that were written for the same
// interface.
type ChangeDNS struct {
	plan.Place
	dns spec.DNS
	was build.ResolvNote
}

func (s ChangeDNS) Do(ctx context.Context, m *plan.Machine) error {
	servers, search, err := serversOf(m, s.dns, m.Guests[s.Side].Name)
	if err != nil {
		return err
	}
	now := s.was
	now.Asked, now.After = s.dns.String(), Resolv(s.was.Before, servers, search)
	return s.rewrite(ctx, m, s.was, now)
}

// Undo writes those that were there.
func (s ChangeDNS) Undo(ctx context.Context, m *plan.Machine) error {
	now, err := ResolvNoteOf(s.was.GuestNS)
	if err != nil || now == nil {
		return err
	}
	return s.rewrite(ctx, m, *now, s.was)
}

// rewrite has the guest's file go from what one note says to what the other does. In
// between it is as before both, so that either tells what to restore after a kill.
func (s ChangeDNS) rewrite(ctx context.Context, m *plan.Machine, from, to build.ResolvNote) error {
	name := "/etc/resolv.conf of " + m.Guests[s.Side].Name
	return Within(ctx, m, s, func(begin func() error) error {
		f, err := written(from, m.Guests[s.Side], true)
		if err != nil {
			return err
		}
		if f == nil {
			return fault.New(fault.Conflict, "write", name, "somebody has changed it meanwhile")
		}
		defer f.Close()
		if err := begin(); err != nil {
			return err
		}
		err = turn(f, to)
		if err == nil {
			return nil
		}
		return plan.Half(fault.Explain("write", name, err), turn(f, from), s)
	})
}

// turn writes a file as a note says, and the note.
func turn(f *os.File, to build.ResolvNote) error {
	err := overwrite(f, to.Before)
	if err == nil {
		err = save(to)
	}
	if err == nil {
		err = overwrite(f, to.After)
	}
	return err
}

func (s ChangeDNS) Left() string { return "the name servers in the guest's /etc/resolv.conf" }

func (ChangeDNS) Nature() plan.Nature { return plan.Undoable }

func (s ChangeDNS) String() string { return writeWords(s.dns) }
