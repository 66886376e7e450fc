package attach

import (
	"context"
	"os"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/hostbridge"
	"github.com/gopipework/gopipework/internal/passage"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/spec"
)

// What the host itself has on a bridge.
type (
	// BridgeSpec is what the host is to have on a bridge: Addrs of its own, and an Uplink,
	// an interface of the host that is made a port.
	BridgeSpec = spec.BridgeSpec

	// Bridge is a bridge that an origin asks for: its Name, Kind and Origin, whether it was
	// Made here, its MTU, the host's Addresses on it, and the Uplink.
	Bridge = hostbridge.Bridge
)

// EnsureBridge sees to it that the host has on the bridge what s asks for, and nothing else
// that was set for the origin of opt, which has to have a name. A bridge that is not there
// is made. It stays, even if nothing is attached to it, until RemoveBridge. On any error
// nothing has changed, unless its code is CodeResidue.
func EnsureBridge(ctx context.Context, s BridgeSpec, opt Options) (Result, error) {
	if err := opt.canWant("set up bridge", s.Name); err != nil {
		return Result{}, err
	}
	return opt.in(func(hostNS *os.File) (Result, error) {
		return opt.onBridge(ctx, s, hostNS, func(f hostbridge.Facts) (build.Plan, error) { return hostbridge.Build(s, f) }, plan.Plan.Apply)
	})
}

// RemoveBridge removes from the bridge what was set for the origin of opt, and returns the
// uplink as it was. It deletes a bridge that was made here and that nothing uses any more.
// What is not there any more counts as removed.
func RemoveBridge(ctx context.Context, name string, opt Options) (Result, error) {
	if err := opt.canWant("remove bridge", name); err != nil {
		return Result{}, err
	}
	return opt.in(func(hostNS *os.File) (Result, error) {
		return opt.onBridge(ctx, BridgeSpec{Name: name}, hostNS, func(f hostbridge.Facts) (build.Plan, error) { return hostbridge.Remove(name, f), nil }, plan.Plan.Remove)
	})
}

// canWant refuses an origin that cannot ask for a bridge: nobody would delete what a typed
// line has made.
func (o Options) canWant(op, bridge string) error {
	if _, err := spec.ParseOrigin(string(o.Origin)); err != nil {
		return err
	}
	if !o.Origin.Claims() {
		return fault.New(fault.Usage, op, bridge, "only an origin with a name asks for a bridge").WithHint("set Options.Origin to file:NAME")
	}
	return nil
}

func (o Options) onBridge(ctx context.Context, s BridgeSpec, hostNS *os.File, decide func(hostbridge.Facts) (build.Plan, error),
	carryOut func(plan.Plan, context.Context, *plan.Machine, func(string)) error,
) (Result, error) {
	ctx, extend, cancel := o.bound(ctx)
	defer cancel()
	m, err := plan.Open(ctx, hostNS)
	if err != nil {
		return Result{}, err
	}
	defer m.Close()
	f, err := hostbridge.Observe(ctx, m, s)
	if err != nil {
		return Result{}, m.Cause(ctx, err)
	}
	f.Origin, f.NewMAC = o.Origin, newMAC()
	p, err := decide(f)
	if err != nil || o.DryRun {
		return result(p), err
	}
	extend(p.Wait)
	if err := carryOut(p.Plan, ctx, m, o.tell); err != nil {
		return Result{}, err
	}
	var obstacles []string
	if len(s.Addrs) > 0 {
		obstacles = passage.HostObstacles(ctx, m.Host(), s.Name)
	}
	return result(p, append(m.Warnings, obstacles...)...), nil
}

// listBridges returns the bridges that origins ask for.
func listBridges(ctx context.Context, k plan.Kernel) ([]Bridge, error) {
	var f hostbridge.Facts
	var o build.Looker
	o.Look("the host's links", func() (err error) { f.Links, err = k.Links(); return err })
	if hostbridge.MayBeOVS("", f.Links) {
		f.OVS = o.OVS(ctx, k)
	}
	if len(hostbridge.List(f)) == 0 {
		return nil, o.Err
	}
	f.ReadPeers(&o, k)
	o.Look("the host's addresses", func() (err error) { f.Addrs, err = k.Addrs(); return err })
	return hostbridge.List(f), o.Err
}
