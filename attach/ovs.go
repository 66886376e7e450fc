package attach

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"

	"github.com/gopipework/gopipework/bridge"
	"github.com/gopipework/gopipework/internal/fault"
	"golang.org/x/sys/unix"
)

// ovsBridge plugs a guest into a bridge of Open vSwitch.
type ovsBridge struct{}

var _ plug = ovsBridge{}

func (ovsBridge) settle(b *builder) error {
	name := b.HostIF.Name
	if err := b.f.OVS.Require("attach to", name); err != nil {
		return err
	}
	_, isOVS := b.f.OVS.Bridge(name)
	switch found := b.f.Base; {
	case !isOVS && found != nil:
		return b.refuse(fault.Conflict, "%s is there already, and it is not an Open vSwitch bridge but %s", name, describeKind(found)).
			WithHint("choose another name for the bridge")
	case b.Mode != "":
		return b.refuse(fault.Usage, "--mode is for macvlan and ipvlan, and %s is a bridge", name)
	}
	return b.settleVLAN()
}

func (ovsBridge) free(b *builder) error {
	if p, ok := b.f.OVS.Port(b.names.port); ok && p.Mark == "" {
		return b.refuse(fault.Conflict, "%s is a port of the Open vSwitch bridge %s already", p.Name, p.Bridge).
			WithHint("choose another name for the host's end with -l")
	}
	return b.checkPort()
}

func (ovsBridge) join(b *builder) {
	br := b.ovs()
	b.pair("")
	if br.Userspace() {
		b.add(ignoreRouters{b.names.port}) // the kernel hears what ovs-vswitchd does
	}
	b.add(addOVSPort{b.ovsPort()})
	if br.Userspace() {
		b.add(checksums{place: b.place, inner: b.names.inner})
	}
	b.sysctls()
	b.up()
	if br.STP || br.RSTP {
		b.plan.Wait = 2 * br.ForwardDelay
		b.warn("%s runs the spanning tree protocol: a new port may take %s to forward", br.Name, b.plan.Wait)
	}
	b.add(awaitOVS{b.ovsPort(), b.mac()})
}

func (ovsBridge) keep(b *builder) {
	br, _ := b.f.OVS.Bridge(b.HostIF.Name)
	if p, ok := b.f.OVS.Port(b.f.Own.Name); ok && !br.Forwards(p) {
		b.warn("%s does not forward on %s now: its spanning tree protocol has it in state %q", br.Name, p.Name, p.State)
	}
}

// awaitOVS waits until the bridge forwards on the port, and then asks
// ovs-vswitchd what its flows do with a broadcast of the guest's. That they drop
// it is a warning alone: who writes flows by hand, or has a controller write
// them, often has to have the port first.
type awaitOVS struct {
	bridge.OVSPort
	mac net.HardwareAddr
}

// forwarding waits, and returns the bridge and the port as they are then.
func (s awaitOVS) forwarding(ctx context.Context, m *machine) (br bridge.OVSBridge, now bridge.OVSPort, err error) {
	err = m.await(ctx, host, func() (bool, error) {
		var o looker
		ovs := o.ovs(ctx, m.sides[host])
		if o.err != nil {
			return false, o.err
		}
		var there bool
		br, _ = ovs.Bridge(s.Bridge)
		if now, there = ovs.Port(s.Name); !there || now.Bridge != s.Bridge {
			return false, fault.New(fault.Gone, "wait for", s.Name, "somebody took it off %s", s.Bridge)
		}
		return br.Forwards(now), nil
	})
	return br, now, err
}

func (s awaitOVS) do(ctx context.Context, m *machine) error {
	br, now, err := s.forwarding(ctx, m)
	if err != nil {
		return err
	}
	return m.sides[host].Run(func() error {
		drops, err := now.Drops(ctx, s.mac)
		switch {
		case err != nil && ctx.Err() != nil:
			return err
		case err != nil && br.Secure:
			m.warn(fmt.Sprintf("%s has fail_mode=secure: whether a flow of it passes on what %s sends is not known: %v", br.Name, s.Name, err))
		case drops:
			m.warn(fmt.Sprintf("%s drops what %s sends%s; see why: %s", br.Name, s.Name, whyDropped(br), now.TraceCommand(s.mac)))
		}
		return nil
	})
}

