package attach

import (
	"context"
	"errors"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/gopipework/gopipework/bridge"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"golang.org/x/sys/unix"
)

// linuxBridge plugs a guest into a bridge of the kernel's.
type linuxBridge struct{ traits }

var linux = linuxBridge{traits{
	word: KindBridge, pair: true, onHost: true, switches: true, longFrames: true,
	filters: true, firewalled: true, shapesPort: true,
}}

func (linuxBridge) claims(name string, f Facts) bool {
	return f.Base != nil && f.Base.Kind == "bridge" || strings.HasPrefix(name, "br")
}

func (linuxBridge) settle(j *job, d *draft) error {
	h, found := j.HostIF, j.f.Base
	switch {
	case found != nil && found.Kind != "bridge":
		return j.refuse(fault.Conflict, "%s is there already, and it is not a bridge but %s", h.Name, describeKind(found)).
			WithHint("choose another name for the bridge, or macvlan:%s for a macvlan on what is there", found.Name)
	case j.Mode != "":
		return j.refuse(fault.Usage, "--mode is for macvlan and ipvlan, and %s is a bridge", h.Name)
	}
	if err := j.settleVLAN(); err != nil {
		return err
	}
	return j.checkFiltering()
}

func (linuxBridge) refuseConflicts(j *job) error { return j.checkPort() }

func (linuxBridge) join(j *job, d *draft) {
	j.bridge(d)
	j.filtering(d)
	j.firewall(d)
	j.pair(d, j.HostIF.Name)
	j.shapePort(d)
	j.sysctls(d)
	j.up(d)
	d.add(awaitForwarding{port: j.names.port, bridge: j.HostIF.Name})
}

func (linuxBridge) repair(j *job, d *draft) {
	j.bridge(d)
	j.firewall(d)
	if j.unplugged() {
		d.add(plugIn{port: j.f.Own.Name, bridge: j.HostIF.Name})
		d.add(awaitForwarding{port: j.f.Own.Name, bridge: j.HostIF.Name})
	}
}

// unplugged reports whether somebody has taken the host's end off its bridge, and has
// not put it into another.
func (j *job) unplugged() bool {
	if j.f.Own == nil || j.f.Own.Master != 0 {
		return false
	}
	_, inOVS := j.f.OVS.Port(j.f.Own.Name)
	return !inOVS
}

// plugIn makes a link of ours a port of a bridge again.
type plugIn struct{ port, bridge string }

