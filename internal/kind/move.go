package kind

import (
	"context"
	"net"
	"slices"

	"github.com/gopipework/gopipework/bridge"
	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guestnet"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/spec"
)

// A port that is there is moved to another bridge (set --to). The guest notices no more than
// a cable that was pulled for a moment: its interface stays, with addresses and routes.

// switching is a kind whose host interface is a switch.
type switching interface {
	Kind
	// prepare plans for the switch to be there, and for what it needs before it gets a port.
	prepare(*build.Job, *build.Draft)
	// plug plans for the host's end of a pair that is there to become a port of the switch.
	plug(*build.Job, *build.Draft)
	// await plans the wait until the switch passes on what the port sends.
	await(*build.Job, *build.Draft)
	// has reports whether the port is one of the switch already.
	has(build.Change) bool
	// leave plans for the port to be none of the switch any more. last is what comes when
	// the port is known to be well in another.
	leave(build.Change, *build.Draft) (last []plan.Step)
}

var (
	_ switching = linux
	_ switching = openVSwitch
)

// SettleMove refuses a move that cannot be, and decides what the words have left open. A
// port that is in place already is not moved: c.To is nil then.
func SettleMove(c *build.Change, d *build.Draft) error {
	to, own := c.To, c.There.Found.Port
	k := KindOf(SettleKind(to.HostIF, to.There))
	if k != nil && !k.features().Switches {
		return c.Refuse(fault.Usage, "--to moves a port to a bridge, and %s is of the kind %s", to.HostIF.Name, k.features().Word).
			WithHint("detach it, and attach it to %s", to.HostIF)
	}
	if ours.Pulled(own) {
		return c.Refuse(fault.Conflict, "its cable is pulled").WithHint("gopipework set %s %s --carrier on", c.Guest, c.Job.Names.Inner)
	}
	if c.There.Found.Host.Antispoof && k != nil && !k.features().Antispoofs {
		return c.Refuse(fault.Conflict, "it is attached with --antispoof, which %s cannot have", to.HostIF).
			WithHint("gopipework set %s %s --antispoof off, in a line of its own", c.Guest, c.Job.Names.Inner)
	}
	if err := Settle(to, d); err != nil {
		return err
	}
	if err := refuseMirrored(*c); err != nil {
		return err
	}
	switch on := switchOf(*c); {
	case KindOf(to.Kind).(switching).has(*c):
		c.To = nil
		KindOf(to.Kind).(switching).prepare(to, d) // what somebody has deleted since
		setUpAgain(*c, d)
		return nil
	case on == nil && own.Master != 0:
		return c.Refuse(fault.Conflict, "%s is in no bridge, but something else has it", own.Name).
			WithHint("if that is Open vSwitch, start it; otherwise: ip link set dev %s nomaster", own.Name)
	}
	if p, ok := c.There.Detach.OVS.Port(own.Name); ok && p.Mark == "" {
		return c.Refuse(fault.Conflict, "%s is not one of our Open vSwitch ports", own.Name)
	}
	if err := KindOf(to.Kind).RefuseConflicts(to); err != nil {
		return err
	}
	return CheckMAC(to)
}

// refuseMirrored refuses to move a port that frames are copied to or from, where Open vSwitch
// would have to: it copies within a bridge.
func refuseMirrored(c build.Change) error {
	if c.Job.Kind != spec.KindOVS && c.To.Kind != spec.KindOVS {
		return nil
	}
	for _, m := range c.There.Detach.Mirrors.All {
		switch c.There.Found.Port.Name {
		case m.To:
			return c.Refuse(fault.Conflict, "it is a mirror, and Open vSwitch copies frames within one bridge").
				WithHint("detach it, and attach it to %s", c.To.HostIF)
		case m.From:
			return c.Refuse(fault.Conflict, "its frames are copied to %s, and Open vSwitch copies within one bridge", m.To).
				WithHint("detach the mirror first")
		}
	}
	return nil
}

// setUpAgain plans to set up a port that a killed run has left down.
func setUpAgain(c build.Change, d *build.Draft) {
	own := c.There.Found.Port
	if own.Up {
		return
	}
	d.Add(ours.SetUp{Link: own.Name})
	if c.VLAN == "" && c.Isolated == nil {
		d.Warn("%s was down, perhaps because a move was killed: --vlan and --isolated set again what it may have lost", own.Name)
	}
}

