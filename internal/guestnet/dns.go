package guestnet

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/lease"
	"github.com/gopipework/gopipework/internal/nsfs"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/spec"
)

// --dns: name servers for the guest, in its /etc/resolv.conf (resolv.go), where
// nothing is written without being asked for.

// CheckDNS refuses a guest that has no file of its own, or one that another
// interface of ours has written to.
func CheckDNS(j *build.Job) error {
	switch n := j.There.Resolv; {
	case j.DNS.IsZero():
		return nil
	case j.There.Guest.PID == 0 && j.There.Guest.IsContainer():
		return j.Refuse(fault.Unsupported, "its process cannot be seen from here, and so not its resolv.conf").
			WithHint("--dns works on the host, and in a container with the host's PID namespace (docker run --pid host)")
	case j.There.Guest.PID == 0:
		hint := "ip netns exec NAME reads /etc/netns/NAME/resolv.conf"
		if j.HostIF.Kind.FromFile() {
			hint = withoutDNS(j) + ": " + hint
		}
		return j.Refuse(fault.Unsupported, "it has no process, and so no resolv.conf of its own").WithHint("%s", hint)
	case n != nil && !dnsLeft(j):
		return j.Refuse(fault.Conflict, "the name servers of %s are there already: %s", n.IfName, n.Asked).
			WithHint("gopipework detach %s %s, or %s", j.Spec.Guest, n.IfName, withoutDNS(j))
	}
	return nil
}

// withoutDNS says how not to ask for name servers. The file of a tunnel asks for some, too.
func withoutDNS(j *build.Job) string {
	if j.HostIF.Kind.FromFile() {
		return "attach with --dns none"
	}
	return "leave --dns out"
}

// PlanDNSAway restores the file that was written for an interface that is gone, or
// only half made.
func PlanDNSAway(j *build.Job, d *build.Draft) {
	if dnsLeft(j) {
		d.Add(RestoreDNS{Place: j.Place, note: *j.There.Resolv, gently: j.DNS.IsZero()})
	}
}

func dnsLeft(j *build.Job) bool {
	n := j.There.Resolv
	return n != nil && (!stands(*n, j.There.Links) || j.There.Inner != nil && j.There.Inner.Index == n.Index)
}

// PlanDNS plans to write the name servers that are asked for.
func PlanDNS(j *build.Job, d *build.Draft) {
	if !j.DNS.IsZero() {
		d.Add(WriteDNS{Place: j.Place, inner: j.Names.Inner, dns: j.DNS})
	}
}

// DNSDiffers tells how the name servers differ. It returns the flags with which set would
// change them.
func DNSDiffers(j *build.Job, differ build.Differ) (flags []string) {
	there := ""
	if n := j.There.Resolv; n != nil && n.Index == j.There.Inner.Index {
		there = n.Asked
	}
	if asked := j.DNS.String(); asked != there {
		differ(spec.NameServers, spec.OrNone(there), spec.OrNone(asked))
		flags = append(flags, "--dns "+spec.OrNone(asked))
	}
	return flags
}

// WriteDNS writes the guest's name servers, after what was there is noted.
type WriteDNS struct {
	plan.Place
	inner string
	dns   spec.DNS
}

func (s WriteDNS) Do(ctx context.Context, m *plan.Machine) error {
	g := m.Guests[s.Side]
	servers, search, err := serversOf(m, s.dns, g.Name)
	if err != nil {
		return err
	}
	n := build.ResolvNote{PID: g.PID, PIDs: nsfs.PIDs(), IfName: s.inner, Index: s.Index(m, s.inner), Asked: s.dns.String()}
	if n.GuestNS, err = s.Kernel(m).Cookie(); err != nil {
		return fault.Explain("read the namespace of", g.Name, err)
	}
	return Within(ctx, m, s, func(begin func() error) error {
		f, err := openResolv(g, true)
		if err != nil {
			return err
		}
		defer f.Close()
		if n.Before, err = readResolv(f); err != nil {
			return fault.Explain("read", "/etc/resolv.conf of "+g.Name, err)
		}
		n.After = Resolv(n.Before, servers, search)
		if err := begin(); err != nil {
			return err
		}
		if err := save(n); err != nil {
			return err
		}
		if err := overwrite(f, n.After); err != nil {
			back := overwrite(f, n.Before)
			if back == nil {
				back = forget(n)
			}
			return plan.Half(fault.Explain("write", "/etc/resolv.conf of "+g.Name, err), back, s)
		}
		return nil
	})
}

// serversOf returns the name servers that are asked for, and the domains to search.
func serversOf(m *plan.Machine, d spec.DNS, guest string) (servers []netip.Addr, search []string, err error) {
	if !d.FromDHCP {
		return d.Servers, nil, nil
	}
	got := gotLease(m)
	if got == nil || len(got.DNS) == 0 {
		return nil, nil, fault.New(fault.Failed, "write name servers of", guest, "the DHCP server gives none").WithHint("--dns ADDRESS, or leave --dns out")
	}
	return got.DNS[:min(len(got.DNS), spec.MaxServers)], searchOf(*got), nil
}

func (s WriteDNS) Undo(ctx context.Context, m *plan.Machine) error {
	cookie, err := s.Kernel(m).Cookie()
	if err != nil {
		return fault.Explain("read the namespace of", m.Guests[s.Side].Name, err)
	}
	n, err := ResolvNoteOf(cookie)
	if err != nil || n == nil {
		return err
	}
	return RestoreDNS{Place: s.Place, note: *n}.Do(ctx, m)
}

