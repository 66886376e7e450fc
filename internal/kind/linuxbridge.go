package kind

import (
	"cmp"
	"context"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/gopipework/gopipework/bridge"
	"github.com/gopipework/gopipework/bridge/firewall"
	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guestnet"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/spec"
)

// linuxBridge plugs a guest into a Linux bridge.
type linuxBridge struct{ plain }

var linux = linuxBridge{plain{build.Traits{
	Word: spec.KindBridge, Pair: true, Makes: true, OnHost: true, Switches: true, LongFrames: true,
	Filters: true, Firewalled: true, ShapesPort: true, Isolates: true, Antispoofs: true, Uplinks: true,
}}}

func (linuxBridge) claims(name string, f build.Facts) bool {
	return f.Base != nil && f.Base.Kind == "bridge" || strings.HasPrefix(name, "br")
}

func (linuxBridge) settle(j *build.Job, d *build.Draft) error {
	h, found := j.HostIF, j.There.Base
	switch {
	case found != nil && found.Kind != "bridge":
		return j.Refuse(fault.Conflict, "%s exists already, and is not a bridge but %s", h.Name, ours.DescribeKind(found)).
			WithHint("choose another name for the bridge, or use macvlan:%s for a macvlan on it", found.Name)
	case j.Mode != "":
		return j.Refuse(fault.Usage, "--mode is for macvlan and ipvlan, but %s is a bridge", h.Name).
			WithHint("leave out --mode, or name a card: macvlan:NAME, ipvlan:NAME")
	}
	if err := settleVLAN(j); err != nil {
		return err
	}
	return checkFiltering(j)
}

func (linuxBridge) RefuseConflicts(j *build.Job) error {
	if err := checkPort(j); err != nil || !j.Pins() {
		return err
	}
	mac, addrs := j.LinkMAC(), pinnedAddrs(j)
	return cmp.Or(refuseTold(j, j.HostIF.Name, j.There.Uplink, mac, addrs), refuseForeign(j, j.HostIF.Name, j.There.Uplink, mac, addrs))
}

func (linuxBridge) fits(s spec.Spec, f build.Facts) bool {
	p, asked := f.Parked, spec.Shaping{}
	if s.Shape.Apply(asked).RateIn != 0 && guestnet.HasForeignRoot(p.Queues) {
		return false
	}
	return f.Base != nil && p.Port.Master == f.Base.Index && VLANOf(p.VLANs, f.Base) == vlanWord(s) && p.Port.Port.Isolated == s.Isolated && !s.Antispoof && !ours.IsFiltered(p.Port)
}

func (b linuxBridge) Join(j *build.Job, d *build.Draft) {
	b.prepare(j, d)
	planPair(j, d, j.HostIF.Name)
	guestnet.PlanPortShape(j, d)
	guestnet.PlanBeforeUp(j, d)
	guestnet.PlanUp(j, d)
	b.await(j, d)
}

func (linuxBridge) Repair(j *build.Job, d *build.Draft) {
	planBridge(j, d)
	planUplink(j, d)
	planFirewall(j, d)
	repairFilter(j, d)
	if unplugged(j) {
		d.Add(PlugIn{port: j.There.Own.Name, bridge: j.HostIF.Name})
		if j.Isolated {
			d.Add(Isolate{port: j.There.Own.Name, on: true})
		}
		d.Add(AwaitForwarding{port: j.There.Own.Name, bridge: j.HostIF.Name})
	}
}

// unplugged reports whether somebody has taken the host's end off its bridge, and has
// not put it into another.
func unplugged(j *build.Job) bool {
	if j.There.Own == nil || j.There.Own.Master != 0 {
		return false
	}
	_, inOVS := j.There.OVS.Port(j.There.Own.Name)
	return !inOVS
}

// PlugIn makes a link of ours a port of a bridge again.
type PlugIn struct{ port, bridge string }

