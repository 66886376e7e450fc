package attach

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/gopipework/gopipework/bridge"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/rtnl"
	"golang.org/x/sys/unix"
)

// linuxBridge plugs a guest into a bridge of the kernel's.
type linuxBridge struct{}

var _ plug = linuxBridge{}

func (linuxBridge) settle(b *builder) error {
	h, found := b.HostIF, b.f.Base
	switch {
	case found != nil && found.Kind != "bridge":
		return b.refuse(fault.Conflict, "%s is there already, and it is not a bridge but %s", h.Name, describeKind(found)).
			WithHint("choose another name for the bridge, or macvlan:%s for a macvlan on what is there", found.Name)
	case b.Mode != "":
		return b.refuse(fault.Usage, "--mode is for macvlan and ipvlan, and %s is a bridge", h.Name)
	}
	if err := b.settleVLAN(); err != nil {
		return err
	}
	return b.checkFiltering()
}

func (linuxBridge) free(b *builder) error { return b.checkPort() }

func (linuxBridge) join(b *builder) {
	b.bridge()
	b.filtering()
	b.firewall()
	b.pair(b.HostIF.Name)
	b.shapePort()
	b.sysctls()
	b.up()
	b.add(awaitForwarding{port: b.names.port, bridge: b.HostIF.Name})
}

func (linuxBridge) keep(b *builder) {
	b.bridge()
	b.firewall()
	if b.unplugged() {
		b.add(plugIn{port: b.f.Own.Name, bridge: b.HostIF.Name})
		b.add(awaitForwarding{port: b.f.Own.Name, bridge: b.HostIF.Name})
	}
}

// unplugged reports whether somebody has taken the host's end off its bridge, and has
// not put it into another.
func (b *builder) unplugged() bool {
	if b.f.Own == nil || b.f.Own.Master != 0 {
		return false
	}
	_, inOVS := b.f.OVS.Port(b.f.Own.Name)
	return !inOVS
}

// plugIn makes a link of ours a port of a bridge again.
type plugIn struct{ port, bridge string }

func (s plugIn) do(_ context.Context, m *machine) error {
	port, err := m.find(end{host, s.port})
	if err != nil {
		return explain("find", s.port, err)
	}
	master, err := m.find(end{host, s.bridge})
	if err != nil {
		return explain("find bridge", s.bridge, err)
	}
	return explain("plug "+s.port+" into", s.bridge, m.sides[host].SetLink(port, rtnl.Change{Master: master}))
}

func (s plugIn) undo(_ context.Context, m *machine) error {
	return ignoreAbsent("unplug", s.port, m.sides[host].SetLink(m.index[end{host, s.port}], rtnl.Change{NoMaster: true}))
}

func (s plugIn) String() string { return "ip link set dev " + s.port + " master " + s.bridge }

func (linuxBridge) differ(b *builder, differ differ) {
	own := b.f.Own
	if own == nil {
		differ("kind", b.f.Inner.Kind, KindBridge)
		return
	}
	if !b.unplugged() && (b.f.Base == nil || own.Master != b.f.Base.Index) {
		there := "none"
		if b.f.OwnOn != nil {
			there = b.f.OwnOn.Name
		}
		differ("bridge", there, b.HostIF.Name)
	}
	b.vlanDiffers(differ)
	b.portDiffers(differ)
}

// ourBridge reports whether the bridge is, or will be, of our making.
func (b *builder) ourBridge() bool { return b.f.Base == nil || b.f.Base.Group == Group }

// halfBridge reports whether whoever made it did not get to its end.
func (b *builder) halfBridge() bool {
	return b.f.Base != nil && b.f.Base.Group == Group && b.f.Base.Alias == ""
}

// bridge plans for a bridge that is there and up.
func (b *builder) bridge() {
	br := bridge.New{Name: b.HostIF.Name, MAC: b.f.New.Bridge, MTU: b.mtu, Group: Group, Alias: bridgeMark}
	switch found := b.f.Base; {
	case found == nil:
		b.add(addBridge{br})
		b.add(ignoreRouters{br.Name})
	case b.halfBridge():
		b.add(setLink{name: br.Name, set: br.Finish()})
		b.add(ignoreRouters{br.Name})
	case !found.Up:
		b.add(raiseLink{br.Name})
	}
	if found := b.f.Base; found != nil && found.VLANFiltering && found.DefaultPVID == 0 && b.vlan.IsZero() {
		b.warn("%s filters VLANs and has no default one: it drops what is not tagged", found.Name)
	}
	if found := b.f.Base; found != nil && found.STP {
		b.plan.Wait = 2 * found.ForwardDelay // listening, then learning
		b.warn("%s runs the spanning tree protocol: a new port forwards after %s", found.Name, b.plan.Wait)
	}
}

