package kind

import (
	"cmp"
	"context"
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/gopipework/gopipework/bridge"
	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guestnet"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/spec"
	"golang.org/x/sys/unix"
)

// openVSwitchKind plugs a guest into an Open vSwitch bridge.
type openVSwitchKind struct{ plain }

var openVSwitch = openVSwitchKind{plain{build.Traits{Word: spec.KindOVS, Pair: true, Makes: true, OnHost: true, Switches: true, LongFrames: true, Isolates: true}}}

func (openVSwitchKind) claims(name string, f build.Facts) bool {
	_, is := f.OVS.Bridge(name)
	return is || toMake("ovs", name, f) || isSilent(f)
}

// isSilent reports whether HOSTIF may be an Open vSwitch bridge, and Open vSwitch does not
// answer, as while it is started again: the pair that is there is in no bridge that the
// kernel knows. Taken for a card, HOSTIF would make an attachment that is as asked seem one
// of another kind, and apply and watch would replace it.
func isSilent(f build.Facts) bool {
	if f.OVS.Running || f.Base == nil || !likeOVS(f.Base) || f.Own == nil || f.OwnOn != nil && f.OwnOn.Kind == "bridge" {
		return false
	}
	word, _ := OfPort(f.Own)
	return word == ""
}

// likeOVS reports whether a link is one that an Open vSwitch bridge can have.
func likeOVS(l *rtnl.Link) bool { return l.Kind == "openvswitch" || l.Kind == "tun" }

func (openVSwitchKind) settle(j *build.Job, d *build.Draft) error {
	name := j.HostIF.Name
	if err := j.There.OVS.Require("attach to", name); err != nil {
		return err
	}
	_, isOVS := j.There.OVS.Bridge(name)
	switch found := j.There.Base; {
	case !isOVS && found != nil:
		return j.Refuse(fault.Conflict, "%s exists already, and is not an Open vSwitch bridge but %s", name, ours.DescribeKind(found)).
			WithHint("choose another name for the bridge")
	case j.Mode != "":
		return j.Refuse(fault.Usage, "--mode is for macvlan and ipvlan, but %s is a bridge", name).
			WithHint("leave out --mode, or name a card: macvlan:NAME, ipvlan:NAME")
	}
	return settleVLAN(j)
}

func (openVSwitchKind) RefuseConflicts(j *build.Job) error {
	if p, ok := j.There.OVS.Port(j.Names.Port); ok && p.Mark == "" {
		return j.Refuse(fault.Conflict, "%s is a port of the Open vSwitch bridge %s already", p.Name, p.Bridge).
			WithHint("choose another name for the host's end with -l")
	}
	return checkPort(j)
}

func (openVSwitchKind) fits(s spec.Spec, f build.Facts) bool {
	name := s.HostIF.Name
	if f.Base != nil {
		name = f.Base.Name
	}
	var vlan bridge.VLAN
	var err error
	if s.VLAN != "" {
		vlan, err = bridge.ParseVLAN(s.VLAN)
	}
	p, ok := f.OVS.Port(f.Parked.Port.Name)
	return ok && err == nil && p.Mark != "" && p.Bridge == name && p.Carries(vlan) && p.Protected == s.Isolated
}

func (o openVSwitchKind) Join(j *build.Job, d *build.Draft) {
	br := planOVS(j, d)
	planPair(j, d, "")
	if br.Userspace() {
		d.Add(guestnet.IgnoreRouters{Name: j.Names.Port}) // the kernel hears what ovs-vswitchd does
	}
	if p, ok := j.There.OVS.Port(j.Names.Port); ok && j.Takes() {
		d.Add(TakeOVSPort{ovsPort(j), p})
	} else {
		d.Add(AddOVSPort{ovsPort(j)})
	}
	if br.Userspace() {
		d.Add(Checksums{Place: j.Place, inner: j.Names.Inner})
	}
	guestnet.PlanBeforeUp(j, d)
	guestnet.PlanUp(j, d)
	o.await(j, d)
}

func (openVSwitchKind) Repair(j *build.Job, d *build.Draft) {
	br, _ := j.There.OVS.Bridge(j.HostIF.Name)
	if p, ok := j.There.OVS.Port(j.There.Own.Name); ok && !br.Forwards(p) {
		d.Warn("%s does not forward on %s now: its spanning tree protocol has it in state %q", br.Name, p.Name, p.State)
	}
}

// TakeOver also changes the mark of the port's record, and first: the alias, which says
// who asked, is changed when all else is.
func (openVSwitchKind) TakeOver(j *build.Job, d *build.Draft, mark plan.ChangeMark) {
	if p, ok := j.There.OVS.Port(j.There.Own.Name); ok && p.Mark != "" {
		d.Add(ChangeOVSMark{p, mark.Mark.String()})
	}
	d.Add(mark)
}

