package kind

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/shell"
	"github.com/gopipework/gopipework/internal/spec"
	"golang.org/x/sys/unix"
)

// The VXLAN by which a bridge reaches the same bridge of other hosts (--uplink). It is the
// bridge's, and goes with the last port of ours there, unless a file asks for it.
//
// Without peers it learns nothing: a routing daemon enters who is where, and a station that
// was learned from a frame would contradict it. With peers there is nobody who enters that,
// so it learns.

// ReadUplink looks for the VXLAN of a bridge among its ports.
func ReadUplink(o *build.Looker, k plan.Reader, bridge int) (u build.Uplink) {
	o.Look("the ports of the bridge", func() error {
		ports, err := k.Ports(bridge)
		u.Link = vxlanAmong(ports)
		return err
	})
	ReadFlood(o, k, &u)
	return u
}

// ReadFlood reads the peers of the VXLAN.
func ReadFlood(o *build.Looker, k plan.Reader, u *build.Uplink) {
	if u.Link != nil {
		o.Look("the peers of "+u.Link.Name, func() (err error) { u.Flood, err = k.Flood(u.Link.Index); return err })
	}
}

// vxlanAmong returns that of the ports which is a VXLAN, one of ours if there are several.
func vxlanAmong(ports []*rtnl.Link) (found *rtnl.Link) {
	for _, p := range ports {
		if p.Kind == "vxlan" && (found == nil || build.IsVXLAN(p)) {
			found = p
		}
	}
	return found
}

// UplinkAmong is ReadUplink for ports that were read already, and for a port of ours that may
// be pinned.
func UplinkAmong(o *build.Looker, k plan.Reader, bridge int, ports []*rtnl.Link) (u build.Uplink) {
	u.Link = vxlanAmong(ports)
	ReadFlood(o, k, &u)
	readPins(o, k, bridge, &u)
	return u
}

// lookAtUplink reads what an attach must know of the bridge's uplink.
func lookAtUplink(o *build.Observer, s spec.Spec, f *build.Facts) {
	if f.Base != nil {
		f.Uplink = ReadUplink(&o.Looker, o.Host, f.Base.Index)
	}
	if f.Own != nil && f.Base != nil {
		readPins(&o.Looker, o.Host, f.Base.Index, &f.Uplink)
	}
	if f.Lease != nil {
		o.Look("the host's namespace", func() (err error) { f.Uplink.Host, err = o.Host.Cookie(); return err })
	}
	if s.Uplink.Asked() {
		o.Look("the host's links", func() (err error) { f.Uplink.Links, err = o.Host.Links(); return err })
		o.Look("the host's addresses", func() (err error) { f.Uplink.Addrs, err = o.Host.Addrs(); return err })
	}
}

// checkUplink refuses an uplink that the bridge cannot have, unless the attachment is there:
// then it differs.
func checkUplink(j *build.Job) error {
	u := j.There.Uplink
	is := u.VXLAN()
	switch {
	case !j.Uplink.Asked():
		return nil
	case !j.Traits.Uplinks:
		return notUplinked(j)
	case u.Link != nil && !build.IsVXLAN(u.Link):
		return j.Refuse(fault.Conflict, "%s has a VXLAN already that gopipework did not create: %s", j.HostIF.Name, describeVXLAN(u.Link)).
			WithHint("leave --uplink out: %s reaches other hosts by %s", j.HostIF.Name, u.Link.Name)
	case is.Asked() && is.String() != j.Uplink.String() && !j.Complete():
		return j.Refuse(fault.Conflict, "%s has another uplink already: %s, which is %s", j.HostIF.Name, is, u.Link.Name).
			WithHint("leave --uplink out, or detach all guests of %s first", j.HostIF.Name)
	}
	return CheckVXLAN(j.Uplink, j.HostIF.Name, u, j.Refuse)
}

// notUplinked is why a kind has no uplink.
func notUplinked(j *build.Job) error {
	e := j.Refuse(fault.Usage, "--uplink is for a Linux bridge, and this is of the kind %s", j.Kind)
	if j.Kind != spec.KindOVS || len(j.Uplink.Peers) == 0 {
		return e.WithHint("leave --uplink out")
	}
	return e.WithHint("ovs-vsctl add-port %s vx%d -- set interface vx%d type=vxlan options:key=%d options:remote_ip=%s",
		j.HostIF.Name, j.Uplink.VNI, j.Uplink.VNI, j.Uplink.VNI, j.Uplink.Peers[0])
}

