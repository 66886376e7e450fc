package attach

import (
	"cmp"
	"context"
	"os"
	"slices"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/hostclient"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/shell"
	"golang.org/x/sys/unix"
)

// An address by a DHCP client of the host (internal/hostclient).

// clientRun is a client for an interface of the guest.
func clientRun(g GuestInfo, a hostclient.Ask, inner string, index int) hostclient.Run {
	return hostclient.Run{Ask: a, Guest: g.Name, PID: g.PID, Path: g.Path, Hostname: identityOf(g).Hostname(), IfName: inner, Index: index}
}

// clientOf returns the client that runs for an interface; nil: none.
func clientOf(all []hostclient.Running, index int) *hostclient.Running {
	if i := slices.IndexFunc(all, func(r hostclient.Running) bool { return r.Index == index }); i >= 0 {
		return &all[i]
	}
	return nil
}

// hostClient is a DHCP client of the host.
type hostClient struct{}

func (hostClient) kind() SourceKind  { return FromClient }
func (hostClient) sysctls() []needed { return nil }

func (hostClient) keeps(in Inside) string {
	if in.Client == nil {
		return ""
	}
	return in.Client.Ask.Client + " keeps its address"
}

func (hostClient) clear(j *job, d *draft) {
	if c := j.f.Client; c != nil {
		d.add(endClient{j.Place, j.names.inner, c.Ask.Client, c.Index})
	}
}

func (hostClient) detach(d departure, c Pair, r *removal) {
	if run := clientOf(d.f.Clients, c.index()); run != nil {
		r.links = append(r.links, endClient{d.Place, c.Interface.Name, run.Ask.Client, run.Index})
	}
}

// get plans for the client to get the address.
func (hostClient) get(j *job, d *draft) error {
	if j.f.NoClient != nil {
		return j.f.NoClient
	}
	run := runClient{Place: j.Place, inner: j.names.inner, ask: j.From.Ask}
	if j.complete() {
		run.known = j.f.Inner.Index
	}
	d.add(run)
	if !j.From.Ask.Stays {
		d.warn("%s is stopped once it has a lease, which nobody then renews: %s-f or dhcp keeps it", j.From.Ask.Client, j.From.Ask.Client)
	}
	if !j.traits().upLate && run.known == 0 {
		d.add(announce{Place: j.Place, inner: j.names.inner, mac: j.mac()})
	}
	return nil
}

// differ compares the client that runs with what is asked for. Of one that was stopped
// only the address is left.
func (hostClient) differ(j *job, differ differ) {
	there, asked := j.f.Client, j.From.Kind == FromClient
	switch {
	case there != nil && (!asked || !there.Ask.Equal(j.From.Ask)):
		differ("address", "by "+there.Ask.String(), j.AddressWord())
	case there == nil && asked && j.f.Unminded:
		// repair runs it
	case there == nil && asked && j.From.Ask.Stays && j.f.Lease == nil:
		differ("address", orNone(addressesOf(j.f.Inner, j.f.Addrs))+" that no "+j.From.Ask.Client+" keeps", j.AddressWord())
	case there == nil && asked && (j.From.Ask.Stays || j.f.Lease != nil || !slices.ContainsFunc(j.f.Addrs, j.ownIPv4)):
		differ("address", orNone(addressesOf(j.f.Inner, j.f.Addrs)), j.AddressWord())
	}
}

// repair plans to run a client once more that ended with the process that looked after
// it.
func (h hostClient) repair(j *job, d *draft) error {
	if j.f.Client == nil && j.f.Unminded {
		return h.get(j, d)
	}
	return nil
}

func (j *job) ownIPv4(a rtnl.Addr) bool {
	return a.Index == j.f.Inner.Index && a.Prefix.Addr().Is4()
}

// runClient runs the client, which has the interface given what it gets.
type runClient struct {
	plan.Place
	inner string
	ask   hostclient.Ask
	known int // index of the interface, if no step makes it
}

func (s runClient) Do(ctx context.Context, m *plan.Machine) error {
	m.HostLock.Release() // everything of the host's is in place: see await
	g := m.Guests[s.Side]
	if err := s.Kernel(m).Run(mayListen); err != nil {
		return explainRaw("run "+s.ask.Client+" for", s.inner, err)
	}
	ctx, stop := m.WhileAlive(ctx)
	defer stop()
	warning, err := hostclient.Start(ctx, keeperOf(m), clientRun(g.GuestInfo, s.ask, s.inner, s.at(m)), g.Namespace)
	if err != nil {
		return fault.Explain("run "+s.ask.Client+" for", s.inner, m.Cause(ctx, err))
	}
	m.Warn(warning)
	return nil
}

// mayListen opens a packet socket, as every client does, to find out whether we
// may: what a client says when it may not is for people.
func mayListen() error {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	return unix.Close(fd)
}

func (s runClient) Undo(_ context.Context, m *plan.Machine) error {
	return endClient{s.Place, s.inner, s.ask.Client, s.at(m)}.end(m)
}

func (s runClient) Whom() string { return "is there a DHCP server on this network?" }

func (s runClient) at(m *plan.Machine) int { return cmp.Or(s.known, s.Index(m, s.inner)) }

func (s runClient) Left() string { return endClient{client: s.ask.Client, inner: s.inner}.Left() }

func (runClient) Nature() plan.Nature { return plan.Undoable }

func (s runClient) String() string {
	w := "# run " + s.ask.Client + " of the host for " + s.inner
	if len(s.ask.Options) > 0 {
		w += " with " + shell.Line(s.ask.Options)
	}
	if s.ask.Stays {
		return w + ", and let it keep its lease"
	}
	return w + " until it has a lease"
}

// endClient has a client give its lease back and end. There is no way back from
// it: who asks again may get another address.
type endClient struct {
	plan.Place
	inner  string
	client string
	index  int
}

func (s endClient) Do(_ context.Context, m *plan.Machine) error { return s.end(m) }

func (s endClient) end(m *plan.Machine) error {
	all, err := hostclient.Find(m.Guests[s.Side].Namespace)
	if err != nil {
		return fault.Explain("find "+s.client+" of", s.inner, err)
	}
	if r := clientOf(all, s.index); r != nil {
		return fault.Explain("end "+s.client+" of", s.inner, r.End())
	}
	return nil
}

func (s endClient) Undo(context.Context, *plan.Machine) error { return nil }

func (s endClient) Left() string { return s.client + ", which keeps the lease of " + s.inner }

func (endClient) Nature() plan.Nature { return plan.Final }

func (s endClient) String() string {
	return "# have " + s.client + " give the lease of " + s.inner + " back, and end it"
}