func (s PlugIn) Do(_ context.Context, m *plan.Machine) error {
	port, err := m.Find(plan.OnHost, s.port)
	if err != nil {
		return fault.Explain("find", s.port, err)
	}
	master, err := m.Find(plan.OnHost, s.bridge)
	if err != nil {
		return fault.Explain("find bridge", s.bridge, err)
	}
	return fault.Explain("plug "+s.port+" into", s.bridge, m.Host().SetLink(port, rtnl.Change{Master: master}))
}

func (s PlugIn) Undo(_ context.Context, m *plan.Machine) error {
	return fault.IgnoreAbsent("unplug", s.port, m.Host().SetLink(m.Index(plan.OnHost, s.port), rtnl.Change{NoMaster: true}))
}

func (PlugIn) Nature() plan.Nature { return plan.Undoable }

func (s PlugIn) String() string { return "ip link set dev " + s.port + " master " + s.bridge }

func (linuxBridge) Differ(j *build.Job, differ build.Differ) {
	own := j.There.Own
	if own == nil {
		differ("kind", j.There.Inner.Kind, spec.KindBridge)
		return
	}
	if !unplugged(j) && (j.There.Base == nil || own.Master != j.There.Base.Index) {
		there := "none"
		if p, ok := j.There.OVS.Port(own.Name); ok {
			there = p.Bridge
		} else if j.There.OwnOn != nil {
			there = j.There.OwnOn.Name
		}
		differ(spec.OnBridge, there, j.HostIF.Name)
	}
	uplinkDiffers(j, differ)
	vlanDiffers(j, differ)
	if !unplugged(j) {
		isolatedDiffers(j, own.Port.Isolated, differ)
	}
	antispoofDiffers(j, differ)
	portDiffers(j, differ)
}

// planBridge sees to it that the bridge is there and up.
func planBridge(j *build.Job, d *build.Draft) {
	br := bridge.New{Name: j.HostIF.Name, MAC: j.There.New.Bridge, MTU: j.LinkMTU, Group: plan.Group, Alias: build.BridgeMark}
	switch found := j.There.Base; {
	case found == nil:
		d.Add(AddBridge{br})
		d.Add(guestnet.IgnoreRouters{Name: br.Name})
	case j.HalfBridge():
		d.Add(plan.SetLink{Name: br.Name, Set: br.Finish()})
		d.Add(guestnet.IgnoreRouters{Name: br.Name})
	case !found.Up:
		d.Add(ours.RaiseLink{Name: br.Name})
	}
	if found := j.There.Base; found != nil && found.VLANFiltering && found.DefaultPVID == 0 && j.SwitchVLAN.IsZero() {
		d.Warn("%s filters VLANs and has no default VLAN: it drops untagged frames", found.Name)
	}
	if found := j.There.Base; found != nil && found.STP {
		d.Wait = 2 * found.ForwardDelay // listening, then learning
		d.Warn("%s runs the spanning tree protocol: a new port forwards after %s", found.Name, d.Wait)
	}
}

// planFirewall plans the rules that let the frames through, where anything on the
// host would drop them.
func planFirewall(j *build.Job, d *build.Draft) {
	port := ""
	if !j.OurBridge() {
		port = j.Names.Port
		if j.There.Own != nil {
			port = j.There.Own.Name
		}
	}
	told := len(d.Warnings)
	defer func() { d.Drops = slices.Clone(d.Warnings[told:]) }()
	if j.There.FirewallUnread != "" {
		d.Warn("the host's firewall was not checked: %s", j.There.FirewallUnread)
	}
	rules := j.There.Firewall.Needed(j.HostIF.Name, port)
	d.Warnings = append(d.Warnings, j.There.Firewall.Warnings(j.HostIF.Name)...)
	for _, r := range rules {
		if j.NoFirewall && !j.There.Firewall.Drops(r) {
			continue
		}
		if j.NoFirewall {
			d.Warn("the host's firewall drops what crosses %s, and --no-firewall leaves it alone; to let frames pass: %s",
				j.HostIF.Name, r.InsertCommand())
			continue
		}
		d.Add(AddRule{r})
	}
}

func (linuxBridge) prober(j *build.Job) (prober, string) {
	p := bridgeProbe{vlan: j.SwitchVLAN, not: 1}
	if j.There.Base != nil {
		p.not = j.There.Base.DefaultPVID
	}
	return p, onlyTagged(j)
}

