package attach

import (
	"net/netip"
	"slices"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guestnet"
	"github.com/gopipework/gopipework/internal/kind"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/source"
	"github.com/gopipework/gopipework/internal/spec"
	"golang.org/x/sys/unix"
)

// planAttach decides: every name, every value and every refusal is made here, from
// plain data. An empty plan means that all of it is there already.
func planAttach(s Spec, f build.Facts) (build.Plan, error) {
	j, d := jobFor(s, f, plan.InGuest), &build.Draft{}
	if in := f.Inner; in != nil && (j.Marked() == nil || j.Complete()) {
		j.Names.Inner = in.Name // it may have been asked for by an alternative name
	}
	if err := settleJob(j, d); err != nil {
		return build.Plan{}, err
	}
	steps := planNew
	if j.Complete() {
		steps = planAgain
	}
	if err := steps(j, d); err != nil {
		return build.Plan{}, err
	}
	warn(j, d)
	d.Attachments = []Attachment{newAttachment(j)}
	return d.Plan, nil
}

// settleJob decides what the line leaves open, and refuses what no attachment can have.
func settleJob(j *build.Job, d *build.Draft) error {
	if err := guestnet.SettleVRF(j); err != nil {
		return err
	}
	if err := kind.Settle(j, d); err != nil {
		return err
	}
	j.LinkMTU = linkMTU(j)
	if j.Has(true) && j.LinkMTU < spec.MinMTU6 {
		return j.Refuse(fault.Conflict, "its MTU is %d, but IPv6 needs at least %d", j.LinkMTU, spec.MinMTU6).WithHint("--mtu %d", spec.MinMTU6)
	}
	if err := guestnet.CheckShape(j, guestnet.AskedShape(j)); err != nil {
		return err
	}
	return guestnet.CheckSysctls(j)
}

// planNew plans for an attachment that is not there yet.
func planNew(j *build.Job, d *build.Draft) error {
	if err := checkFree(j); err != nil {
		return err
	}
	guestnet.PlanDNSAway(j, d)
	kind.ClearMirrors(j, d)
	kind.PlanUnpark(j, d)
	kind.KindOf(j.Kind).Join(j, d)
	guestnet.PlanShape(j, d)
	if err := planInet(j, d); err != nil {
		return err
	}
	kind.PlanPins(j, d)
	guestnet.PlanDNS(j, d)
	kind.PlanVerify(j, d)
	kind.PlanMirrors(j, d)
	planMark(j, d)
	return nil
}

// planAgain plans for an attachment that is there.
func planAgain(j *build.Job, d *build.Draft) error {
	if j.There.Fresh {
		return innerTaken(j)
	}
	if err := checkSame(j); err != nil {
		return err
	}
	if err := repair(j, d); err != nil {
		return err
	}
	kind.PlanVerify(j, d)
	takeOver(j, d)
	return nil
}

// repair plans for what an attachment that is as asked has lost to come back.
func repair(j *build.Job, d *build.Draft) error {
	kind.PlanUnpark(j, d)
	kind.KindOf(j.Kind).Repair(j, d)
	guestnet.RepairVRF(j, d)
	planUpAgain(j, d)
	kind.ClearMirrors(j, d)
	kind.PlanMirrors(j, d)
	kind.RepairCable(j, d)
	kind.PlanPins(j, d)
	guestnet.RepairSysctls(j, d)
	guestnet.OwnReplies(j, d, false)
	guestnet.OwnReplies(j, d, true)
	for _, s := range source.AddressSources {
		if err := s.Repair(j, d); err != nil {
			return err
		}
	}
	return nil
}

// planMark plans the last step.
func planMark(j *build.Job, d *build.Draft) {
	m := plan.SetMark{Place: j.Place, Inner: j.Names.Inner, Mark: j.Mark()}
	switch t := j.Traits; {
	case t.Pair:
		m.Port = j.Names.Port
	case t.Lent:
		d.Add(kind.MarkLent{SetMark: m, Card: j.HostIF.Name})
		return
	}
	d.Add(m)
}

// takeOver plans for an attachment of an origin that gives it up to get the one that asks
// for it now.
func takeOver(j *build.Job, d *build.Draft) {
	if j.HasOrigin() == j.Origin() || !j.Origin().Takes(j.HasOrigin()) {
		return
	}
	marked := j.Marked()
	m, ok := plan.ParseMark(marked.Alias)
	if !ok { // a guest has changed that of a lent card
		m = j.Mark()
	}
	m.Origin = j.Origin()
	s := plan.ChangeMark{Link: marked.Name, Mark: m, Was: marked.Alias}
	if marked != j.There.Own {
		s.Place = j.Place
	}
	kind.KindOf(j.Kind).TakeOver(j, d, s)
}

// planUpAgain sets both ends up, if somebody has set one down.
func planUpAgain(j *build.Job, d *build.Draft) {
	if own := j.There.Own; own != nil && !own.Up {
		d.Add(plan.SetLink{Name: own.Name, Set: rtnl.Change{Up: true}})
	}
	if !j.There.Inner.Up {
		guestnet.PlanUp(j, d)
		guestnet.PlanCarrier(j, d)
	}
}

// linkMTU is what both ends of the pair get.
func linkMTU(j *build.Job) int {
	most := kind.UplinkMTU(j.VXLAN, j.There.Uplink)
	switch {
	case j.MTU != 0:
		return j.MTU
	case most != 0 && (j.There.Base == nil || j.HalfBridge() || most < j.There.Base.MTU):
		return most
	case j.There.Base != nil && !j.HalfBridge():
		return j.There.Base.MTU
	case j.Traits.Lent:
		return j.There.Card.Loan.Card.MTU
	case j.Traits.MTU != 0:
		return j.Traits.MTU
	}
	return build.DefaultMTU
}

