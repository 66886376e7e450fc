package attach

import (
	"net/netip"
	"strconv"

	"github.com/gopipework/gopipework/bridge"
	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guestnet"
	"github.com/gopipework/gopipework/internal/kind"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/shell"
	"github.com/gopipework/gopipework/internal/spec"
)

// planSet decides what changes. What is on the host comes first: a wait for
// duplicate address detection lets the host's lock go.
func planSet(s SetSpec, f build.SetFacts) (build.Plan, error) {
	if f.Found == nil {
		return build.Plan{}, fault.New(fault.NotFound, "set", s.IfName+" of "+f.Guest.Name, "there is no such attachment").
			WithHint("gopipework list %s", s.Guest)
	}
	c, d := newChange(s, f), &build.Draft{}
	var last []plan.Step
	var pin func()
	if err := checkState(c); err != nil {
		return build.Plan{}, err
	}
	for _, plan := range []func() error{
		func() error { return setCarrier(c, d, true) }, // new addresses need it
		func() (err error) { last, err = setTo(&c, d); return err },
		func() error { return setVLAN(c, d) },
		func() error { return setIsolated(c, d) },
		func() error { return setMTU(c, d) },
		func() error { return setShape(c, d) },
		func() error { arrive(c, d); return nil },
		func() error { return setAccess(&c, d) },
		func() (err error) { pin, err = kind.SetPins(&c, d); return err },
		func() error {
			return kind.KindOf(c.Job.Kind).SetAntispoof(c, d, func() error { return setInet(c, d) })
		},
		func() error { pin(); return nil },
		func() error { return setDNS(c, d) },
		func() error { return setCarrier(c, d, false) },
	} {
		if err := plan(); err != nil {
			return build.Plan{}, err
		}
	}
	depart(c, d, last)
	warnOwner(c, d)
	d.Attachments = []Attachment{changedAttachment(c)}
	return d.Plan, nil
}

// checkState refuses to change what is half made. That of --antispoof can be ended, and does
// not matter to other changes.
func checkState(c build.Change) error {
	found := c.There.Found
	lost := ours.OnlyFilterHalf(found.Attachment)
	switch {
	case found.State == Complete || found.State == ours.Foreign:
		return nil
	case lost && c.Antispoof != nil && *c.Antispoof && !c.HasAddrs:
		return c.Refuse(fault.Conflict, "its rules of --antispoof are incomplete").
			WithHint("attach it again, as its line says what they were, or gopipework set %s %s --antispoof off", c.Guest, found.Interface.Name)
	case lost:
		return nil
	}
	return c.Refuse(fault.Conflict, "it is half made").WithHint("attach it again, or detach it")
}

// warnOwner warns if the attachment belongs to something else than what changes it.
func warnOwner(c build.Change, d *build.Draft) {
	owner := c.There.Found.Origin
	if len(d.Steps) == 0 || !owner.Claims() || owner == c.There.Origin {
		return
	}
	says, apply := "the file says", "apply"
	switch {
	case owner == OriginKeep:
		says, apply = "the kept lines say", "apply --kept"
	case owner.IsService():
		says, apply = "the Compose file says", "docker compose up"
	}
	switch {
	case c.OnlyCarrier() && (*c.Carrier || owner.OfContainer()):
	case owner.IsNetwork():
		d.Warn("%s belongs to %s: the next ADD knows nothing of it", c.Job.Names.Inner, owner)
	case c.OnlyCarrier():
		d.Warn("%s belongs to %s: the next %s plugs its cable in again", c.Job.Names.Inner, owner, apply)
	case owner == spec.OriginAnnotation:
		d.Warn("%s belongs to an annotation: the guest has what that says when it starts again", c.Job.Names.Inner)
	case owner == OriginLabel:
		d.Warn("%s belongs to a label: watch goes back to what that says, which only a new container changes", c.Job.Names.Inner)
	default:
		d.Warn("%s belongs to %s: the next %s goes back to what %s, so change it there too", c.Job.Names.Inner, owner, apply, says)
	}
}