// onlyTagged says why nothing can be proven of a port whose frames all have tags; "":
// not all have.
func onlyTagged(j *build.Job) string {
	if j.SwitchVLAN.PVID == 0 && len(j.SwitchVLAN.Tagged) > 0 {
		return "the guest creates the interfaces that tag its frames later, and the bridge drops untagged frames"
	}
	return ""
}

// bridgeProbe is one more port of a bridge.
type bridgeProbe struct {
	vlan bridge.VLAN
	not  int // the VLAN that a port is in by default; 0: none
}

func (p bridgeProbe) join(ctx context.Context, m *plan.Machine, s Verify, inner *rtnl.Link, k *rtnl.Conn, ns *os.File) error {
	master, err := m.Find(plan.OnHost, s.on)
	if err != nil {
		return fault.Explain("find", s.on, err)
	}
	port, err := s.pair(m, inner, ns, master)
	if err != nil {
		return err
	}
	if !p.vlan.IsZero() {
		if err := (SetPortVLAN{port: s.probe, not: p.not, VLAN: p.vlan}).Do(ctx, m); err != nil {
			return err
		}
	}
	if err := s.raise(m, port, k); err != nil {
		return err
	}
	return AwaitForwarding{port: s.probe, bridge: s.on}.Do(ctx, m)
}

func (bridgeProbe) leave(context.Context, *plan.Machine, Verify) error { return nil }

// Detached plans for what stood for ports that go: rules, VLAN filtering, and the
// bridge itself.
func (linuxBridge) Detached(d build.Departure, r *build.Removal) {
	unpin(d, r)
	dropFilters(d, r)
	leaveBridges(d, r)
}

// leaveBridges plans for what bridges are good for no more once ports have left them.
func leaveBridges(d build.Departure, r *build.Removal) {
	for _, index := range slices.Sorted(maps.Keys(d.There.Bridges)) {
		s := d.There.Bridges[index]
		rest := slices.DeleteFunc(slices.Clone(s.Ports), func(l *rtnl.Link) bool { return d.Ports[l.Index] })
		if len(rest) == len(s.Ports) {
			continue // nothing of this bridge goes
		}
		oursStay := func(that func(*rtnl.Link) bool) bool {
			return slices.ContainsFunc(rest, func(l *rtnl.Link) bool { return guestPort(l) && that(l) })
		}
		for _, rule := range s.Firewall.OursFor(s.Name, "") {
			if !oursStay(func(l *rtnl.Link) bool { return rule.Port == "" || l.Name == rule.Port }) {
				r.Steps = append(r.Steps, DelRule{rule})
			}
		}
		if TurnedOn(s.Link) && !oursStay(func(l *rtnl.Link) bool { return s.VLANs[l.Index] != "" }) {
			r.Last = append(r.Last, UnfilterVLANs{s.Name})
		}
		rest = leaveUplink(s.Name, s.Uplink, rest, r)
		if plan.IsOurs(s.Link) && len(rest) == 0 && !s.InUse && !ours.Wanted(s.Link) {
			r.Links = append(r.Links, ours.DelLink{Name: s.Name, Index: s.Index})
		}
	}
}

// GC plans for filters and rules that stand for no port, and for bridges of ours that nobody uses.
func (linuxBridge) GC(f build.GCFacts, r *build.Removal) {
	collectFilters(f, r)
	collectPins(f, r)
	uplinks := collectVXLANs(f, r)
	for _, rule := range f.Rules {
		if br := f.Named(rule.Bridge); br == nil || !hasPort(f, br, true, rule.Port, nil) {
			r.Steps = append(r.Steps, DelRule{rule})
		}
	}
	for _, l := range f.Links {
		if l.Kind != "bridge" {
			continue
		}
		if TurnedOn(l) && !filtered(f, l) {
			r.Links = append(r.Links, UnfilterVLANs{l.Name})
		}
		if plan.IsOurs(l) && !hasPort(f, l, false, "", uplinks) && !ours.InUse(l.Index, f.Addrs) && !ours.Wanted(l) {
			r.Links = append(r.Links, ours.DelLink{Name: l.Name, Index: l.Index})
		}
	}
}

