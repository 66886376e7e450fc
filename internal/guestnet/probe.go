package guestnet

import (
	"context"
	"errors"
	"net/netip"
	"strings"

	"github.com/gopipework/gopipework/internal/acd"
	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/plan"
)

// Duplicate IPv4 addresses (--acd): internal/acd asks the network before an
// address is taken. IPv6 does so by itself (plan.AwaitDAD).

// CheckACD refuses to probe where no answer could come.
func CheckACD(j *build.Job) error {
	if !j.ACD {
		return nil
	}
	if why := j.Traits.NoProbe; why != "" {
		return j.Refuse(fault.Usage, "--acd: %s", strings.ReplaceAll(why, "HOSTIF", j.HostIF.Name)).WithHint("leave --acd out")
	}
	return nil
}

// AsksFirst reports whether the network is asked about the given addresses before
// they are used. The DHCP client asks about its own.
func AsksFirst(j *build.Job) bool { return j.ACD && len(j.AddrsOf(false)) > 0 }

// PlanProbe plans the question, on a link that is up by then.
func PlanProbe(j *build.Job, d *build.Draft) {
	if !AsksFirst(j) {
		return
	}
	if j.Traits.UpLate {
		PlanUp(j, d)
	}
	d.Add(Probe{Place: j.Place, inner: j.Names.Inner, addrs: GivenAddrs(j, false)})
}

// GivenAddrs returns the addresses of a family that the line gives, without their
// prefix lengths.
func GivenAddrs(j *build.Job, ipv6 bool) (out []netip.Addr) {
	for _, p := range j.AddrsOf(ipv6) {
		out = append(out, p.Addr())
	}
	return out
}

// arpSocket opens a socket for ARP on a guest's interface.
func arpSocket(p plan.Place, m *plan.Machine, inner string) (s *acd.Socket, err error) {
	err = p.Kernel(m).Run(func() (err error) {
		s, err = acd.Open(p.Index(m, inner))
		return err
	})
	if errors.Is(err, errors.ErrUnsupported) {
		return nil, fault.New(fault.Unsupported, "probe from", inner, "%w", err).WithHint("leave --acd out")
	}
	return s, ExplainRaw("open ARP socket on", inner, err)
}

// ExplainRaw is explain for opening a packet socket.
func ExplainRaw(op, object string, err error) error {
	err = fault.Explain(op, object, err)
	var f *fault.Error
	if errors.As(err, &f) && f.Code == fault.Permission {
		f.Hint = "run it as root, with CAP_NET_RAW"
	}
	return err
}

// Probe asks whether somebody has the addresses that are about to be taken, for
// all of them at once.
type Probe struct {
	plan.Place
	inner string
	addrs []netip.Addr
}

func (s Probe) Do(ctx context.Context, m *plan.Machine) error {
	if err := s.carrier(ctx, m); err != nil {
		return err
	}
	socket, err := arpSocket(s.Place, m, s.inner)
	if err != nil {
		return err
	}
	defer socket.Close()
	ctx, stop := m.WhileAlive(ctx)
	defer stop()
	err = socket.Probe(ctx, acd.Quick, s.addrs)
	var c *acd.Conflict
	if errors.As(err, &c) {
		return fault.New(fault.Conflict, "take address", c.Addr.String(), "%w", c).
			WithHint("choose another address, or find out who has it")
	}
	return fault.Explain("probe from", s.inner, err)
}

// carrier waits until the link has one: a card takes a second or more to find
// its partner, and what is asked before is heard by nobody.
func (s Probe) carrier(ctx context.Context, m *plan.Machine) error {
	return m.Await(ctx, s.Side, func() (bool, error) {
		l, err := s.Kernel(m).LinkByIndex(s.Index(m, s.inner))
		if err != nil {
			return false, fault.Explain("find", s.inner, err)
		}
		return l.Carrier, nil
	})
}

func (s Probe) Undo(context.Context, *plan.Machine) error { return nil }

func (Probe) Nature() plan.Nature { return plan.Passive }

func (s Probe) String() string {
	return "# ask by ARP whether somebody has " + plan.JoinAddrs(s.addrs) + " already"
}

// AnnounceARP tells the neighbours who has the addresses now, where the kernel
// does not do so by itself: it speaks up when a link comes up, and this one had
// to be up to be probed from.
type AnnounceARP struct {
	plan.Place
	inner string
	addrs []netip.Addr
}

func (s AnnounceARP) Do(_ context.Context, m *plan.Machine) error {
	socket, err := arpSocket(s.Place, m, s.inner)
	if err != nil {
		return err
	}
	defer socket.Close()
	return fault.Explain("announce addresses of", s.inner, socket.Announce(s.addrs))
}

func (s AnnounceARP) Undo(context.Context, *plan.Machine) error { return nil }

func (AnnounceARP) Nature() plan.Nature { return plan.Passive }

func (s AnnounceARP) String() string { return "# announce " + plan.JoinAddrs(s.addrs) + " by ARP" }