func newChange(s SetSpec, f build.SetFacts) build.Change {
	spec := Spec{Guest: s.Guest, IfName: f.Found.Interface.Name, Addrs: s.Addrs, NoDAD: s.NoDAD, MAC: f.Inner.MAC}
	facts := build.Facts{Inside: f.Inside, Own: f.Found.Port, OwnOn: f.OwnOn, OVS: f.Detach.OVS, Access: f.Access}
	if l := f.Found.Lent; l != nil {
		facts.Card = build.Card{Here: true, Loan: &l.Loan}
	}
	table := guestnet.ConfineToVRF(&f.Inside)
	facts.Inside = f.Inside
	j := jobFor(spec, facts, plan.InGuest)
	j.Table = table
	j.Op, j.Kind, j.LinkMTU = "set", Kind(f.Found.Host.Kind), f.Inner.MTU
	j.Traits = kind.TraitsOf(j.Kind)
	if s.MTU != 0 {
		j.LinkMTU = s.MTU
	}
	return build.Change{SetSpec: s, There: f, Job: j}
}

// changedAttachment describes what will be there.
func changedAttachment(c build.Change) Attachment {
	a := c.There.Found.Attachment
	a.Interface.MTU = c.Job.LinkMTU
	a.Shaping = guestnet.ShapingOrNil(shape(c))
	if c.HasAddrs {
		a.Interface.Addresses = append([]netip.Prefix{}, c.Addrs...)
		a.Interface.Gateway = append(a.Interface.Gateway, c.Gateways...)
	}
	if v, err := vlan(c); err == nil && c.VLAN != "" {
		a.Host.VLAN = v.String()
	}
	if c.HasRoutes {
		a.Interface.Routes = c.Routes
	}
	if n := c.There.Resolv; n != nil && n.Index == c.There.Inner.Index {
		a.Interface.DNS = n.Asked
	}
	a.Interface.SourceRouting = wanted(c).SourceRouting
	if c.HasDNS {
		a.Interface.DNS = c.DNS.String()
	}
	if c.HostAccess != nil && *c.HostAccess {
		a.More = append(a.More, spec.HostAccess)
	}
	if c.Isolated != nil {
		a.Host.Isolated = *c.Isolated
	}
	if ours.OnlyFilterHalf(a) && (c.Antispoof != nil || c.HasAddrs) {
		a.State = Complete
	}
	if c.Antispoof != nil {
		a.Host.Antispoof = *c.Antispoof
	}
	if c.Carrier != nil {
		carrier := *c.Carrier && c.There.Inner.Up
		a.Interface.Carrier, a.Interface.Pulled = &carrier, !*c.Carrier
	}
	switch {
	case c.To != nil:
		a.Host.Kind, a.Host.Name, a.Host.Uplink = string(c.To.Kind), c.To.HostIF.Name, uplinkWord(c.To)
	case c.VLAN == spec.None:
		a.Host.Uplink = c.There.Switch.Uplink.VXLAN().String()
	case c.VLAN != "":
		a.Host.Uplink = "" // its frames do not cross the VXLAN
	}
	return a
}

// setMTU plans for another, at both ends of a pair and of what shapes it.
func setMTU(c build.Change, d *build.Draft) error {
	if c.MTU == 0 || c.MTU == c.There.Inner.MTU {
		return nil
	}
	if c.MTU < spec.MinMTU6 {
		for _, p := range ours.AddressesOf(c.There.Inner, c.There.Addrs) {
			if p.Addr().Is6() && !c.HasAddrs {
				return c.Refuse(fault.Conflict, "it has the address %s, but IPv6 needs an MTU of at least %d", p, spec.MinMTU6)
			}
		}
	}
	if err := kind.CheckMTU(c.Job, c.MTU, c.There.On); err != nil {
		return err
	}
	kind.WarnMTU(c.Job, d, c.MTU, c.There.On)
	if other, at := c.There.OtherEnd, c.There.Found.Host; other != nil && other.MTU != c.MTU {
		d.Warn("the other end of the link, %s of %s, has an MTU of %d, and packets longer than the lower of the two are lost: %s",
			at.Port, at.Name, other.MTU, shell.Line([]string{"gopipework", "set", at.Name, at.Port, "--mtu", strconv.Itoa(c.MTU)}))
	}
	if own := c.There.Found.Port; own != nil {
		d.Add(plan.ChangeMTU{Link: own.Name, MTU: c.MTU, Was: own.MTU})
	}
	d.Add(plan.ChangeMTU{Place: c.Job.Place, Link: c.There.Inner.Name, MTU: c.MTU, Was: c.There.Inner.MTU})
	if ifb := c.There.Shaped.Inbound; ifb != nil {
		d.Add(plan.ChangeMTU{Place: c.Job.Place, Link: ifb.Name, MTU: c.MTU, Was: ifb.MTU})
	}
	return nil
}

