package attach

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"

	"github.com/gopipework/gopipework/bridge"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/spec"
	"golang.org/x/sys/unix"
)

// openVSwitchKind plugs a guest into a bridge of Open vSwitch.
type openVSwitchKind struct{ traits }

var openVSwitch = openVSwitchKind{traits{word: KindOVS, pair: true, onHost: true, switches: true, longFrames: true}}

func (openVSwitchKind) claims(name string, f Facts) bool {
	_, is := f.OVS.Bridge(name)
	return is || toMake("ovs", name, f)
}

func (openVSwitchKind) settle(j *job, d *draft) error {
	name := j.HostIF.Name
	if err := j.f.OVS.Require("attach to", name); err != nil {
		return err
	}
	_, isOVS := j.f.OVS.Bridge(name)
	switch found := j.f.Base; {
	case !isOVS && found != nil:
		return j.refuse(fault.Conflict, "%s is there already, and it is not an Open vSwitch bridge but %s", name, describeKind(found)).
			WithHint("choose another name for the bridge")
	case j.Mode != "":
		return j.refuse(fault.Usage, "--mode is for macvlan and ipvlan, and %s is a bridge", name)
	}
	return j.settleVLAN()
}

func (openVSwitchKind) refuseConflicts(j *job) error {
	if p, ok := j.f.OVS.Port(j.names.port); ok && p.Mark == "" {
		return j.refuse(fault.Conflict, "%s is a port of the Open vSwitch bridge %s already", p.Name, p.Bridge).
			WithHint("choose another name for the host's end with -l")
	}
	return j.checkPort()
}

func (openVSwitchKind) join(j *job, d *draft) {
	br := j.ovs(d)
	j.pair(d, "")
	if br.Userspace() {
		d.add(ignoreRouters{j.names.port}) // the kernel hears what ovs-vswitchd does
	}
	d.add(addOVSPort{j.ovsPort()})
	if br.Userspace() {
		d.add(checksums{Place: j.Place, inner: j.names.inner})
	}
	j.sysctls(d)
	j.up(d)
	if br.STP || br.RSTP {
		d.Wait = 2 * br.ForwardDelay
		d.warn("%s runs the spanning tree protocol: a new port may take %s to forward", br.Name, d.Wait)
	}
	d.add(awaitOVS{j.ovsPort(), j.mac()})
}

