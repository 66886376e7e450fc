package source

import (
	"cmp"
	"context"
	"os"
	"slices"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guestnet"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/hostclient"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/shell"
	"github.com/gopipework/gopipework/internal/spec"
	"golang.org/x/sys/unix"
)

// An address by a DHCP client of the host (internal/hostclient).

// ClientRun is a client for an interface of the guest.
func ClientRun(g guests.GuestInfo, a hostclient.Ask, inner string, index int) hostclient.Run {
	return hostclient.Run{Ask: a, Guest: g.Name, PID: g.PID, Path: g.Path, Hostname: IdentityOf(g).Hostname(), IfName: inner, Index: index}
}

// ClientOf returns the client that runs for an interface; nil: none.
func ClientOf(all []hostclient.Running, index int) *hostclient.Running {
	if i := slices.IndexFunc(all, func(r hostclient.Running) bool { return r.Index == index }); i >= 0 {
		return &all[i]
	}
	return nil
}

// hostClient is a DHCP client of the host.
type hostClient struct{}

func (hostClient) kind() spec.SourceKind   { return spec.FromClient }
func (hostClient) Sysctls() []build.Needed { return nil }

func (hostClient) keeps(in build.Inside) string {
	if in.Client == nil {
		return ""
	}
	return in.Client.Ask.Client + " keeps its address"
}

func (hostClient) Clear(j *build.Job, d *build.Draft) {
	if c := j.There.Client; c != nil {
		d.Add(EndClient{j.Place, j.Names.Inner, c.Ask.Client, c.Index})
	}
}

func (hostClient) Detach(d build.Departure, c build.Pair, r *build.Removal) {
	if run := ClientOf(d.There.Clients, c.Index()); run != nil {
		r.Links = append(r.Links, EndClient{d.Place, c.Interface.Name, run.Ask.Client, run.Index})
	}
}

// Get plans for the client to get the address.
func (hostClient) Get(j *build.Job, d *build.Draft) error {
	if j.There.NoClient != nil {
		return j.There.NoClient
	}
	run := RunClient{Place: j.Place, inner: j.Names.Inner, ask: j.From.Ask}
	if j.Complete() {
		run.known = j.There.Inner.Index
	}
	d.Add(run)
	if !j.From.Ask.Stays {
		d.Warn("%s is stopped once it has a lease, and then nobody renews that: use %s-f or dhcp", j.From.Ask.Client, j.From.Ask.Client)
	}
	if !j.Traits.UpLate && run.known == 0 {
		d.Add(guestnet.Announce{Place: j.Place, Inner: j.Names.Inner, Mac: j.LinkMAC()})
	}
	return nil
}

// Differ compares the client that runs with what is asked for. Of one that was stopped
// only the address is left.
func (hostClient) Differ(j *build.Job, differ build.Differ) {
	there, asked := j.There.Client, j.From.Kind == spec.FromClient
	switch {
	case there != nil && (!asked || !there.Ask.Equal(j.From.Ask)):
		differ("address", "by "+there.Ask.String(), j.AddressWord())
	case there == nil && asked && j.There.Unminded:
		// repair runs it
	case there == nil && asked && j.From.Ask.Stays && j.There.Lease == nil:
		differ("address", spec.OrNone(spec.Join(ours.AddressesOf(j.There.Inner, j.There.Addrs)))+" that no "+j.From.Ask.Client+" keeps", j.AddressWord())
	case there == nil && asked && (j.From.Ask.Stays || j.There.Lease != nil || !slices.ContainsFunc(j.There.Addrs, func(a rtnl.Addr) bool { return ownIPv4(j, a) })):
		differ("address", spec.OrNone(spec.Join(ours.AddressesOf(j.There.Inner, j.There.Addrs))), j.AddressWord())
	}
}

// Repair plans to run a client once more that ended with the process that looked after
// it.
func (h hostClient) Repair(j *build.Job, d *build.Draft) error {
	if j.There.Client == nil && j.There.Unminded {
		return h.Get(j, d)
	}
	return nil
}

func ownIPv4(j *build.Job, a rtnl.Addr) bool {
	return a.Index == j.There.Inner.Index && a.Prefix.Addr().Is4()
}

// RunClient runs the client, which has the interface given what it gets.
type RunClient struct {
	plan.Place
	inner string
	ask   hostclient.Ask
	known int // index of the interface, if no step makes it
}

func (s RunClient) Do(ctx context.Context, m *plan.Machine) error {
	m.HostLock.Release() // everything of the host's is in place: see await
	g := m.Guests[s.Side]
	if err := s.Kernel(m).Run(mayListen); err != nil {
		return guestnet.ExplainRaw("run "+s.ask.Client+" for", s.inner, err)
	}
	ctx, stop := m.WhileAlive(ctx)
	defer stop()
	warning, err := hostclient.Start(ctx, ours.KeeperOf(m).Program, ClientRun(g.GuestInfo, s.ask, s.inner, s.at(m)), g.Namespace)
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

func (s RunClient) Undo(_ context.Context, m *plan.Machine) error {
	return EndClient{s.Place, s.inner, s.ask.Client, s.at(m)}.end(m)
}

func (s RunClient) Whom() string { return "is there a DHCP server on this network?" }

func (s RunClient) at(m *plan.Machine) int { return cmp.Or(s.known, s.Index(m, s.inner)) }

func (s RunClient) Left() string { return EndClient{client: s.ask.Client, inner: s.inner}.Left() }

func (RunClient) Nature() plan.Nature { return plan.Undoable }

func (s RunClient) String() string {
	w := "# run " + s.ask.Client + " of the host for " + s.inner
	if len(s.ask.Options) > 0 {
		w += " with " + shell.Line(s.ask.Options)
	}
	if s.ask.Stays {
		return w + ", and let it keep its lease"
	}
	return w + " until it has a lease"
}

// EndClient has a client release its lease and end. It cannot be undone: a client
// that asks again may get another address.
type EndClient struct {
	plan.Place
	inner  string
	client string
	index  int
}

func (s EndClient) Do(_ context.Context, m *plan.Machine) error { return s.end(m) }

func (s EndClient) end(m *plan.Machine) error {
	all, err := hostclient.Find(m.Guests[s.Side].Namespace)
	if err != nil {
		return fault.Explain("find "+s.client+" of", s.inner, err)
	}
	if r := ClientOf(all, s.index); r != nil {
		return fault.Explain("end "+s.client+" of", s.inner, r.End())
	}
	return nil
}

func (s EndClient) Undo(context.Context, *plan.Machine) error { return nil }

func (s EndClient) Left() string { return s.client + ", which keeps the lease of " + s.inner }

func (EndClient) Nature() plan.Nature { return plan.Final }

func (s EndClient) String() string {
	return "# have " + s.client + " give the lease of " + s.inner + " back, and end it"
}