// hasPort reports whether a link stays plugged into a bridge, but for uplinks that go; of ours
// alone, and of one name, if so asked.
func hasPort(f build.GCFacts, bridge *rtnl.Link, ours bool, name string, going map[int]bool) bool {
	return slices.ContainsFunc(f.Links, func(l *rtnl.Link) bool {
		_, goes := f.Abandoned[l.Index]
		return l.Master == bridge.Index && !goes && !going[l.Index] && (guestPort(l) || !ours) && (name == "" || l.Name == name)
	})
}

// filtered reports whether a port of ours that stays has a VLAN on the bridge.
func filtered(f build.GCFacts, br *rtnl.Link) bool {
	return slices.ContainsFunc(f.Links, func(l *rtnl.Link) bool {
		_, goes := f.Abandoned[l.Index]
		return l.Master == br.Index && guestPort(l) && !goes && VLANOf(f.VLANs[l.Index], br) != ""
	})
}

// Look reads who else is on the bridge, and what the host's firewall does with frames
// that cross it.
func (linuxBridge) Look(ctx context.Context, o *build.Observer, _ *plan.Machine, s spec.Spec, f *build.Facts) {
	lookAtUplink(o, s, lookAtPorts(o, s, f), f)
	lookAtFilter(o, s, f)
	if o.Err != nil {
		return
	}
	err := o.Host.Run(func() (err error) {
		f.Firewall, err = o.Rules.Observe(ctx, firewallQuery(s, *f))
		return err
	})
	if err != nil && s.NoFirewall && ctx.Err() == nil {
		f.FirewallUnread = err.Error()
		err = nil
	}
	o.Err = build.WithHint(fault.Explain("read", "the firewall", err), "--no-firewall attaches without looking at it")
}

// LookAhead reads what Look will ask of the host, before it is known who the guest is:
// the Observer's kernel and its Reading remember it. There is nothing to be read for
// kinds that take as long to look at as one question takes.
func LookAhead(ctx context.Context, o *build.Observer, s spec.Spec, base *rtnl.Link) {
	f := build.Facts{Base: base, GuestNS: -1}
	if SettleKind(s.HostIF, f) != spec.KindBridge {
		return
	}
	lookAtPorts(o, s, &f)
	_ = o.Host.Run(func() error { return o.Rules.Prepare(ctx, firewallQuery(s, f)) })
}

// lookAtPorts reads the ports of the bridge, and who else is on it.
func lookAtPorts(o *build.Observer, s spec.Spec, f *build.Facts) (ports []*rtnl.Link) {
	if f.Base == nil {
		return nil
	}
	o.Look("the ports of the bridge", func() (err error) { ports, err = o.Host.Ports(f.Base.Index); return err })
	w := watch(o, s, *f)
	if !w.matters() {
		return ports
	}
	if f.Base.VLANFiltering {
		o.Look("the VLANs of the bridge", func() (err error) { w.vlans, err = o.Host.PortVLANs(); return err })
	}
	w.add("the host, on "+f.Base.Name+",", f.Base, -1)
	w.found[0].VLAN = w.untagged(f.Base)
	for _, p := range ports {
		w.port(p)
	}
	f.Stations = w.found
	return ports
}

// firewallQuery asks about the frames of the guest that are to cross the bridge.
func firewallQuery(s spec.Spec, f build.Facts) firewall.Query {
	q := firewall.Query{Bridge: s.HostIF.Name, Port: f.PortName, Addresses: s.Addrs}
	if f.Own != nil {
		q.Port = f.Own.Name
	}
	if f.Base != nil {
		q.Bridge = f.Base.Name // HOSTIF may be an alternative name
		q.CallsIPv4, q.CallsIPv6 = f.Base.NFCallIPv4, f.Base.NFCallIPv6
	}
	for _, family := range []firewall.Family{firewall.IPv4, firewall.IPv6} {
		if s.Has(family == firewall.IPv6) {
			q.Families = append(q.Families, family)
		}
	}
	return q
}