// switchOf returns the kind of switch that the port is in; nil: none.
func switchOf(c build.Change) switching {
	if c.There.OwnOn != nil {
		return linux
	}
	if _, ok := c.There.Detach.OVS.Port(c.There.Found.Port.Name); ok {
		return openVSwitch
	}
	return nil
}

// PlanMove plans the move, up to the moment when the port is in the new bridge. It is down
// meanwhile: nothing gets through before its VLANs and its isolation are set. last is what is
// to be done when all else is.
func PlanMove(c build.Change, d *build.Draft) (last []plan.Step) {
	to, own := c.To, c.There.Found.Port
	k := KindOf(to.Kind).(switching)
	k.prepare(to, d)
	if own.Up {
		d.Add(ours.SetDown{Link: own.Name})
	}
	if from := switchOf(c); from != nil {
		last = from.leave(c, d)
	}
	k.plug(to, d)
	d.Add(ours.SetUp{Link: own.Name})
	WarnStations(to, d)
	if c.MTU == 0 && !to.HalfBridge() {
		WarnMTU(to, d, to.LinkMTU, to.There.Base)
	}
	return last
}

// PlanArrival plans what follows once the host has done its part: the wait for the switch,
// the question whether somebody there has the addresses, and the announcement, by which the
// guest also forgets its old neighbours. There is nothing to wait for if the guest has set
// its end down.
func PlanArrival(c build.Change, d *build.Draft) {
	to := c.To
	if !c.There.Inner.Up {
		return
	}
	KindOf(to.Kind).(switching).await(to, d)
	guestnet.PlanProbe(to, d)
	a := guestnet.Announce{Place: to.Place, Inner: to.Names.Inner, Mac: c.There.Inner.MAC}
	if !c.HasAddrs { // others are announced once they are there
		a.Addrs = append(guestnet.GivenAddrs(to, false), guestnet.GivenAddrs(to, true)...)
	}
	d.Add(a)
}

// departure is that of the port alone, as if it was detached.
func departure(c build.Change) build.Departure {
	p := *c.There.Found
	return build.Departure{There: c.There.Detach, Place: c.Job.Place, Chosen: []build.Pair{p}, Ports: map[int]bool{p.Port.Index: true}}
}

func (linuxBridge) prepare(j *build.Job, d *build.Draft) {
	planBridge(j, d)
	planUplink(j, d)
	planFiltering(j, d)
	planFirewall(j, d)
}

func (linuxBridge) plug(j *build.Job, d *build.Draft) {
	d.Add(PlugIn{port: j.Names.Port, bridge: j.HostIF.Name})
	planPortVLAN(j, d)
	if j.Isolated {
		d.Add(Isolate{port: j.Names.Port, on: true})
	}
}

func (linuxBridge) await(j *build.Job, d *build.Draft) {
	d.Add(AwaitForwarding{port: j.Names.Port, bridge: j.HostIF.Name})
}

func (linuxBridge) has(c build.Change) bool {
	return c.There.OwnOn != nil && c.To.There.Base != nil && c.There.OwnOn.Index == c.To.There.Base.Index
}

func (linuxBridge) leave(c build.Change, d *build.Draft) (last []plan.Step) {
	r, br, port := &build.Removal{}, c.There.OwnOn, c.There.Found.Port
	leaveBridges(departure(c), r)
	unpin(departure(c), r)
	d.Steps = append(d.Steps, r.Steps...)
	d.Add(Unplug{port: port.Name, bridge: br.Name, vlans: c.There.PortVLANs, isolated: port.Port.Isolated})
	d.Steps = append(d.Steps, r.Last...)
	for _, s := range r.Links {
		if _, is := s.(ours.DelLink); is { // the bridge
			again := bridge.New{Name: br.Name, MAC: br.MAC, MTU: br.MTU, Group: plan.Group, Alias: br.Alias}
			s = DelBridge{again, br.VLANFiltering}
		}
		last = append(last, Afterwards{s})
	}
	return last
}

func (openVSwitchKind) prepare(j *build.Job, d *build.Draft) { planOVS(j, d) }

func (openVSwitchKind) plug(j *build.Job, d *build.Draft) {
	if ovsBridge(j).Userspace() {
		d.Add(guestnet.IgnoreRouters{Name: j.Names.Port}) // the kernel hears what ovs-vswitchd does
		d.Add(Checksums{Place: j.Place, inner: j.Names.Inner})
	}
	p := ovsPort(j)
	p.Mark = j.There.Own.Alias // it may have been attached by another name of its guest
	d.Add(AddOVSPort{p})
}