// CheckVXLAN refuses a VXLAN that this host cannot have on a bridge.
func CheckVXLAN(v spec.VXLAN, bridge string, u build.Uplink, refuse func(fault.Code, string, ...any) *fault.Error) error {
	on := linkWith(u, v.Local)
	switch {
	case on == nil:
		return refuse(fault.NotFound, "%s is not an address of this host, so no other host can send to it", v.Local).
			WithHint("ip address show; local= is the address by which the other hosts reach this one")
	case on.Name == bridge:
		return refuse(fault.Conflict, "%s is the host's address on %s itself, and a VXLAN cannot send by the bridge that it is a port of", v.Local, bridge).
			WithHint("name the address of the card that the other hosts are behind")
	}
	for _, l := range u.Links {
		if l.Kind == "vxlan" && l.VXLAN.VNI == v.VNI && l.VXLAN.Port == v.Port && (u.Link == nil || l.Index != u.Link.Index) {
			return refuse(fault.Conflict, "the VNI %d is in use already, by %s", v.VNI, describeVXLAN(l)).
				WithHint("choose another VNI, or attach to the bridge that has it")
		}
	}
	return nil
}

// describeVXLAN says what a VXLAN is, for an error.
func describeVXLAN(l *rtnl.Link) string {
	return fmt.Sprintf("%s (VNI %d, local %s, port %d)", l.Name, l.VXLAN.VNI, spec.OrNone(addrWord(l.VXLAN.Local)), l.VXLAN.Port)
}