// firewall plans the rules that let the frames through, where anything on the
// host would drop them.
func (b *builder) firewall() {
	port := ""
	if !b.ourBridge() {
		port = b.names.port
		if b.f.Own != nil {
			port = b.f.Own.Name
		}
	}
	told := len(b.plan.Warnings)
	defer func() { b.drops = slices.Clone(b.plan.Warnings[told:]) }()
	if b.f.FirewallUnread != "" {
		b.warn("the host's firewall was not looked at: %s", b.f.FirewallUnread)
	}
	rules := b.f.Firewall.Needed(b.HostIF.Name, port)
	b.plan.Warnings = append(b.plan.Warnings, b.f.Firewall.Warnings(b.HostIF.Name)...)
	for _, r := range rules {
		if b.NoFirewall && !b.f.Firewall.Drops(r) {
			continue
		}
		if b.NoFirewall {
			b.warn("the host's firewall drops what crosses %s, and --no-firewall leaves it so; what would open it: %s",
				b.HostIF.Name, r.InsertCommand())
			continue
		}
		b.add(addRule{r})
	}
}

// addBridge makes a bridge, sets it up, and marks it.
type addBridge struct{ bridge.New }

func (s addBridge) do(_ context.Context, m *machine) error {
	i, err := s.Add(m.sides[host])
	if err == nil {
		m.index[end{host, s.Name}] = i
		return nil
	}
	if errors.Is(err, unix.EOPNOTSUPP) {
		return fault.New(fault.Unsupported, "make bridge", s.Name, "%w", err).
			WithHint("the kernel needs the module bridge (CONFIG_BRIDGE)")
	}
	err = explain("make bridge", s.Name, err)
	return leftOver(err, s)
}

// undo leaves the bridge to whoever has come to use it meanwhile.
func (s addBridge) undo(_ context.Context, m *machine) error {
	i := m.index[end{host, s.Name}]
	if used, err := m.used(i); err != nil || used {
		return err
	}
	return ignoreAbsent("delete bridge", s.Name, deleteLink(m.sides[host], i))
}

func (addBridge) shared() {}

func (s addBridge) String() string { return strings.Join(s.Commands(), "\n") }

// addRule lets frames through the host's firewall.
type addRule struct{ bridge.Rule }

func (s addRule) do(ctx context.Context, m *machine) error {
	err := m.sides[host].Run(func() error { return s.Insert(ctx) })
	if err == nil {
		return nil
	}
	// A command that was ended in the middle may have done it.
	undoing, cancel := context.WithTimeout(context.Background(), undoTimeout)
	defer cancel()
	return half(err, s.undo(undoing, m), s)
}

// undo leaves a rule for the whole bridge to others who have plugged in
// meanwhile.
func (s addRule) undo(ctx context.Context, m *machine) error {
	if s.Port == "" {
		if others, err := m.othersOn(s.Bridge); others || err != nil {
			return err
		}
	}
	return m.sides[host].Run(func() error { return s.Delete(ctx) })
}

func (addRule) shared() {}

func (s addRule) String() string { return s.InsertCommand() }

// othersOn reports whether a bridge has a port of ours. Ports that a plan has
// made are gone when it takes back what it did before them.
func (m *machine) othersOn(name string) (bool, error) {
	l, err := m.sides[host].LinkByName(name)
	if err != nil {
		return false, unlessNotFound(err)
	}
	ports, err := m.sides[host].Ports(l.Index)
	return slices.ContainsFunc(ports, isOurs), explain("list ports of", name, err)
}

// delRule takes such a rule away.
type delRule struct{ bridge.Rule }

func (s delRule) do(ctx context.Context, m *machine) error {
	return m.sides[host].Run(func() error { return s.Delete(ctx) })
}

func (s delRule) undo(ctx context.Context, m *machine) error {
	return m.sides[host].Run(func() error { return s.Insert(ctx) })
}

func (s delRule) String() string { return s.DeleteCommand() }