func (s plugIn) Do(_ context.Context, m *plan.Machine) error {
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

func (s plugIn) Undo(_ context.Context, m *plan.Machine) error {
	return fault.IgnoreAbsent("unplug", s.port, m.Host().SetLink(m.Index(plan.OnHost, s.port), rtnl.Change{NoMaster: true}))
}

func (plugIn) Nature() plan.Nature { return plan.Undoable }

func (s plugIn) String() string { return "ip link set dev " + s.port + " master " + s.bridge }

func (linuxBridge) differ(j *job, differ differ) {
	own := j.f.Own
	if own == nil {
		differ("kind", j.f.Inner.Kind, KindBridge)
		return
	}
	if !j.unplugged() && (j.f.Base == nil || own.Master != j.f.Base.Index) {
		there := "none"
		if j.f.OwnOn != nil {
			there = j.f.OwnOn.Name
		}
		differ("bridge", there, j.HostIF.Name)
	}
	j.vlanDiffers(differ)
	j.portDiffers(differ)
}

// ourBridge reports whether the bridge is, or will be, of our making.
func (j *job) ourBridge() bool { return j.f.Base == nil || j.f.Base.Group == plan.Group }

// halfBridge reports whether whoever made it did not get to its end.
func (j *job) halfBridge() bool {
	return j.f.Base != nil && j.f.Base.Group == plan.Group && j.f.Base.Alias == ""
}

// bridge plans for a bridge that is there and up.
func (j *job) bridge(d *draft) {
	br := bridge.New{Name: j.HostIF.Name, MAC: j.f.New.Bridge, MTU: j.mtu, Group: plan.Group, Alias: bridgeMark}
	switch found := j.f.Base; {
	case found == nil:
		d.add(addBridge{br})
		d.add(ignoreRouters{br.Name})
	case j.halfBridge():
		d.add(plan.SetLink{Name: br.Name, Set: br.Finish()})
		d.add(ignoreRouters{br.Name})
	case !found.Up:
		d.add(raiseLink{br.Name})
	}
	if found := j.f.Base; found != nil && found.VLANFiltering && found.DefaultPVID == 0 && j.vlan.IsZero() {
		d.warn("%s filters VLANs and has no default one: it drops what is not tagged", found.Name)
	}
	if found := j.f.Base; found != nil && found.STP {
		d.Wait = 2 * found.ForwardDelay // listening, then learning
		d.warn("%s runs the spanning tree protocol: a new port forwards after %s", found.Name, d.Wait)
	}
}

// firewall plans the rules that let the frames through, where anything on the
// host would drop them.
func (j *job) firewall(d *draft) {
	port := ""
	if !j.ourBridge() {
		port = j.names.port
		if j.f.Own != nil {
			port = j.f.Own.Name
		}
	}
	told := len(d.Warnings)
	defer func() { d.drops = slices.Clone(d.Warnings[told:]) }()
	if j.f.FirewallUnread != "" {
		d.warn("the host's firewall was not looked at: %s", j.f.FirewallUnread)
	}
	rules := j.f.Firewall.Needed(j.HostIF.Name, port)
	d.Warnings = append(d.Warnings, j.f.Firewall.Warnings(j.HostIF.Name)...)
	for _, r := range rules {
		if j.NoFirewall && !j.f.Firewall.Drops(r) {
			continue
		}
		if j.NoFirewall {
			d.warn("the host's firewall drops what crosses %s, and --no-firewall leaves it so; what would open it: %s",
				j.HostIF.Name, r.InsertCommand())
			continue
		}
		d.add(addRule{r})
	}
}

// addBridge makes a bridge, sets it up, and marks it.
type addBridge struct{ bridge.New }

func (s addBridge) Do(_ context.Context, m *plan.Machine) error {
	i, err := s.Add(m.Host())
	if err == nil {
		m.Know(plan.OnHost, s.Name, i)
		return nil
	}
	if errors.Is(err, unix.EOPNOTSUPP) {
		return fault.New(fault.Unsupported, "make bridge", s.Name, "%w", err).
			WithHint("the kernel needs the module bridge (CONFIG_BRIDGE)")
	}
	err = fault.Explain("make bridge", s.Name, err)
	return leftOver(err, s)
}

// undo leaves the bridge to whoever has come to use it meanwhile.
func (s addBridge) Undo(_ context.Context, m *plan.Machine) error {
	i := m.Index(plan.OnHost, s.Name)
	if used, err := isUsed(m, i); err != nil || used {
		return err
	}
	return fault.IgnoreAbsent("delete bridge", s.Name, deleteLink(m.Host(), i))
}

func (addBridge) Nature() plan.Nature { return plan.Shared }

func (s addBridge) String() string { return strings.Join(s.Commands(), "\n") }

// addRule lets frames through the host's firewall.
type addRule struct{ bridge.Rule }

func (s addRule) Do(ctx context.Context, m *plan.Machine) error {
	err := m.Host().Run(func() error { return s.Insert(ctx) })
	if err == nil {
		return nil
	}
	// A command that was ended in the middle may have done it.
	undoing, cancel := context.WithTimeout(context.Background(), plan.UndoTimeout)
	defer cancel()
	return plan.Half(err, s.Undo(undoing, m), s)
}

// undo leaves a rule for the whole bridge to others who have plugged in
// meanwhile.
func (s addRule) Undo(ctx context.Context, m *plan.Machine) error {
	if s.Port == "" {
		if others, err := othersOn(m, s.Bridge); others || err != nil {
			return err
		}
	}
	return m.Host().Run(func() error { return s.Delete(ctx) })
}

func (addRule) Nature() plan.Nature { return plan.Shared }

func (s addRule) String() string { return s.InsertCommand() }

// othersOn reports whether a bridge has a port of ours. Ports that a plan has
// made are gone when it takes back what it did before them.
func othersOn(m *plan.Machine, name string) (bool, error) {
	l, err := m.Host().LinkByName(name)
	if err != nil {
		return false, unlessNotFound(err)
	}
	ports, err := m.Host().Ports(l.Index)
	return slices.ContainsFunc(ports, plan.IsOurs), fault.Explain("list ports of", name, err)
}

// delRule takes such a rule away.
type delRule struct{ bridge.Rule }

func (s delRule) Do(ctx context.Context, m *plan.Machine) error {
	return m.Host().Run(func() error { return s.Delete(ctx) })
}

func (s delRule) Undo(ctx context.Context, m *plan.Machine) error {
	return m.Host().Run(func() error { return s.Insert(ctx) })
}

func (delRule) Nature() plan.Nature { return plan.Undoable }

func (s delRule) String() string { return s.DeleteCommand() }

func (linuxBridge) prober(j *job) (prober, string) {
	p := bridgeProbe{vlan: j.vlan, not: 1}
	if j.f.Base != nil {
		p.not = j.f.Base.DefaultPVID
	}
	return p, onlyTagged(j)
}

// onlyTagged says why nothing can be proven of a port whose frames all have tags; "":
// not all have.
func onlyTagged(j *job) string {
	if j.vlan.PVID == 0 && len(j.vlan.Tagged) > 0 {
		return "the guest's frames are tagged by interfaces that are made later, and the bridge drops what is not tagged"
	}
	return ""
}

// bridgeProbe is one more port of a bridge.
type bridgeProbe struct {
	vlan bridge.VLAN
	not  int // the VLAN that a port is in by default; 0: none
}

func (p bridgeProbe) join(ctx context.Context, m *plan.Machine, s verify, inner *rtnl.Link, k *rtnl.Conn, ns *os.File) error {
	master, err := m.Find(plan.OnHost, s.on)
	if err != nil {
		return fault.Explain("find", s.on, err)
	}
	port, err := s.pair(m, inner, ns, master)
	if err != nil {
		return err
	}
	if !p.vlan.IsZero() {
		if err := (setPortVLAN{port: s.probe, not: p.not, vlan: p.vlan}).Do(ctx, m); err != nil {
			return err
		}
	}
	if err := s.raise(m, port, k); err != nil {
		return err
	}
	return awaitForwarding{port: s.probe, bridge: s.on}.Do(ctx, m)
}

func (bridgeProbe) leave(context.Context, *plan.Machine, verify) error { return nil }

// detached plans for what stood for ports that go: rules, VLAN filtering, and the
// bridge itself.
func (linuxBridge) detached(d departure, r *removal) {
	for _, index := range slices.Sorted(maps.Keys(d.f.Bridges)) {
		s := d.f.Bridges[index]
		rest := slices.DeleteFunc(slices.Clone(s.Ports), func(l *rtnl.Link) bool { return d.ports[l.Index] })
		if len(rest) == len(s.Ports) {
			continue // nothing of this bridge goes
		}
		ours := func(has func(*rtnl.Link) bool) bool {
			return slices.ContainsFunc(rest, func(l *rtnl.Link) bool { return plan.IsOurs(l) && has(l) })
		}
		for _, rule := range s.Firewall.OursFor(s.Name, "") {
			if !ours(func(l *rtnl.Link) bool { return rule.Port == "" || l.Name == rule.Port }) {
				r.steps = append(r.steps, delRule{rule})
			}
		}
		if turnedOn(s.Link) && !ours(func(l *rtnl.Link) bool { return s.VLANs[l.Index] != "" }) {
			r.last = append(r.last, unfilterVLANs{s.Name})
		}
		if plan.IsOurs(s.Link) && len(rest) == 0 && !s.InUse {
			r.links = append(r.links, delLink{s.Name, s.Index})
		}
	}
}

// gc plans for rules that stand for no port, and for bridges of ours that nobody uses.
func (linuxBridge) gc(f GCFacts, r *removal) {
	for _, rule := range f.Rules {
		if br := f.named(rule.Bridge); br == nil || !f.hasPort(br, true, rule.Port) {
			r.steps = append(r.steps, delRule{rule})
		}
	}
	for _, l := range f.Links {
		if l.Kind != "bridge" {
			continue
		}
		if turnedOn(l) && !f.filtered(l) {
			r.links = append(r.links, unfilterVLANs{l.Name})
		}
		if plan.IsOurs(l) && !f.hasPort(l, false, "") && !inUse(l.Index, f.Addrs) {
			r.links = append(r.links, delLink{l.Name, l.Index})
		}
	}
}

// hasPort reports whether a link stays plugged into a bridge; of ours alone, and
// of one name, if so asked.
func (f GCFacts) hasPort(bridge *rtnl.Link, ours bool, name string) bool {
	return slices.ContainsFunc(f.Links, func(l *rtnl.Link) bool {
		_, goes := f.Abandoned[l.Index]
		return l.Master == bridge.Index && !goes && (plan.IsOurs(l) || !ours) && (name == "" || l.Name == name)
	})
}

// filtered reports whether a port of ours that stays has a VLAN on the bridge.
func (f GCFacts) filtered(br *rtnl.Link) bool {
	return slices.ContainsFunc(f.Links, func(l *rtnl.Link) bool {
		_, goes := f.Abandoned[l.Index]
		return l.Master == br.Index && plan.IsOurs(l) && !goes && vlanOf(f.VLANs[l.Index], br) != ""
	})
}

// awaitForwarding waits until the bridge passes frames of the port on: a few
// milliseconds, or twice the forward delay if it runs STP. What is sent before
// is heard by nobody.
type awaitForwarding struct{ port, bridge string }

func (s awaitForwarding) Do(ctx context.Context, m *plan.Machine) error {
	return m.Await(ctx, plan.OnHost, func() (bool, error) {
		l, err := m.Host().LinkByIndex(m.Index(plan.OnHost, s.port))
		if err != nil {
			return false, fault.Explain("find", s.port, err)
		}
		if l.Master != m.Index(plan.OnHost, s.bridge) {
			return false, fault.New(fault.Gone, "wait for", s.port, "somebody took it off %s", s.bridge)
		}
		return l.Forwarding, nil
	})
}

func (s awaitForwarding) Undo(context.Context, *plan.Machine) error { return nil }

func (awaitForwarding) Nature() plan.Nature { return plan.Passive }

func (s awaitForwarding) String() string {
	return "# wait until " + s.bridge + " forwards on " + s.port
}