func addrWord(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// linkWith returns the link that has an address of the host; nil: none has.
func linkWith(u build.Uplink, a netip.Addr) *rtnl.Link {
	for _, have := range u.Addrs {
		if have.Prefix.Addr() != a {
			continue
		}
		if i := slices.IndexFunc(u.Links, func(l *rtnl.Link) bool { return l.Index == have.Index }); i >= 0 {
			return u.Links[i]
		}
	}
	return nil
}

// UplinkMTU is the longest packet of a guest, in bytes, that the bridge's uplink takes to other
// hosts whole; 0: there is no uplink. An address on the loopback interface does not say which
// card the packets leave by: that of an Ethernet is assumed.
func UplinkMTU(v spec.VXLAN, u build.Uplink) int {
	on := linkWith(u, v.Local)
	switch {
	case v.Asked() && on != nil && !on.Loopback:
		return on.MTU - v.Overhead()
	case v.Asked():
		return build.DefaultMTU - v.Overhead()
	case u.VXLAN().Asked():
		return u.Link.MTU
	}
	return 0
}

// planUplink sees to it that the bridge has the uplink that is asked for, and that it is up.
func planUplink(j *build.Job, d *build.Draft) {
	u := j.There.Uplink
	switch {
	case !j.Uplink.Asked():
		return
	case u.VXLAN().Asked():
		if !u.Link.Up {
			d.Add(ours.RaiseLink{Name: u.Link.Name})
		}
		return
	}
	fits := UplinkMTU(j.Uplink, u)
	if j.MTU > fits {
		d.Warn("an MTU of %d is more than the %d that fit into packets from %s: longer ones are sent in fragments, or lost", j.MTU, fits, j.Uplink.Local)
	}
	mtu := max(fits, j.MTU)
	d.Steps = append(d.Steps, NewUplink(j.HostIF.Name, j.Uplink, u, mtu)...)
	if !j.HalfBridge() {
		LowerBridge(j.There.Base, d, mtu)
	}
	WarnVXLAN(d, j.HostIF.Name, j.Uplink)
}

// LowerBridge plans for the MTU of a bridge of ours not to be more than that of its uplink; the
// kernel lowers that of others, unless somebody has set it.
func LowerBridge(b *rtnl.Link, d *build.Draft, mtu int) {
	if b == nil || b.MTU <= mtu {
		return
	}
	if plan.IsOurs(b) {
		d.Add(plan.ChangeMTU{Link: b.Name, MTU: mtu, Was: b.MTU})
	}
	d.Warn("longer packets than %d bytes do not reach the other hosts; guests that are on %s already have an MTU of up to %d: gopipework set GUEST IFNAME --mtu %d",
		mtu, b.Name, b.MTU, mtu)
}

// WarnVXLAN warns of what a VXLAN is not.
func WarnVXLAN(d *build.Draft, bridge string, v spec.VXLAN) {
	d.Warn("a VXLAN is neither encrypted nor authenticated: whoever can send to UDP port %d of %s is on %s", v.Port, v.Local, bridge)
}

// NewUplink returns the steps that make the VXLAN, also in place of one that is half made.
func NewUplink(bridge string, v spec.VXLAN, u build.Uplink, mtu int) (steps []plan.Step) {
	if build.IsVXLAN(u.Link) {
		steps = append(steps, EndUplink(bridge, u))
	}
	return append(steps, AddVXLAN{VXLAN: v, Name: vxlanName(v.VNI, u), Bridge: bridge, MTU: mtu})
}

// vxlanName is the name of a new VXLAN: made from its number, unless that is taken.
func vxlanName(vni int, u build.Uplink) string {
	base := "vx" + strconv.Itoa(vni)
	name := base
	taken := func(l *rtnl.Link) bool { return l != u.Link && (l.Name == name || slices.Contains(l.AltNames, name)) }
	for n := 2; slices.ContainsFunc(u.Links, taken); n++ {
		name = base + "-" + strconv.Itoa(n)
	}
	return name
}

// uplinkDiffers holds the uplink that is there against the one that is asked for. One that is
// gone is made again.
func uplinkDiffers(j *build.Job, differ build.Differ) {
	if is := j.There.Uplink.VXLAN(); j.Uplink.Asked() && is.Asked() && is.String() != j.Uplink.String() {
		differ(spec.Uplink, is, j.Uplink)
	}
}

// AddVXLAN makes a VXLAN as a port of a bridge, sets it up, and marks it.
type AddVXLAN struct {
	spec.VXLAN
	Name, Bridge string
	MTU          int
}

func (s AddVXLAN) Do(_ context.Context, m *plan.Machine) error {
	master, err := m.Find(plan.OnHost, s.Bridge)
	if err != nil {
		return fault.Explain("find bridge", s.Bridge, err)
	}
	is := rtnl.VXLAN{VNI: s.VNI, Local: s.Local, Port: s.Port, Learning: s.learns()}
	err = m.Host().AddVXLAN(rtnl.NewVXLAN{VXLAN: is, Name: s.Name, MTU: s.MTU, Group: plan.Group, Master: master})
	switch {
	case errors.Is(err, unix.EOPNOTSUPP):
		return fault.New(fault.Unsupported, "make vxlan", s.Name, "%w", err).WithHint("%s", ours.Missing("vxlan"))
	case errors.Is(err, unix.EXFULL):
		return fault.New(fault.Limit, "plug "+s.Name+" into", s.Bridge, "it is full: the kernel gives a bridge 1,023 ports").WithHint("use another bridge")
	case err != nil:
		return fault.Explain("make vxlan", s.Name, err)
	}
	if err = s.setUp(m); errors.Is(err, unix.EADDRINUSE) {
		err = fault.New(fault.Conflict, "set up vxlan", s.Name, "another program has UDP port %d", s.Port).WithHint("see which: ss -nulp sport = %d", s.Port)
	}
	if err != nil {
		return plan.Half(fault.Explain("set up vxlan", s.Name, err), ours.DropNamed(m, "vxlan", s.Name), s)
	}
	return nil
}

// learns reports whether stations are learned from the frames that come.
func (s AddVXLAN) learns() bool { return len(s.Peers) > 0 }

// setUp does the rest to the link that was made.
func (s AddVXLAN) setUp(m *plan.Machine) error {
	l, err := m.Host().LinkByName(s.Name)
	if err != nil {
		return err
	}
	m.Know(plan.OnHost, s.Name, l.Index)
	if err = m.Host().SetLink(l.Index, rtnl.Change{AddrGenNone: true}); err == nil {
		err = m.Host().SetPortSuppress(l.Index, s.learns())
	}
	for _, p := range s.Peers {
		if err == nil {
			err = m.Host().AddFlood(l.Index, p)
		}
	}
	if err == nil {
		err = m.Host().SetLink(l.Index, rtnl.Change{Alias: build.VXLANMark, Up: true})
	}
	return err
}

// Undo leaves it to others who have plugged into the bridge meanwhile.
func (s AddVXLAN) Undo(_ context.Context, m *plan.Machine) error {
	if others, err := othersOn(m, s.Bridge); others || err != nil {
		return err
	}
	return ours.DropNamed(m, "vxlan", s.Name)
}

func (AddVXLAN) Nature() plan.Nature { return plan.Shared }

func (s AddVXLAN) String() string {
	learning, learn := "nolearning", spec.Off
	if s.learns() {
		learning, learn = "learning", spec.On
	}
	lines := []string{
		fmt.Sprintf("ip link add name %s group %d type vxlan id %d local %s dstport %d %s", s.Name, plan.Group, s.VNI, s.Local, s.Port, learning),
		fmt.Sprintf("ip link set dev %s master %s addrgenmode none mtu %d", s.Name, s.Bridge, s.MTU),
		fmt.Sprintf("ip link set dev %s type bridge_slave neigh_suppress on learning %s", s.Name, learn),
	}
	for _, p := range s.Peers {
		lines = append(lines, FloodTo{VXLAN: s.Name, Host: p}.String())
	}
	return strings.Join(append(lines, "ip link set dev "+s.Name+" alias "+shell.Quote(build.VXLANMark)+" up"), "\n")
}

// DelVXLAN deletes a VXLAN of ours, unless a port of ours is on its bridge by then.
type DelVXLAN struct {
	AddVXLAN
	Index int
}

// EndUplink deletes the uplink of ours that a bridge has.
func EndUplink(bridge string, u build.Uplink) DelVXLAN {
	return DelVXLAN{AddVXLAN{VXLAN: u.VXLAN(), Name: u.Link.Name, Bridge: bridge, MTU: u.Link.MTU}, u.Link.Index}
}

func (s DelVXLAN) Do(_ context.Context, m *plan.Machine) error {
	l, err := m.Host().LinkByIndex(s.Index)
	if err != nil || !build.IsVXLAN(l) {
		return fault.IgnoreAbsent("delete", s.Name, err)
	}
	m.Know(plan.OnHost, s.Name, l.Index)
	if l.Master != 0 && l.Alias != "" {
		ports, err := m.Host().Ports(l.Master)
		if err != nil || slices.ContainsFunc(ports, guestPort) {
			return fault.Explain("list the ports beside", s.Name, err)
		}
	}
	m.Forget(plan.OnHost, s.Name)
	return fault.IgnoreAbsent("delete", s.Name, ours.DeleteLink(m.Host(), l.Index))
}

// Undo makes it again, unless somebody used it and it stayed, or it was half made.
func (s DelVXLAN) Undo(ctx context.Context, m *plan.Machine) error {
	if m.Knows(plan.OnHost, s.Name) || !s.Asked() {
		return nil
	}
	return s.AddVXLAN.Do(ctx, m)
}

func (DelVXLAN) Nature() plan.Nature { return plan.Undoable }

func (s DelVXLAN) String() string { return "ip link del dev " + s.Name }

// FloodTo has a VXLAN send frames for unknown stations to one more host.
type FloodTo struct {
	VXLAN string
	Host  netip.Addr
}

func (s FloodTo) Do(_ context.Context, m *plan.Machine) error {
	i, err := m.Find(plan.OnHost, s.VXLAN)
	if err == nil {
		err = m.Host().AddFlood(i, s.Host)
	}
	return fault.Explain("add peer to", s.VXLAN, err)
}

func (s FloodTo) Undo(_ context.Context, m *plan.Machine) error {
	i, err := m.Find(plan.OnHost, s.VXLAN)
	if err == nil {
		err = m.Host().DelFlood(i, s.Host)
	}
	return fault.IgnoreAbsent("delete peer of", s.VXLAN, err)
}

func (FloodTo) Nature() plan.Nature { return plan.Undoable }

func (s FloodTo) String() string {
	return "bridge fdb append 00:00:00:00:00:00 dev " + s.VXLAN + " dst " + s.Host.String()
}

// leaveUplink plans for the VXLAN of a bridge to go once no port of ours is left there. It
// returns whether it stays.
func leaveUplink(bridge string, u build.Uplink, rest []*rtnl.Link, r *build.Removal) (stays bool) {
	if !build.IsVXLAN(u.Link) || slices.ContainsFunc(rest, guestPort) || isMarked(u.Link) {
		return u.Link != nil
	}
	r.Links = append(r.Links, EndUplink(bridge, u))
	return false
}

// EmptiedVXLAN reports whether a VXLAN of ours serves no port of ours any more, as a killed
// detach leaves it.
func EmptiedVXLAN(l *rtnl.Link, all []*rtnl.Link) bool {
	return build.IsVXLAN(l) && !isMarked(l) && !slices.ContainsFunc(all, func(p *rtnl.Link) bool {
		return l.Master != 0 && p.Master == l.Master && guestPort(p)
	})
}

// isMarked reports whether an origin asks for the link as an uplink.
func isMarked(l *rtnl.Link) bool {
	_, is := ours.UplinkMarkOf(l)
	return is
}

// collectVXLANs plans for VXLANs of ours to go that are half made, or serve no port of ours.
func collectVXLANs(f build.GCFacts, r *build.Removal) (going map[int]bool) {
	going = map[int]bool{}
	for _, l := range f.Links {
		serves := func(p *rtnl.Link) bool {
			_, goes := f.Abandoned[p.Index]
			return l.Master != 0 && p.Master == l.Master && guestPort(p) && !goes
		}
		if build.IsVXLAN(l) && (l.Alias == "" || !isMarked(l) && !slices.ContainsFunc(f.Links, serves)) {
			going[l.Index] = true
			r.Links = append(r.Links, EndUplink("", build.Uplink{Link: l}))
		}
	}
	return going
}