// newAttachment describes what will be there.
func newAttachment(j *build.Job) Attachment {
	a := Attachment{
		Guest: j.There.Guest,
		Interface: Interface{
			Name: j.Names.Inner, Kind: "veth", MAC: j.LinkMAC().String(), MTU: j.LinkMTU,
			Addresses: append([]netip.Prefix{}, j.Addrs...),
			Gateway:   append([]netip.Addr{}, j.Gateways...),
			Routes:    slices.DeleteFunc(slices.Clone(j.Routes), Route.Default), // as a list tells them
			DNS:       j.DNS.String(),

			SourceRouting: j.SourceRouting,
		},
		Host:    Host{Kind: string(j.Kind), Name: j.HostIF.Name, VLAN: kind.TagWord(j.Kind, j.Tag) + j.SwitchVLAN.String(), Isolated: j.Isolated, Antispoof: j.Antispoof, Uplink: uplinkWord(j)},
		State:   Complete,
		Origin:  j.Origin(),
		Shaping: guestnet.ShapingOrNil(guestnet.AskedShape(j)),
		Mirrors: kind.AskedMirrors(j),
	}
	if j.VRF.Name != "" {
		a.Interface.VRF = &spec.VRF{Name: j.VRF.Name, Table: j.Table}
	}
	if j.Complete() {
		a.Shaping = guestnet.ShapingOrNil(guestnet.Shaping(j.There.Shaped))
		if !j.Origin().Claims() {
			a.Origin = j.HasOrigin()
		}
	}
	if j.Traits.Pair {
		a.Host.Port = j.Names.Port
	} else {
		a.Interface.Kind = string(j.Kind)
	}
	if j.Complete() {
		if j.There.Own != nil {
			a.Host.Port = j.There.Own.Name
		}
		a.Interface.MAC, a.Interface.MTU = j.There.Inner.MAC.String(), j.There.Inner.MTU
	}
	return a
}

// uplinkWord is the uplink that the bridge has, or gets.
func uplinkWord(j *build.Job) string {
	switch {
	case j.VXLAN.Asked():
		return j.VXLAN.String()
	case !j.SwitchVLAN.IsZero():
		return "" // its frames do not cross the VXLAN
	}
	return j.There.Uplink.VXLAN().String()
}

// warn warns of what was done as asked, but may not be what was meant.
func warn(j *build.Job, d *build.Draft) {
	if !j.HalfBridge() {
		kind.WarnMTU(j, d, j.MTU, j.On())
	}
	j.WarnCarrier(d, j.There.Base)
	for _, p := range j.Addrs {
		for _, a := range guestnet.AddrsBeside(j) {
			if a.Prefix.Addr().Is6() && a.Scope == unix.RT_SCOPE_LINK || !a.Prefix.Overlaps(p) || j.Own(a.Index) {
				continue
			}
			d.Warn("%s is also on the guest's %s (%s): replies may leave by the wrong interface",
				p.Masked(), j.LinkName(a.Index), a.Prefix)
		}
		guestnet.WarnRoutes(j, d, p)
	}
	kind.WarnStations(j, d)
	if j.There.Guest.Shares != "" {
		d.Warn("%s shares the network of container %s, so that container gets the interface too", j.There.Guest.Name, j.There.Guest.Shares)
	}
	guestnet.WarnReplies(j, d)
	if j.There.Reaches && j.Traits.OnHost {
		d.Warn("%s has CAP_NET_ADMIN: through this attachment it can change links of the host, which it could not before", j.There.Guest.Name)
	}
}

// checkFree refuses what would collide, before anything is changed.
func checkFree(j *build.Job) error {
	if j.Has(true) && j.There.NoIPv6 {
		return j.Refuse(fault.Unsupported, "the kernel has no IPv6").WithHint("it was booted with ipv6.disable=1, or built without CONFIG_IPV6")
	}
	if j.There.Inner != nil && j.Marked() == nil {
		return innerTaken(j)
	}
	if err := kind.KindOf(j.Kind).RefuseConflicts(j); err != nil {
		return err
	}
	if err := guestnet.CheckInbound(j, guestnet.AskedShape(j).RateIn); err != nil {
		return err
	}
	for _, p := range j.Addrs {
		for _, a := range guestnet.AddrsBeside(j) {
			if a.Prefix.Addr() == p.Addr() && spec.Routable(p.Addr()) && !j.Own(a.Index) {
				return j.Refuse(fault.Conflict, "it has the address %s already, on %s", p.Addr(), j.LinkName(a.Index))
			}
		}
	}
	if err := guestnet.CheckRoutes(j); err != nil {
		return err
	}
	if err := guestnet.CheckDNS(j); err != nil {
		return err
	}
	if err := kind.CheckAlone(j); err != nil {
		return err
	}
	return kind.CheckMAC(j)
}

// innerTaken refuses a name that an interface of the guest has.
func innerTaken(j *build.Job) error {
	e := j.Refuse(fault.Conflict, "it has an interface %s already: %s", j.Names.Inner, j.Describe(j.There.Inner))
	if plan.IsOurs(j.There.Inner) && j.There.Inner.Kind == "veth" && j.There.Own == nil { // its other end is elsewhere: no detach finds it
		return e.WithHint("choose %s, or delete it: gopipework exec %s -- ip link del %s", j.OtherName(), j.Spec.Guest, j.There.Inner.Name)
	}
	if plan.IsOurs(j.There.Inner) {
		return e.WithHint("%s", j.OrDetach())
	}
	return e.WithHint("choose %s", j.OtherName())
}