// planOVS returns the bridge, and plans it if there is none.
func planOVS(j *build.Job, d *build.Draft) bridge.OVSBridge {
	br := ovsBridge(j)
	if _, ok := j.There.OVS.Bridge(br.Name); !ok {
		d.Add(AddOVSBridge{br})
	}
	return br
}

// ovsBridge is the bridge that is there, or the one that is to be made.
func ovsBridge(j *build.Job) bridge.OVSBridge {
	if br, ok := j.There.OVS.Bridge(j.HostIF.Name); ok {
		return br
	}
	return bridge.OVSBridge{Name: j.HostIF.Name, Datapath: j.There.OVS.Datapath(), Ours: true}
}

// hostKey is the external_ids key of the host, a network namespace, that a port
// was made on.
const hostKey = "gopipework.host"

// HostID is the cookie of the host's namespace; "" on a kernel that has none.
func HostID(k plan.Kernel) (string, error) {
	cookie, err := k.Cookie()
	if errors.Is(err, unix.ENOPROTOOPT) {
		return "", nil
	}
	return strconv.FormatUint(cookie, 10), err
}

// ovsPort is the port, with the external_ids that pipework gave it: it has the whole ID of
// a container.
func ovsPort(j *build.Job) bridge.OVSPort {
	g := j.There.Guest
	ids := map[string]string{
		"pipework.interface":     j.Names.Port,
		"pipework.bridge":        j.HostIF.Name,
		"pipework.containerid":   cmp.Or(g.LongID, g.ID),
		"pipework.containername": g.Name,
		"pipework.nspid":         strconv.Itoa(g.PID),
		"pipework.vlan":          j.VLAN,
		hostKey:                  j.There.HostID,
	}
	for key, value := range ids {
		if value == "" || value == "0" {
			delete(ids, key)
		}
	}
	return bridge.OVSPort{
		Bridge: j.HostIF.Name, Name: j.Names.Port, VLAN: j.SwitchVLAN, IDs: ids, Mark: j.Mark().String(), Protected: j.Isolated,
	}
}

func (openVSwitchKind) Differ(j *build.Job, differ build.Differ) {
	own := j.There.Own
	if own == nil {
		differ("kind", j.There.Inner.Kind, spec.KindOVS)
		return
	}
	p, ok := j.There.OVS.Port(own.Name)
	switch {
	case ok && p.Bridge != j.HostIF.Name:
		differ(spec.OnBridge, p.Bridge, j.HostIF.Name)
	case !ok && j.There.OwnOn != nil:
		differ(spec.OnBridge, j.There.OwnOn.Name, j.HostIF.Name)
	case !ok:
		differ(spec.OnBridge, "none", j.HostIF.Name)
	case !p.Carries(j.SwitchVLAN):
		differ("VLAN", spec.OrNone(p.VLAN.String()), spec.OrNone(j.SwitchVLAN.String()))
	default:
		isolatedDiffers(j, p.Protected, differ)
	}
	portDiffers(j, differ)
}

// OVSInUse tells which bridges of ours somebody has given an address.
func OVSInUse(k plan.Kernel, ovs bridge.OVS) (map[string]bool, error) {
	used := map[string]bool{}
	var o build.Looker
	for _, br := range ovs.Bridges {
		l := o.ByName(k, br.Name)
		if !br.Ours || l == nil {
			continue
		}
		o.Look("the addresses of "+br.Name, func() error {
			addrs, err := k.Addrs()
			used[br.Name] = ours.InUse(l.Index, addrs)
			return err
		})
	}
	return used, o.Err
}

// SetVLAN plans another VLAN for the port.
func (openVSwitchKind) SetVLAN(c build.Change, d *build.Draft, v bridge.VLAN) error {
	p, ok := c.There.Detach.OVS.Port(c.There.Found.Port.Name)
	switch {
	case !ok || p.Mark == "":
		return c.Refuse(fault.Conflict, "%s is not one of our Open vSwitch ports", c.There.Found.Port.Name)
	case !p.Carries(v):
		d.Add(ChangeOVSVLAN{p, v})
	}
	return nil
}

// SetIsolated plans for the port to be protected, as Open vSwitch calls it, or not.
func (openVSwitchKind) SetIsolated(c build.Change, d *build.Draft, on bool) error {
	p, ok := c.There.Detach.OVS.Port(c.There.Found.Port.Name)
	switch {
	case !ok || p.Mark == "":
		return c.Refuse(fault.Conflict, "%s is not one of our Open vSwitch ports", c.There.Found.Port.Name)
	case p.Protected != on:
		d.Add(ProtectOVSPort{p, on})
	}
	return nil
}