// whyDropped is the most common reason.
func whyDropped(br bridge.OVSBridge) string {
	switch {
	case br.Secure && br.Controlled:
		return ": it has fail_mode=secure, and its controller has written no flow for it"
	case br.Secure:
		return ": it has fail_mode=secure, no controller, and no flow for it (ovs-ofctl add-flow " + br.Name + " actions=NORMAL)"
	}
	return ", by its flows"
}

func (s awaitOVS) undo(context.Context, *machine) error { return nil }

func (s awaitOVS) String() string { return "# wait until " + s.Bridge + " forwards on " + s.Name }

// ovs plans for the bridge, and that nothing of what is to be made stands in
// it already.
func (b *builder) ovs() bridge.OVSBridge {
	br, ok := b.f.OVS.Bridge(b.HostIF.Name)
	if !ok {
		br = bridge.OVSBridge{Name: b.HostIF.Name, Datapath: b.f.OVS.Datapath(), Ours: true}
		b.add(addOVSBridge{br})
	}
	return br
}

// hostKey is the external_ids key of the host, a network namespace, that a port
// was made on.
const hostKey = "gopipework.host"

// hostID is the cookie of the host's namespace; "" on a kernel that has none.
func hostID(k kernel) (string, error) {
	cookie, err := k.Cookie()
	if errors.Is(err, unix.ENOPROTOOPT) {
		return "", nil
	}
	return strconv.FormatUint(cookie, 10), err
}

// ovsPort is the port, with the external_ids that pipework gave it.
func (b *builder) ovsPort() bridge.OVSPort {
	g := b.f.Guest
	ids := map[string]string{
		"pipework.interface":     b.names.port,
		"pipework.bridge":        b.HostIF.Name,
		"pipework.containerid":   g.ID,
		"pipework.containername": g.Name,
		"pipework.nspid":         itoa(g.PID),
		"pipework.vlan":          b.VLAN,
		hostKey:                  b.f.HostID,
	}
	for key, value := range ids {
		if value == "" || value == "0" {
			delete(ids, key)
		}
	}
	return bridge.OVSPort{
		Bridge: b.HostIF.Name, Name: b.names.port, VLAN: b.vlan, IDs: ids, Mark: g.mark(b.names.inner).String(),
	}
}

func (ovsBridge) differ(b *builder, differ differ) {
	own := b.f.Own
	if own == nil {
		differ("kind", b.f.Inner.Kind, KindOVS)
		return
	}
	p, ok := b.f.OVS.Port(own.Name)
	switch {
	case ok && p.Bridge != b.HostIF.Name:
		differ("bridge", p.Bridge, b.HostIF.Name)
	case !ok && b.f.OwnOn != nil:
		differ("bridge", b.f.OwnOn.Name, b.HostIF.Name)
	case !ok:
		differ("bridge", "none", b.HostIF.Name)
	case !p.Carries(b.vlan):
		differ("VLAN", orNoWord(p.VLAN.String()), orNoWord(b.vlan.String()))
	}
	b.portDiffers(differ)
}

// addOVSBridge makes a bridge of Open vSwitch's.
type addOVSBridge struct{ bridge.OVSBridge }

func (s addOVSBridge) do(ctx context.Context, m *machine) error {
	return leftOver(m.sides[host].Run(func() error { return s.Add(ctx) }), s)
}

// undo leaves the bridge to whoever has come to use it meanwhile.
func (s addOVSBridge) undo(ctx context.Context, m *machine) error {
	var o looker
	now, ok := o.ovs(ctx, m.sides[host]).Bridge(s.Name)
	if o.err != nil || !ok || len(now.Ports) > 0 {
		return o.err
	}
	if l := o.byName(m.sides[host], s.Name); l != nil {
		// Its own port, a link of the kernel's, is a port of the datapath.
		if used, err := m.usedBut(l.Index, fmt.Sprint("master ", l.Master)); err != nil || used {
			return err
		}
	}
	if o.err != nil {
		return o.err
	}
	return m.sides[host].Run(func() error { return s.Delete(ctx) })
}