func (s WriteDNS) Left() string { return "the name servers in the guest's /etc/resolv.conf" }

func (WriteDNS) Nature() plan.Nature { return plan.Undoable }

func (s WriteDNS) String() string { return writeWords(s.dns) }

func writeWords(d spec.DNS) string {
	if d.FromDHCP {
		return "# write the name servers of the DHCP server into the guest's /etc/resolv.conf"
	}
	return "# write the name servers " + d.String() + " into the guest's /etc/resolv.conf"
}

// searchOf is what a lease says about names without a dot.
func searchOf(l lease.Lease) []string {
	if len(l.Search) == 0 && l.Domain != "" {
		return []string{l.Domain}
	}
	return l.Search
}

// RestoreDNS restores what was in the guest's file, unless somebody has
// written to it since. If it cannot, the note of what was there is kept.
type RestoreDNS struct {
	plan.Place
	note   build.ResolvNote
	gently bool // that it cannot is a warning
}

func (s RestoreDNS) Do(ctx context.Context, m *plan.Machine) error {
	err := Within(ctx, m, s, func(begin func() error) error {
		f, err := written(s.note, m.Guests[s.Side], true)
		if err != nil {
			return err
		}
		if f != nil {
			defer f.Close()
		}
		if err := begin(); err != nil {
			return err
		}
		if f != nil {
			if err := overwrite(f, s.note.Before); err != nil {
				return fault.Explain("write", "/etc/resolv.conf of "+m.Guests[s.Side].Name, err)
			}
		}
		return forget(s.note)
	})
	if err == nil || !s.gently {
		return err
	}
	m.Warn(fmt.Sprintf("%v: it still has the name servers that were written for %s", err, s.note.IfName))
	return nil
}

func (s RestoreDNS) Left() string {
	return "the name servers that were written into the guest's /etc/resolv.conf for " + s.note.IfName
}

func (s RestoreDNS) Undo(context.Context, *plan.Machine) error { return nil }

func (RestoreDNS) Nature() plan.Nature { return plan.Final }

func (s RestoreDNS) String() string {
	return "# put back what was in the guest's /etc/resolv.conf before " + s.note.IfName
}

// ReturnDNS restores, in a detach, the file that was written for an interface that
// goes or is gone.
func ReturnDNS(d build.Departure, r *build.Removal) {
	n := d.There.Resolv
	if n == nil || !d.Inners[n.Index] && (stands(*n, d.There.Foreign) || slices.ContainsFunc(d.There.Ours, func(p build.Pair) bool { return p.Index() == n.Index })) {
		return
	}
	warnChanged(r, d.There.ResolvChanged, d.There.Guest.Name)
	r.Last = append(r.Last, RestoreDNS{Place: d.Place, note: *n})
}

func warnChanged(to interface{ Warn(string, ...any) }, changed bool, guest string) {
	if changed {
		to.Warn("somebody has changed /etc/resolv.conf of %s in the meantime: it stays as it is", guest)
	}
}

// ObserveResolv looks at what was written into the guest's file.
func ObserveResolv(ctx context.Context, m *plan.Machine, f *build.DetachFacts) error {
	cookie, err := m.In(plan.InGuest).Cookie()
	if err != nil {
		return nil // nothing can have been noted: see WriteDNS
	}
	if f.Resolv, err = ResolvNoteOf(cookie); err != nil || f.Resolv == nil {
		return err
	}
	// That it cannot be read is for the step to say.
	_ = Within(ctx, m, nil, func(begin func() error) error {
		same, err := written(*f.Resolv, m.Guests[plan.InGuest], false)
		if same != nil {
			same.Close()
		}
		if begin() == nil {
			f.ResolvChanged = same == nil && err == nil
		}
		return nil
	})
	return nil
}

// Within waits for do, which is about files of a guest, as long as the run may
// take, because what a guest has mounted there need not answer. do calls begin before its
// first change, and gives up if that refuses; once it has begun it is waited for,
// so that nothing is written while the change is undone. s is what to
// name if even that takes too long.
func Within(ctx context.Context, m *plan.Machine, s plan.Step, do func(begin func() error) error) error {
	unanswered := fault.New(fault.Timeout, "open", "/etc/resolv.conf of "+m.Guests[plan.InGuest].Name, "its file system does not answer")
	var mu sync.Mutex
	begun, over := false, false
	begin := func() error {
		mu.Lock()
		defer mu.Unlock()
		if over {
			return unanswered
		}
		begun = true
		return nil
	}
	done := make(chan error, 1)
	go func() { done <- do(begin) }()
	ctx, cancel := context.WithTimeoutCause(ctx, plan.UndoTimeout, os.ErrDeadlineExceeded)
	defer cancel()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	mu.Lock()
	over = true
	wait := begun
	mu.Unlock()
	if !wait {
		return unanswered
	}
	select {
	case err := <-done:
		return err
	case <-time.After(plan.UndoTimeout):
		if s == nil {
			return unanswered
		}
		return plan.WithResidue(unanswered, errors.New("it may still be written later"), []plan.Step{s})
	}
}

// stands reports whether the interface that it was written for is among the
// links.
func stands(n build.ResolvNote, links []*rtnl.Link) bool {
	return slices.ContainsFunc(links, func(l *rtnl.Link) bool { return l.Index == n.Index })
}

// LeaseKey is that of the lease that the machine remembers.
type LeaseKey struct{}

// gotLease returns the lease that an earlier step has got; nil: none.
func gotLease(m *plan.Machine) *lease.Lease {
	l, _ := m.Remembered(LeaseKey{}).(*lease.Lease)
	return l
}