func (openVSwitchKind) prober(j *build.Job) (prober, string) {
	return ovsProbe{vlan: j.SwitchVLAN, hostID: j.There.HostID}, onlyTagged(j)
}

// ovsProbe is one more port of an Open vSwitch bridge.
type ovsProbe struct {
	vlan   bridge.VLAN
	hostID string
}

func (p ovsProbe) join(ctx context.Context, m *plan.Machine, s Verify, inner *rtnl.Link, k *rtnl.Conn, ns *os.File) error {
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
	_, _, err = AwaitOVS{OVSPort: port}.forwarding(ctx, m)
	return err
}

func (p ovsProbe) leave(ctx context.Context, m *plan.Machine, s Verify) error {
	return m.Host().Run(func() error { return p.port(s).Delete(ctx) })
}

// port is the probe port. gc removes one that a killed run has left there, as it does
// with every port of ours whose link has gone.
func (p ovsProbe) port(s Verify) bridge.OVSPort {
	port := bridge.OVSPort{Bridge: s.on, Name: s.probe, VLAN: p.vlan, Mark: plan.MarkWord + " verify"}
	if p.hostID != "" {
		port.IDs = map[string]string{hostKey: p.hostID}
	}
	return port
}

// Detached plans for the records of ports that go, and for bridges that we made and
// that have no port any more.
func (openVSwitchKind) Detached(d build.Departure, r *build.Removal) {
	going := map[string]bool{}
	for _, c := range d.Chosen {
		if c.Port == nil {
			continue
		}
		if p, ok := d.There.OVS.Port(c.Port.Name); ok && p.Mark != "" {
			r.Steps = append(r.Steps, DelOVSPort{p})
			going[p.Name] = true
		}
	}
	for _, br := range d.There.OVS.Bridges {
		stays := func(p bridge.OVSPort) bool { return !going[p.Name] }
		if br.Ours && br.Origin == "" && len(br.Ports) > 0 && !slices.ContainsFunc(br.Ports, stays) && !d.There.InUse[br.Name] {
			r.Last = append(r.Last, DelOVSBridge{br})
		}
	}
}

// GC plans for ports whose link has gone, or goes, and for bridges that we made, that
// keep no port, and that nobody has given an address.
func (openVSwitchKind) GC(f build.GCFacts, r *build.Removal) {
	for _, p := range f.OVS.OurPorts() {
		if !stays(f, p) {
			r.Steps = append(r.Steps, DelOVSPort{p})
		}
	}
	for _, br := range f.OVS.Bridges {
		l := f.Named(br.Name)
		if br.Ours && br.Origin == "" && !slices.ContainsFunc(br.Ports, func(p bridge.OVSPort) bool { return stays(f, p) }) && l != nil && !ours.InUse(l.Index, f.Addrs) {
			r.Last = append(r.Last, DelOVSBridge{br})
		}
	}
}

// stays reports whether a port has a use. Open vSwitch may serve several
// network namespaces of a machine, each a host of its own; one whose link is not
// here is ours to judge only if we have made it here.
func stays(f build.GCFacts, p bridge.OVSPort) bool {
	l := f.Named(p.Name)
	if l != nil {
		_, goes := f.Abandoned[l.Index]
		return !goes
	}
	host, known := p.IDs[hostKey]
	return p.Mark == "" || known && host != f.HostID || !known && p.Number > 0
}

// mayBeOVS reports whether Open vSwitch has to be asked: the kind is said, or
// the name is that of a link such as its bridges have, or of none; or the pair
// that is there is in no Linux bridge.
func mayBeOVS(h spec.HostIF, f build.Facts) bool {
	switch {
	case h.Kind == spec.KindOVS, h.Kind == spec.KindPhys, f.Own != nil && (f.OwnOn == nil || f.OwnOn.Kind != "bridge"):
		return true
	case h.Kind != spec.KindAny:
		return false
	case f.Base == nil:
		return strings.HasPrefix(h.Name, "ovs")
	}
	return likeOVS(f.Base)
}

// Look reads who else is on the bridge.
func (openVSwitchKind) Look(_ context.Context, o *build.Observer, _ *plan.Machine, s spec.Spec, f *build.Facts) {
	w := watch(o, s, *f)
	if !w.matters() || f.Base == nil {
		return
	}
	br, ok := f.OVS.Bridge(f.Base.Name)
	w.add("the host, on "+f.Base.Name+",", f.Base, -1)
	if ok {
		for _, p := range br.Ports {
			if l := o.ByName(o.Host, p.Name); l != nil {
				w.vlans = map[int][]rtnl.PortVLAN{l.Index: PortVLANs(p.VLAN)}
				w.port(l)
			}
		}
	}
	f.Stations = w.found
}