// shape is how the link is to be shaped.
func shape(c build.Change) Shaping {
	want := c.Shape.Apply(guestnet.Shaping(c.There.Shaped))
	if want.Delay == 0 && c.Shape.Jitter == nil {
		want.Jitter = 0 // it goes with the delay
	}
	return want
}

// setShape plans for another shaping.
func setShape(c build.Change, d *build.Draft) error {
	have, want := guestnet.Shaping(c.There.Shaped), shape(c)
	if c.Job.Kind == KindVeth && want.RateIn != have.RateIn {
		return c.Refuse(fault.Usage, "what one end of a link gets is what the other sends").WithHint("use --rate-out on the other end")
	}
	if err := guestnet.CheckShape(c.Job, want); err != nil {
		return err
	}
	out, was := guestnet.Sent(want, c.Job.LinkMTU), guestnet.Sent(have, c.There.Inner.MTU)
	if out != was && (out.Shapes() || was.Shapes()) {
		if err := guestnet.CheckRoot(c.Job, c.Job.Enter, c.There.Inner.Name, c.There.Shaped.Out); err != nil {
			return err
		}
		d.Add(guestnet.ShapeLink{Place: c.Job.Place, Link: c.There.Inner.Name, Want: out, Have: was})
	}
	return setRateIn(c, d, guestnet.Received(want, c.Job.LinkMTU), guestnet.Received(have, c.There.Inner.MTU))
}

// setRateIn plans for another rate of what comes in.
func setRateIn(c build.Change, d *build.Draft, want, have guestnet.Egress) error {
	ifb := c.There.Shaped.Inbound
	switch {
	case want == have || !want.Shapes() && !have.Shapes() && ifb == nil:
	case c.Job.Traits.ShapesPort && c.There.OwnOn == nil && c.To == nil:
		return c.Refuse(fault.Conflict, "%s is in no bridge", c.There.Found.Port.Name).
			WithHint("if it belongs to an Open vSwitch bridge, start Open vSwitch")
	case c.Job.Traits.ShapesPort:
		if err := guestnet.CheckRoot(c.Job, "", c.There.Found.Port.Name, c.There.Shaped.In); err != nil {
			return err
		}
		d.Add(guestnet.ShapeLink{Link: c.There.Found.Port.Name, Want: want, Have: have})
	case ifb == nil && c.There.Shaped.Taken:
		return guestnet.IngressTaken(c.Job.Enter, c.There.Inner.Name)
	case ifb == nil:
		if err := guestnet.CheckInbound(c.Job, want.Rate); err != nil {
			return err
		}
		guestnet.ClearInbound(c.Job, d)
		d.Add(guestnet.InboundStep(c.Job, want))
	case !want.Shapes():
		s := guestnet.InboundStep(c.Job, have)
		s.Ifb = ifb.Name
		d.Add(guestnet.DelInbound{AddInbound: s})
	default:
		if err := guestnet.CheckRoot(c.Job, c.Job.Enter, ifb.Name, c.There.Shaped.In); err != nil {
			return err
		}
		d.Add(guestnet.ShapeLink{Place: c.Job.Place, Link: ifb.Name, Want: want, Have: have})
	}
	return nil
}

// vlan is the one that is asked for.
func vlan(c build.Change) (bridge.VLAN, error) {
	if c.VLAN == "" || c.VLAN == spec.None {
		return bridge.VLAN{}, nil
	}
	return bridge.ParseVLAN(c.VLAN)
}

// setVLAN plans for others, where the host's end is a port of a switch.
func setVLAN(c build.Change, d *build.Draft) error {
	if c.VLAN == "" || c.To != nil {
		return nil
	}
	v, err := vlan(c)
	if err != nil {
		return err
	}
	return kind.KindOf(c.Job.Kind).SetVLAN(c, d, v)
}

// setIsolated plans for its port to be isolated from others, or not.
func setIsolated(c build.Change, d *build.Draft) error {
	if c.Isolated == nil || c.To != nil {
		return nil
	}
	return kind.KindOf(c.Job.Kind).SetIsolated(c, d, *c.Isolated)
}

// setInet plans for other addresses and routes.
func setInet(c build.Change, d *build.Draft) error {
	for _, plan := range []func(build.Change, *build.Draft) error{addAddrs, setRoutes, delAddrs} {
		if err := plan(c, d); err != nil {
			return err
		}
	}
	return nil
}