func (addOVSBridge) shared() {}

func (s addOVSBridge) String() string { return s.AddCommand() }

// ovsInUse tells which bridges of ours somebody has given an address.
func ovsInUse(k kernel, ovs bridge.OVS) (map[string]bool, error) {
	used := map[string]bool{}
	var o looker
	for _, br := range ovs.Bridges {
		l := o.byName(k, br.Name)
		if !br.Ours || l == nil {
			continue
		}
		o.look("the addresses of "+br.Name, func() error {
			addrs, err := k.Addrs()
			used[br.Name] = inUse(l.Index, addrs)
			return err
		})
	}
	return used, o.err
}

// delOVSBridge takes one of ours away that has no ports.
type delOVSBridge struct{ bridge.OVSBridge }

func (s delOVSBridge) do(ctx context.Context, m *machine) error { return addOVSBridge(s).undo(ctx, m) }

func (s delOVSBridge) undo(ctx context.Context, m *machine) error { return addOVSBridge(s).do(ctx, m) }

func (s delOVSBridge) String() string { return s.DeleteCommand() }

// addOVSPort makes the host's end of the pair a port.
type addOVSPort struct{ bridge.OVSPort }

func (s addOVSPort) do(ctx context.Context, m *machine) error {
	return leftOver(m.sides[host].Run(func() error { return s.Add(ctx) }), s)
}

func (s addOVSPort) undo(ctx context.Context, m *machine) error {
	return m.sides[host].Run(func() error { return s.Delete(ctx) })
}

func (s addOVSPort) String() string { return s.AddCommand() }

// delOVSPort takes a port of ours off its bridge. Open vSwitch keeps one whose
// link has gone.
type delOVSPort struct{ bridge.OVSPort }

func (s delOVSPort) do(ctx context.Context, m *machine) error { return addOVSPort(s).undo(ctx, m) }

func (s delOVSPort) undo(ctx context.Context, m *machine) error { return addOVSPort(s).do(ctx, m) }

func (s delOVSPort) String() string { return s.DeleteCommand() }

// leftOver names what a step that failed could not take back itself.
func leftOver(err error, s Step) error {
	if errors.Is(err, bridge.ErrLeft) {
		return withResidue(err, bridge.ErrLeft, []Step{s})
	}
	return err
}

// checksums has the kernel compute those of what the guest sends. The datapath
// of ovs-vswitchd passes frames on as they are, and a packet whose checksum was
// left to a card that is not there is thrown away by who gets it: ping works,
// TCP does not.
type checksums struct {
	place
	inner string
}

func (s checksums) do(_ context.Context, m *machine) error {
	err := s.kernel(m).SetTxChecksum(s.index(m, s.inner), false)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil // it leaves none to a card
	}
	return explain("turn off checksum offload of", s.inner, err)
}

func (s checksums) undo(context.Context, *machine) error { return nil }

func (s checksums) String() string { return s.enter + "ethtool -K " + s.inner + " tx off" }

// changeOVSVLAN puts a port of ours into another VLAN.
type changeOVSVLAN struct {
	bridge.OVSPort
	want bridge.VLAN
}

func (s changeOVSVLAN) do(ctx context.Context, m *machine) error {
	err := m.sides[host].Run(func() error { return s.SetVLAN(ctx, s.want) })
	if err == nil {
		return nil
	}
	// A command that was ended in the middle may have done it.
	undoing, cancel := context.WithTimeout(context.Background(), undoTimeout)
	defer cancel()
	return half(err, s.undo(undoing, m), s)
}

func (s changeOVSVLAN) undo(ctx context.Context, m *machine) error {
	return m.sides[host].Run(func() error { return s.SetVLAN(ctx, s.VLAN) })
}

func (s changeOVSVLAN) String() string { return s.SetVLANCommand(s.want) }
