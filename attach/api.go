package attach

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"os"
	"time"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/nsfs"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/source"
	"github.com/gopipework/gopipework/internal/spec"
)

// Options are how a run is carried out, not what it does. The zero Options are those
// of the command, except that it names itself as the Keeper.
type Options struct {
	DryRun  bool          // plan, and change nothing
	Timeout time.Duration // of the whole run; 0: DefaultTimeout, longer if the bridge makes ports wait
	Step    func(string)  // told of each step before it runs; nil: nobody
	Ahead   *Ahead        // for Attach: what has been read already; nil: nothing

	// Origin is who asks. For Attach and Link: "file:lab" marks what they make as that
	// file's. An attachment that is there already gets the origin if a typed line
	// asked for it; one that belongs to another origin is refused (CodeConflict). ""
	// is OriginLine, which leaves what is there to whoever asked for it. Set warns about
	// an attachment that belongs to another origin.
	Origin Origin

	// LeaveCables has GC leave the cables pulled that Set has pulled on interfaces that
	// are none of ours.
	LeaveCables bool

	// Parking is where the interfaces of guests that have ended wait for them: Attach
	// takes from there what it can. nil: nowhere.
	Parking *Parking

	// Fresh has Attach refuse an attachment that is there already (CodeConflict), though
	// it is as asked.
	Fresh bool

	// Alone has Attach refuse an address that somebody else on the same bridge or card has
	// (CodeConflict), of which there is only a warning otherwise.
	Alone bool

	// HostNS is the network namespace that has the bridges and cards; nil: that
	// of the calling thread, which is the process's own unless the goroutine is
	// locked to a thread that has moved.
	HostNS *os.File

	// Keeper is the path of gopipework. It runs the processes that outlive this one:
	// those that keep the leases of "dhcp" and "dhcp6", and look after DHCP
	// clients of the host. "": such an address is refused.
	Keeper string

	// Leases keeps the leases of "dhcp" and "dhcp6" in this process, which lives long;
	// nil: each guest that has one gets a process, which Keeper runs. A program gets it
	// once, from KeepLeases, and sets it in the Options of every run.
	Leases *Leases
}

// Result is what a run did, or with DryRun would do.
type Result struct {
	Attachments []Attachment
	Bridges     []Bridge // that origins ask for; only a List of all guests tells them
	Changed     bool
	Steps       []string // each as the command that a person would type
	Warnings    []string
}

// Attach gives the guest one more interface, as s asks. On any error nothing has
// changed, unless its code is CodeResidue. When ctx is cancelled, what was done is
// undone first, and the cause is returned.
func Attach(ctx context.Context, s Spec, g *Guest, opt Options) (Result, error) {
	if err := opt.canKeep(s); err != nil {
		return Result{}, err
	}
	if _, err := spec.ParseOrigin(string(opt.Origin)); err != nil {
		return Result{}, err
	}
	return opt.run(ctx, func(hostNS *os.File) (Result, error) { return runAttach(ctx, s, *g, hostNS, opt) }, g)
}

// Link joins two guests by a veth pair, as s asks: s.Ends[0] is about a, s.Ends[1]
// about b. On any error nothing has changed, unless its code is CodeResidue.
func Link(ctx context.Context, s LinkSpec, a, b *Guest, opt Options) (Result, error) {
	if _, err := spec.ParseOrigin(string(opt.Origin)); err != nil {
		return Result{}, err
	}
	return opt.run(ctx, func(hostNS *os.File) (Result, error) { return runLink(ctx, s, [2]guests.Guest{*a, *b}, hostNS, opt) }, a, b)
}

// Set changes an attachment that is there, and does not interrupt it. On any error
// it is as before, unless its code is CodeResidue.
func Set(ctx context.Context, s SetSpec, g *Guest, opt Options) (Result, error) {
	if _, err := spec.ParseOrigin(string(opt.Origin)); err != nil {
		return Result{}, err
	}
	return opt.run(ctx, func(hostNS *os.File) (Result, error) { return runSet(ctx, s, *g, hostNS, opt) }, g)
}

// Detach removes attachments of the guest: the interface, the firewall rules that
// stood for it, and the bridge if it is ours and nothing uses it now. What is not
// there any more counts as removed.
func Detach(ctx context.Context, sel Selection, g *Guest, opt Options) (Result, error) {
	return opt.run(ctx, func(hostNS *os.File) (Result, error) { return runDetach(ctx, sel, *g, hostNS, opt) }, g)
}

