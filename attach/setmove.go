package attach

import (
	"context"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guestnet"
	"github.com/gopipework/gopipework/internal/kind"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/source"
	"github.com/gopipework/gopipework/internal/spec"
)

// observeMove looks at the bridge that the port is to be moved to, as an attach to it does.
func observeMove(ctx context.Context, m *plan.Machine, s SetSpec, f *build.SetFacts) error {
	if !s.Moves() || f.Found.Port == nil {
		return nil
	}
	to, err := observe(ctx, m, moveSpec(s, *f), nil)
	if err == nil && to.Own == nil {
		err = fault.New(fault.Gone, "set", f.Inner.Name, "somebody deleted or moved it meanwhile")
	}
	to.Origin = f.Found.Origin
	f.To = &to
	if err == nil {
		f.Detach.Mirrors, err = kind.ReadMirrors(m.Host(), f.Detach.OVS)
	}
	return err
}

// moveSpec is what an attach would be asked for that makes the attachment on the bridge. What
// set does not change goes along.
func moveSpec(s SetSpec, f build.SetFacts) Spec {
	to := Spec{
		Guest: s.Guest, HostIF: s.To, IfName: f.Inner.Name, HostName: f.Found.Port.Name, MAC: f.Inner.MAC,
		Addrs: ours.AddressesOf(f.Inner, f.Addrs), VLAN: f.Found.Host.VLAN, Isolated: f.Found.Host.Isolated, Antispoof: f.Found.Host.Antispoof,
		Uplink: s.ToUplink, VLANFiltering: s.VLANFiltering, NoFirewall: s.NoFirewall, NoDAD: s.NoDAD,
	}
	if s.HasAddrs {
		to.Addrs = s.Addrs
	}
	if s.VLAN != "" {
		to.VLAN = s.VLAN
	}
	if to.VLAN == spec.None {
		to.VLAN = ""
	}
	if s.Isolated != nil {
		to.Isolated = *s.Isolated
	}
	if s.Antispoof != nil {
		to.Antispoof = *s.Antispoof
	}
	to.From = source.There(f.Inside)
	to.ACD = !s.NoDAD && to.From.Kind == FromLine
	return to
}

// setTo plans for the port to be that of another bridge. last is what is to be done when all
// else is. What comes after sees the attachment as one of the new bridge.
func setTo(c *build.Change, d *build.Draft) (last []plan.Step, err error) {
	switch {
	case !c.Moves():
		return nil, nil
	case c.Carrier != nil:
		return nil, c.Refuse(fault.Usage, "--to moves the port with its carrier as it is").WithHint("use two lines, one with --carrier")
	case c.There.To == nil || !c.Job.Traits.Switches:
		return nil, c.Refuse(fault.Usage, "--to moves a port from one bridge to another, and this is of the kind %s", c.Job.Kind).
			WithHint("gopipework detach %s %s, and attach it to %s", c.Guest, c.Job.Names.Inner, c.SetSpec.To)
	}
	c.To = jobFor(moveSpec(c.SetSpec, c.There), *c.There.To, plan.InGuest)
	c.To.Op, c.To.LinkMTU = c.Job.Op, c.Job.LinkMTU
	if u := c.To.There.Uplink; u.VXLAN().Asked() || u.Link != nil && !build.IsVXLAN(u.Link) {
		c.To.Uplink = "" // the bridge has one
	}
	if err := kind.SettleMove(c, d); err != nil || c.To == nil {
		return nil, err
	}
	c.Job.Kind, c.Job.Traits, c.There.On = c.To.Kind, c.To.Traits, c.To.On()
	endRateIn(c, d)
	return kind.PlanMove(*c, d), nil
}

// endRateIn plans to end what shapes the frames for the guest, if the new kind of bridge has
// them shaped in another place: setShape plans for that one.
func endRateIn(c *build.Change, d *build.Draft) {
	have, ifb := guestnet.Received(guestnet.Shaping(c.There.Shaped), c.There.Inner.MTU), c.There.Shaped.Inbound
	if !have.Shapes() || (ifb == nil) == c.Job.Traits.ShapesPort {
		return
	}
	if ifb == nil {
		d.Add(guestnet.ShapeLink{Link: c.There.Found.Port.Name, Have: have})
	} else {
		s := guestnet.InboundStep(c.Job, have)
		s.Ifb = ifb.Name
		d.Add(guestnet.DelInbound{AddInbound: s})
	}
	if c.Shape.RateIn == nil {
		c.Shape.RateIn = &have.Rate
	}
	c.There.Shaped.In, c.There.Shaped.Inbound = nil, nil
}

// arrive plans for the guest to be heard on its new bridge, before it gets other addresses.
func arrive(c build.Change, d *build.Draft) {
	if c.To != nil {
		kind.PlanArrival(c, d)
	}
}

// depart plans what comes when all else is done: the leases are asked for anew, and what the
// bridge that was left is good for no more goes.
func depart(c build.Change, d *build.Draft, last []plan.Step) {
	if c.To != nil {
		source.PlanRebind(c.Job, d)
	}
	d.Steps = append(d.Steps, last...)
}