func (openVSwitchKind) await(j *build.Job, d *build.Draft) {
	awaitOVS(ovsBridge(j), ovsPort(j), j.LinkMAC(), d)
}

// awaitOVS plans the wait until a bridge passes on what a port sends.
func awaitOVS(br bridge.OVSBridge, p bridge.OVSPort, mac net.HardwareAddr, d *build.Draft) {
	if br.STP || br.RSTP {
		d.Wait = 2 * br.ForwardDelay
		d.Warn("%s runs the spanning tree protocol: a new port may take %s to forward", br.Name, d.Wait)
	}
	d.Add(AwaitOVS{p, mac})
}

func (openVSwitchKind) has(c build.Change) bool {
	p, ok := c.There.Detach.OVS.Port(c.There.Found.Port.Name)
	return ok && c.There.OwnOn == nil && p.Bridge == c.To.HostIF.Name
}

func (o openVSwitchKind) leave(c build.Change, d *build.Draft) (last []plan.Step) {
	r := &build.Removal{}
	o.Detached(departure(c), r)
	d.Steps = append(d.Steps, r.Steps...)
	for _, s := range r.Last {
		last = append(last, Afterwards{s})
	}
	p, _ := c.There.Detach.OVS.Port(c.There.Found.Port.Name)
	if br, _ := c.There.Detach.OVS.Bridge(p.Bridge); br.Userspace() {
		d.Add(Checksums{Place: c.Job.Place, inner: c.Job.Names.Inner, on: true})
	}
	return last
}

// Unplug takes a port off a Linux bridge. To undo that restores its VLANs there, and its
// isolation.
type Unplug struct {
	port, bridge string
	vlans        []rtnl.PortVLAN
	isolated     bool
}

func (s Unplug) Do(ctx context.Context, m *plan.Machine) error {
	return PlugIn{port: s.port, bridge: s.bridge}.Undo(ctx, m)
}

func (s Unplug) Undo(ctx context.Context, m *plan.Machine) error {
	if err := (PlugIn{port: s.port, bridge: s.bridge}).Do(ctx, m); err != nil {
		return err
	}
	i := m.Index(plan.OnHost, s.port)
	all, err := m.Host().PortVLANs()
	if err == nil && !slices.Equal(all[i], s.vlans) {
		err = ChangePortVLANs{port: s.port, Want: s.vlans, have: all[i]}.change(m, i)
	}
	if err == nil && s.isolated {
		err = m.Host().SetPortIsolated(i, true)
	}
	return fault.Explain("restore the port", s.port, err)
}

func (Unplug) Nature() plan.Nature { return plan.Undoable }

func (s Unplug) String() string { return "ip link set dev " + s.port + " nomaster" }

// DelBridge deletes a bridge of ours that nobody uses any more, and makes it again to undo
// that.
type DelBridge struct {
	bridge.New
	filtering bool
}

func (s DelBridge) Do(_ context.Context, m *plan.Machine) error {
	i, err := m.Find(plan.OnHost, s.Name)
	if err != nil {
		return fault.IgnoreAbsent("find", s.Name, err)
	}
	if used, err := ours.IsUsed(m, i); err != nil || used {
		return err
	}
	m.Forget(plan.OnHost, s.Name)
	return fault.IgnoreAbsent("delete bridge", s.Name, ours.DeleteLink(m.Host(), i))
}

func (s DelBridge) Undo(ctx context.Context, m *plan.Machine) error {
	if m.Knows(plan.OnHost, s.Name) {
		return nil // somebody used it, and it stayed
	}
	err := (AddBridge{s.New}).Do(ctx, m)
	if err == nil {
		err = guestnet.IgnoreRouters{Name: s.Name}.Do(ctx, m)
	}
	if err == nil && s.filtering {
		err = FilterVLANs{bridge: s.Name}.Do(ctx, m)
	}
	return err
}

func (DelBridge) Nature() plan.Nature { return plan.Undoable }

func (s DelBridge) String() string { return "ip link del dev " + s.Name }

// Afterwards is a step on the host that comes after a wait, which has let the host's lock go.
type Afterwards struct{ plan.Step }

func (s Afterwards) Do(ctx context.Context, m *plan.Machine) error {
	m.HostLock.Release()
	if err := m.HostLock.Acquire(ctx, "host"); err != nil {
		return err
	}
	defer m.HostLock.Release()
	return s.Step.Do(ctx, m)
}