// GC deletes what a killed run or a dead guest has left of ours: half-made links,
// firewall rules and Open vSwitch ports that belong to no link, and bridges and VLAN
// sub-interfaces that we made, that nothing is on, that nobody has given an address,
// and that no origin asks for. It returns cards whose guest has died, and restores
// their settings. It leaves alone what another run is working on, and everything
// without our mark.
func GC(ctx context.Context, opt Options) (Result, error) {
	return opt.in(func(hostNS *os.File) (Result, error) { return runGC(ctx, hostNS, opt) })
}

// List returns the attachments that there are, in the order of their hosts' and
// ports' names; those of g alone, if it is not nil. It changes nothing. Of opt it
// uses only HostNS.
func List(ctx context.Context, g *Guest, opt Options) (Result, error) {
	return opt.in(func(hostNS *os.File) (Result, error) {
		r, err := runListAll(ctx, hostNS, g)
		if err != nil {
			return Result{}, err
		}
		r.Warnings = ours.UnreadLoans(hostNS)
		return r, nil
	})
}

// Await returns the interface as soon as it has what r asks for: in the guest or, if
// g is nil, in the namespace of this process, which needs neither privileges nor
// /proc. If the deadline of ctx passes first, the error has the code CodeTimeout and
// says what is missing; if ctx is cancelled, it is the cause. If the guest dies
// meanwhile, the error has the code CodeGone.
func Await(ctx context.Context, r Ready, g *Guest) (Interface, error) {
	return runAwait(ctx, r, g, 0)
}

// OpenGuest returns the guest whose network namespace is at a path, such as
// /run/netns/NAME or /proc/PID/ns/net. To find the guest of a container, use
// dockerutil.Find.
func OpenGuest(path string) (*Guest, error) {
	ns, err := nsfs.Open(path, 0)
	if named, is := err.(*fs.PathError); is { // it has the path, too
		err = named.Err
	}
	if err != nil {
		return nil, fault.Explain("open the namespace", path, err)
	}
	sum := sha256.Sum256([]byte(path))
	return guests.New(guests.GuestInfo{Runtime: "path", ID: hex.EncodeToString(sum[:6]), Name: path, Path: path}, ns, nil), nil
}

// run is in for a run that changes guests: none of them is the host, and the keepers
// of leases that were killed are woken first.
func (o Options) run(ctx context.Context, do func(hostNS *os.File) (Result, error), of ...*Guest) (Result, error) {
	return o.in(func(hostNS *os.File) (Result, error) {
		for _, g := range of {
			if same, err := sameFile(g.Namespace, hostNS); same || err != nil {
				return Result{}, cmp.Or(fault.Explain("look at", g.Name, err), error(fault.New(fault.Conflict, "enter", g.Name, "it is the host's own network namespace")))
			}
		}
		var warnings []string
		if !o.DryRun && (o.Keeper != "" || o.Leases != nil) {
			warnings = source.WakeKeepers(ctx, o.keeper())
		}
		r, err := do(hostNS)
		r.Warnings = append(warnings, r.Warnings...)
		return r, err
	})
}

func sameFile(a, b *os.File) (bool, error) {
	x, err := a.Stat()
	if err != nil {
		return false, err
	}
	y, err := b.Stat()
	return err == nil && os.SameFile(x, y), err
}

// in calls do with the host's namespace.
func (o Options) in(do func(hostNS *os.File) (Result, error)) (Result, error) {
	if o.HostNS != nil {
		return do(o.HostNS)
	}
	hostNS, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return Result{}, fault.New(fault.Failed, "open", "this process's network namespace", "%w", err)
	}
	defer hostNS.Close()
	return do(hostNS)
}

// canKeep refuses an address that nobody would keep.
func (o Options) canKeep(s Spec) error {
	if o.Keeper != "" || s.From.Leased() && o.Leases != nil || !s.From.Leased() && s.From.Kind != FromClient {
		return nil
	}
	return fault.New(fault.Unsupported, "attach", s.Guest, "the lease of an address by %s is kept by a process that outlives this one, and no program is named for it", s.From).
		WithHint("set Options.Keeper to the path of gopipework, or for dhcp and dhcp6 Options.Leases")
}