func (openVSwitchKind) repair(j *job, d *draft) {
	br, _ := j.f.OVS.Bridge(j.HostIF.Name)
	if p, ok := j.f.OVS.Port(j.f.Own.Name); ok && !br.Forwards(p) {
		d.warn("%s does not forward on %s now: its spanning tree protocol has it in state %q", br.Name, p.Name, p.State)
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
func (s awaitOVS) forwarding(ctx context.Context, m *plan.Machine) (br bridge.OVSBridge, now bridge.OVSPort, err error) {
	err = m.Await(ctx, plan.OnHost, func() (bool, error) {
		var o looker
		ovs := o.ovs(ctx, m.Host())
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

func (s awaitOVS) Do(ctx context.Context, m *plan.Machine) error {
	br, now, err := s.forwarding(ctx, m)
	if err != nil {
		return err
	}
	return m.Host().Run(func() error {
		drops, err := now.Drops(ctx, s.mac)
		switch {
		case err != nil && ctx.Err() != nil:
			return err
		case err != nil && br.Secure:
			m.Warn(fmt.Sprintf("%s has fail_mode=secure: whether a flow of it passes on what %s sends is not known: %v", br.Name, s.Name, err))
		case drops:
			m.Warn(fmt.Sprintf("%s drops what %s sends%s; see why: %s", br.Name, s.Name, whyDropped(br), now.TraceCommand(s.mac)))
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

func (s awaitOVS) Undo(context.Context, *plan.Machine) error { return nil }

func (awaitOVS) Nature() plan.Nature { return plan.Passive }

func (s awaitOVS) String() string { return "# wait until " + s.Bridge + " forwards on " + s.Name }

// ovs plans for the bridge, and that nothing of what is to be made stands in
// it already.
func (j *job) ovs(d *draft) bridge.OVSBridge {
	br, ok := j.f.OVS.Bridge(j.HostIF.Name)
	if !ok {
		br = bridge.OVSBridge{Name: j.HostIF.Name, Datapath: j.f.OVS.Datapath(), Ours: true}
		d.add(addOVSBridge{br})
	}
	return br
}

// hostKey is the external_ids key of the host, a network namespace, that a port
// was made on.
const hostKey = "gopipework.host"

// hostID is the cookie of the host's namespace; "" on a kernel that has none.
func hostID(k plan.Kernel) (string, error) {
	cookie, err := k.Cookie()
	if errors.Is(err, unix.ENOPROTOOPT) {
		return "", nil
	}
	return strconv.FormatUint(cookie, 10), err
}

// ovsPort is the port, with the external_ids that pipework gave it.
func (j *job) ovsPort() bridge.OVSPort {
	g := j.f.Guest
	ids := map[string]string{
		"pipework.interface":     j.names.port,
		"pipework.bridge":        j.HostIF.Name,
		"pipework.containerid":   g.ID,
		"pipework.containername": g.Name,
		"pipework.nspid":         itoa(g.PID),
		"pipework.vlan":          j.VLAN,
		hostKey:                  j.f.HostID,
	}
	for key, value := range ids {
		if value == "" || value == "0" {
			delete(ids, key)
		}
	}
	return bridge.OVSPort{
		Bridge: j.HostIF.Name, Name: j.names.port, VLAN: j.vlan, IDs: ids, Mark: plan.MarkOf(g, j.names.inner).String(),
	}
}

func (openVSwitchKind) differ(j *job, differ differ) {
	own := j.f.Own
	if own == nil {
		differ("kind", j.f.Inner.Kind, KindOVS)
		return
	}
	p, ok := j.f.OVS.Port(own.Name)
	switch {
	case ok && p.Bridge != j.HostIF.Name:
		differ("bridge", p.Bridge, j.HostIF.Name)
	case !ok && j.f.OwnOn != nil:
		differ("bridge", j.f.OwnOn.Name, j.HostIF.Name)
	case !ok:
		differ("bridge", "none", j.HostIF.Name)
	case !p.Carries(j.vlan):
		differ("VLAN", spec.OrNone(p.VLAN.String()), spec.OrNone(j.vlan.String()))
	}
	j.portDiffers(differ)
}

// addOVSBridge makes a bridge of Open vSwitch's.
type addOVSBridge struct{ bridge.OVSBridge }

func (s addOVSBridge) Do(ctx context.Context, m *plan.Machine) error {
	return leftOver(m.Host().Run(func() error { return s.Add(ctx) }), s)
}

// undo leaves the bridge to whoever has come to use it meanwhile.
func (s addOVSBridge) Undo(ctx context.Context, m *plan.Machine) error {
	var o looker
	now, ok := o.ovs(ctx, m.Host()).Bridge(s.Name)
	if o.err != nil || !ok || len(now.Ports) > 0 {
		return o.err
	}
	if l := o.byName(m.Host(), s.Name); l != nil {
		// Its own port, a link of the kernel's, is a port of the datapath.
		if used, err := isUsedBut(m, l.Index, fmt.Sprint("master ", l.Master)); err != nil || used {
			return err
		}
	}
	if o.err != nil {
		return o.err
	}
	return m.Host().Run(func() error { return s.Delete(ctx) })
}

func (addOVSBridge) Nature() plan.Nature { return plan.Shared }

func (s addOVSBridge) String() string { return s.AddCommand() }

// ovsInUse tells which bridges of ours somebody has given an address.
func ovsInUse(k plan.Kernel, ovs bridge.OVS) (map[string]bool, error) {
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

func (s delOVSBridge) Do(ctx context.Context, m *plan.Machine) error {
	return addOVSBridge(s).Undo(ctx, m)
}

func (s delOVSBridge) Undo(ctx context.Context, m *plan.Machine) error {
	return addOVSBridge(s).Do(ctx, m)
}

func (delOVSBridge) Nature() plan.Nature { return plan.Undoable }

func (s delOVSBridge) String() string { return s.DeleteCommand() }

// addOVSPort makes the host's end of the pair a port.
type addOVSPort struct{ bridge.OVSPort }

func (s addOVSPort) Do(ctx context.Context, m *plan.Machine) error {
	return leftOver(m.Host().Run(func() error { return s.Add(ctx) }), s)
}

func (s addOVSPort) Undo(ctx context.Context, m *plan.Machine) error {
	return m.Host().Run(func() error { return s.Delete(ctx) })
}

func (addOVSPort) Nature() plan.Nature { return plan.Undoable }

func (s addOVSPort) String() string { return s.AddCommand() }

// delOVSPort takes a port of ours off its bridge. Open vSwitch keeps one whose
// link has gone.
type delOVSPort struct{ bridge.OVSPort }

func (s delOVSPort) Do(ctx context.Context, m *plan.Machine) error { return addOVSPort(s).Undo(ctx, m) }

func (s delOVSPort) Undo(ctx context.Context, m *plan.Machine) error { return addOVSPort(s).Do(ctx, m) }

func (delOVSPort) Nature() plan.Nature { return plan.Undoable }

func (s delOVSPort) String() string { return s.DeleteCommand() }

// leftOver names what a step that failed could not take back itself.
func leftOver(err error, s plan.Step) error {
	if errors.Is(err, bridge.ErrLeft) {
		return plan.WithResidue(err, bridge.ErrLeft, []plan.Step{s})
	}
	return err
}

// checksums has the kernel compute those of what the guest sends. The datapath
// of ovs-vswitchd passes frames on as they are, and a packet whose checksum was
// left to a card that is not there is thrown away by who gets it: ping works,
// TCP does not.
type checksums struct {
	plan.Place
	inner string
}

func (s checksums) Do(_ context.Context, m *plan.Machine) error {
	err := s.Kernel(m).SetTxChecksum(s.Index(m, s.inner), false)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil // it leaves none to a card
	}
	return fault.Explain("turn off checksum offload of", s.inner, err)
}

func (s checksums) Undo(context.Context, *plan.Machine) error { return nil }

func (checksums) Nature() plan.Nature { return plan.Undoable }

func (s checksums) String() string { return s.Enter + "ethtool -K " + s.inner + " tx off" }

// setVLAN plans another VLAN for the port.
func (openVSwitchKind) setVLAN(c change, d *draft, v bridge.VLAN) error {
	p, ok := c.f.Detach.OVS.Port(c.f.Found.Port.Name)
	switch {
	case !ok || p.Mark == "":
		return c.refuse(fault.Conflict, "%s is no port of ours in Open vSwitch", c.f.Found.Port.Name)
	case !p.Carries(v):
		d.add(changeOVSVLAN{p, v})
	}
	return nil
}

// changeOVSVLAN puts a port of ours into another VLAN.
type changeOVSVLAN struct {
	bridge.OVSPort
	want bridge.VLAN
}

func (s changeOVSVLAN) Do(ctx context.Context, m *plan.Machine) error {
	err := m.Host().Run(func() error { return s.SetVLAN(ctx, s.want) })
	if err == nil {
		return nil
	}
	// A command that was ended in the middle may have done it.
	undoing, cancel := context.WithTimeout(context.Background(), plan.UndoTimeout)
	defer cancel()
	return plan.Half(err, s.Undo(undoing, m), s)
}

func (s changeOVSVLAN) Undo(ctx context.Context, m *plan.Machine) error {
	return m.Host().Run(func() error { return s.SetVLAN(ctx, s.VLAN) })
}

func (changeOVSVLAN) Nature() plan.Nature { return plan.Undoable }

func (s changeOVSVLAN) String() string { return s.SetVLANCommand(s.want) }

func (openVSwitchKind) prober(j *job) (prober, string) {
	return ovsProbe{vlan: j.vlan, hostID: j.f.HostID}, onlyTagged(j)
}

// ovsProbe is one more port of a bridge of Open vSwitch.
type ovsProbe struct {
	vlan   bridge.VLAN
	hostID string
}

func (p ovsProbe) join(ctx context.Context, m *plan.Machine, s verify, inner *rtnl.Link, k *rtnl.Conn, ns *os.File) error {
	link, err := s.pair(m, inner, ns, 0)
	if err != nil {
		return err
	}
	port := p.port(s)
	if err := m.Host().Run(func() error { return errors.Join(port.Delete(ctx), port.Add(ctx)) }); err != nil {
		return err
	}
	if err := s.raise(m, link, k); err != nil {
		return err
	}
	_, _, err = awaitOVS{OVSPort: port}.forwarding(ctx, m)
	return err
}

func (p ovsProbe) leave(ctx context.Context, m *plan.Machine, s verify) error {
	return m.Host().Run(func() error { return p.port(s).Delete(ctx) })
}

// port is the probe port. gc removes one that a killed run has left there, as it does
// with every port of ours whose link has gone.
func (p ovsProbe) port(s verify) bridge.OVSPort {
	port := bridge.OVSPort{Bridge: s.on, Name: s.probe, VLAN: p.vlan, Mark: plan.MarkWord + " verify"}
	if p.hostID != "" {
		port.IDs = map[string]string{hostKey: p.hostID}
	}
	return port
}

// detached plans for the records of ports that go, and for bridges that we made and
// that have no port any more.
func (openVSwitchKind) detached(d departure, r *removal) {
	going := map[string]bool{}
	for _, c := range d.chosen {
		if c.Port == nil {
			continue
		}
		if p, ok := d.f.OVS.Port(c.Port.Name); ok && p.Mark != "" {
			r.steps = append(r.steps, delOVSPort{p})
			going[p.Name] = true
		}
	}
	for _, br := range d.f.OVS.Bridges {
		stays := func(p bridge.OVSPort) bool { return !going[p.Name] }
		if br.Ours && len(br.Ports) > 0 && !slices.ContainsFunc(br.Ports, stays) && !d.f.InUse[br.Name] {
			r.last = append(r.last, delOVSBridge{br})
		}
	}
}

// gc plans for ports whose link has gone, or goes, and for bridges that we made, that
// keep no port, and that nobody has given an address.
func (openVSwitchKind) gc(f GCFacts, r *removal) {
	for _, p := range f.OVS.OurPorts() {
		if !f.stays(p) {
			r.steps = append(r.steps, delOVSPort{p})
		}
	}
	for _, br := range f.OVS.Bridges {
		l := f.named(br.Name)
		if br.Ours && !slices.ContainsFunc(br.Ports, f.stays) && l != nil && !inUse(l.Index, f.Addrs) {
			r.last = append(r.last, delOVSBridge{br})
		}
	}
}

// stays reports whether a port has a use. Open vSwitch may serve several
// network namespaces of a machine, each a host of its own; one whose link is not
// here is ours to judge only if we have made it here.
func (f GCFacts) stays(p bridge.OVSPort) bool {
	l := f.named(p.Name)
	if l != nil {
		_, goes := f.Abandoned[l.Index]
		return !goes
	}
	host, known := p.IDs[hostKey]
	return p.Mark == "" || known && host != f.HostID || !known && p.Number > 0
}
