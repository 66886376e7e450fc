package hostbridge

import (
	"fmt"
	"slices"
	"strings"

	"github.com/gopipework/gopipework/bridge"
	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guestnet"
	"github.com/gopipework/gopipework/internal/kind"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/spec"
	"golang.org/x/sys/unix"
)

// job is what is asked for and what is there.
type job struct {
	spec.BridgeSpec
	there  Facts
	link   *rtnl.Link        // the bridge; nil: it is not there
	ovs    *bridge.OVSBridge // the same, of Open vSwitch; nil: it is a Linux bridge, or is to be made
	isOVS  bool              // it is, or will be, an Open vSwitch bridge
	uplink *rtnl.Link        // nil: there is none asked for, or it is not there
	vxlan  spec.VXLAN        // that is asked for as the uplink
}

func (j *job) refuse(code fault.Code, format string, args ...any) *fault.Error {
	return fault.New(code, "set up bridge", j.Name, format, args...)
}

// made reports whether the bridge is, or will be, of our making.
func (j *job) made() bool {
	if j.ovs != nil {
		return j.ovs.Ours
	}
	return j.link == nil || plan.IsOurs(j.link)
}

// Build decides how the host comes to have on the bridge what s asks for, and nothing else
// that was set for the same origin.
func Build(s spec.BridgeSpec, f Facts) (build.Plan, error) {
	j := &job{BridgeSpec: s, there: f, link: f.named(s.Name), uplink: f.named(s.Uplink)}
	var d build.Draft
	var err error
	if spec.IsVXLAN(s.Uplink) {
		if j.vxlan, err = spec.ParseVXLAN(s.Uplink); err != nil {
			return build.Plan{}, err
		}
	}
	if err := j.settle(); err != nil {
		return build.Plan{}, err
	}
	if err := j.checkUplink(&d); err != nil {
		return build.Plan{}, err
	}
	if err := j.checkAddrs(&d); err != nil {
		return build.Plan{}, err
	}
	j.planBridge(&d)
	last := j.planLeaving(&d)
	j.planUplink(&d)
	j.planAddrs(&d)
	d.Steps = append(d.Steps, last...)
	return d.Plan, nil
}

// settle finds out what kind of bridge it is, and refuses what is not one.
func (j *job) settle() error {
	if br, is := j.there.OVS.Bridge(j.Name); is {
		j.ovs, j.isOVS = &br, true
	}
	switch l := j.link; {
	case j.ovs != nil:
	case l == nil && strings.HasPrefix(j.Name, "ovs"):
		j.isOVS = true
		if err := j.there.OVS.Require("set up bridge", j.Name); err != nil {
			return err
		}
	case l != nil && l.Kind != "bridge":
		return j.refuse(fault.Conflict, "%s exists already, and is not a bridge but %s", j.Name, ours.DescribeKind(l)).
			WithHint("choose another name for the bridge")
	case l != nil && l.Name != j.Name:
		return j.refuse(fault.Conflict, "it is another name of %s", l.Name).WithHint("call it %s in the file", l.Name)
	}
	if o := j.origin(); o.Claims() && o != j.there.Origin {
		return j.refuse(fault.Conflict, "it belongs to %s", o).
			WithHint("leave out its address and uplink, or first take them from there: gopipework destroy %s", strings.TrimPrefix(string(o), "file:"))
	}
	return nil
}

// origin returns who asks for the bridge that is there; "": nobody.
func (j *job) origin() spec.Origin {
	switch {
	case j.ovs != nil:
		return spec.Origin(j.ovs.Origin)
	case j.link != nil:
		m, _ := ours.BridgeMarkOf(j.link)
		return m.Origin
	}
	return ""
}

// checkUplink refuses an uplink that cannot be a port of the bridge, or that the host uses.
func (j *job) checkUplink(d *build.Draft) error {
	l, v := j.uplink, j.there.VXLAN.Link
	switch {
	case j.vxlan.Asked():
		return j.checkVXLAN()
	case j.Uplink == "" || l != nil && j.isPort(l):
		return nil
	case build.IsVXLAN(v) && marked(v) && !kind.EmptiedVXLAN(v, j.there.Links):
		return j.refuse(fault.Conflict, "attachments still use its uplink %s, by which %s would reach other hosts", v.Name, j.Uplink).
			WithHint("detach them first: gopipework list")
	case l == nil:
		return j.checkMissing()
	case build.IsVXLAN(l):
		return j.refuse(fault.Conflict, "gopipework made its uplink %s for another bridge", l.Name).WithHint("name a VXLAN of its own: uplink: vxlan:VNI,local=A")
	case l.Name == j.Name:
		return j.refuse(fault.Usage, "it cannot be its own uplink")
	}
	refuse := func(format string, args ...any) *fault.Error {
		return j.refuse(fault.Conflict, "its uplink %s %s", l.Name, fmt.Sprintf(format, args...))
	}
	if p, is := j.there.OVS.Port(l.Name); is {
		return refuse("is a port of the Open vSwitch bridge %s", p.Bridge).WithHint("take it out there first: ovs-vsctl del-port %s %s", p.Bridge, l.Name)
	}
	_, isOVS := j.there.OVS.Bridge(l.Name)
	m, marked := ours.UplinkMarkOf(l)
	switch {
	case l.Slave != "":
		return refuse("is a port of the %s %s", l.Slave, j.there.name(l.Master)).
			WithHint("name %s as the uplink, or take it out there first: ip link set dev %s nomaster", j.there.name(l.Master), l.Name)
	case marked && m.Bridge != j.Name:
		return refuse("was made the uplink of %s for %s, and is in no bridge now", m.Bridge, m.Origin).
			WithHint("gopipework destroy %s", strings.TrimPrefix(string(m.Origin), "file:"))
	case l.Loopback:
		return refuse("is the loopback interface, which cannot be a port")
	case l.Kind == "bridge" || isOVS || l.Kind == "openvswitch":
		return refuse("is a bridge itself").WithHint("join two bridges by a veth pair, and name its end as the uplink")
	case l.Type != unix.ARPHRD_ETHER:
		return refuse("has no Ethernet frames, and cannot be a port")
	case plan.IsOurs(l) && l.Kind != "vlan":
		return refuse("is an end of an attachment").WithHint("gopipework list")
	case l.Kind == "ipvlan" || l.Kind == "ipvtap" || (l.Kind == "macvlan" || l.Kind == "macvtap") && l.Mode != "passthru":
		return refuse("is a %s, which hears only what is for its own address", l.Kind).WithHint("name the card that it is on")
	}
	for _, u := range j.there.Users {
		switch u.Kind {
		case "macvlan", "macvtap", "ipvlan", "ipvtap":
			where := "on the host"
			if u.Netns != 0 {
				where = fmt.Sprintf("in the namespace %d", u.Netns)
			}
			return refuse("cannot be a port while %s, a %s %s, is on it", u.Name, u.Kind, where).
				WithHint("detach the guests that use %s first: gopipework list", l.Name)
		}
	}
	return j.checkUse(d, refuse)
}

// isPort reports whether the uplink is a port of the bridge.
func (j *job) isPort(l *rtnl.Link) bool {
	if j.isOVS {
		p, is := j.there.OVS.Port(l.Name)
		return is && p.Bridge == j.Name
	}
	return j.link != nil && l.Master == j.link.Index
}

// checkUse refuses an uplink by which the host is reached, unless it is forced.
func (j *job) checkUse(d *build.Draft, refuse func(string, ...any) *fault.Error) error {
	l := j.uplink
	var has []string
	for _, a := range j.there.Addrs {
		if a.Index == l.Index && a.Scope == unix.RT_SCOPE_UNIVERSE {
			has = append(has, "the address "+a.Prefix.String())
		}
	}
	if slices.ContainsFunc(j.there.Routes, func(r rtnl.Route) bool {
		return r.Default() && (r.Index == l.Index || slices.ContainsFunc(r.Hops, func(h rtnl.Hop) bool { return h.Index == l.Index }))
	}) {
		has = append(has, "the host's default route")
	}
	switch what := strings.Join(has, " and "); {
	case what != "" && !j.Force:
		return refuse("has %s, and the addresses and routes of a port do not work: a host that is reached by it would be cut off", what).
			WithHint("with \"force: true\" it is taken all the same; to keep the host reachable, move its address to the bridge in the configuration of the host")
	case what != "":
		d.Warn("%s has %s, and the addresses and routes of a port do not work: what goes by them is cut off until it is returned", l.Name, what)
	}
	switch {
	case j.there.Radio && !j.Force:
		return refuse("is a Wi-Fi card, and an access point takes no frames of other stations from it").
			WithHint("a card that is an access point itself, or uses 4addr, can be a port: \"force: true\"")
	case j.there.Radio:
		d.Warn("%s is a Wi-Fi card: unless it is an access point itself, or uses 4addr, nothing gets through for the guests", l.Name)
	}
	return nil
}

// checkMissing refuses an uplink that is not there, unless it is a VLAN of a card.
func (j *job) checkMissing() error {
	if j.there.Borrower != "" {
		return j.refuse(fault.Conflict, "its uplink %s is lent to %s, as %s", j.Uplink, j.there.Borrower, j.there.Lent).
			WithHint("gopipework detach %s %s", j.there.Borrower, j.there.Lent)
	}
	name, tag, tagged := tagOf(j.Uplink)
	card := j.there.named(name)
	if !tagged || card == nil {
		return j.refuse(fault.NotFound, "the host has no interface %s to be its uplink", j.Uplink).WithHint("ip link shows those that there are; CARD.10 is VLAN 10 of a card")
	}
	if card.Loopback || card.Type != unix.ARPHRD_ETHER {
		return j.refuse(fault.Conflict, "%s cannot have VLANs: it is %s", card.Name, ours.DescribeKind(card))
	}
	for _, l := range j.there.Links {
		if l.Kind == "vlan" && l.VLAN == tag && l.Peer == card.Index && l.PeerNS < 0 {
			return j.refuse(fault.Conflict, "VLAN %d of %s is there already, as %s", tag, card.Name, l.Name).WithHint("uplink: %s", l.Name)
		}
	}
	return nil
}

// planBridge sees to it that the bridge is there, up, and marked.
func (j *job) planBridge(d *build.Draft) {
	half := j.ovs == nil && j.link != nil && plan.IsOurs(j.link) && j.link.Alias == ""
	br := bridge.New{Name: j.Name, MAC: j.there.NewMAC, MTU: build.DefaultMTU, Group: plan.Group, Alias: build.BridgeMark}
	if j.MTU != 0 {
		br.MTU = j.MTU
	} else if j.link != nil {
		br.MTU = j.link.MTU
	} else if j.vxlan.Asked() {
		br.MTU = j.vxlanMTU()
	}
	fresh := false
	switch {
	case j.isOVS && j.ovs == nil:
		d.Add(kind.AddOVSBridge{OVSBridge: bridge.OVSBridge{Name: j.Name, Datapath: j.there.OVS.Datapath(), Ours: true}})
		fresh = true
	case j.isOVS:
	case j.link == nil:
		d.Add(kind.AddBridge{New: br})
		fresh = true
	case half:
		d.Add(plan.SetLink{Name: j.Name, Set: br.Finish()})
		fresh = true
	case j.MTU != 0 && j.MTU != j.link.MTU && j.made():
		d.Add(plan.ChangeMTU{Link: j.Name, MTU: j.MTU, Was: j.link.MTU})
	case j.MTU != 0 && j.MTU != j.link.MTU:
		d.Warn("%s has an MTU of %d, and is not ours to change", j.Name, j.link.MTU)
	}
	if fresh {
		d.Add(guestnet.IgnoreRouters{Name: j.Name})
	}
	if o := j.origin(); j.isOVS && !o.Claims() {
		d.Add(SetOVSOrigin{bridge: j.Name, origin: string(j.there.Origin)})
	} else if !o.Claims() {
		d.Add(ours.AddMark{Link: j.Name, Mark: ours.BridgeMark{Bridge: j.Name, Origin: j.there.Origin}.String()})
	}
	if j.isOVS && fresh || !fresh && j.link != nil && !j.link.Up {
		d.Add(ours.RaiseLink{Name: j.Name})
	}
	if j.link != nil && j.link.STP && j.Uplink != "" && !(j.uplink != nil && j.isPort(j.uplink)) {
		d.Wait = 2 * j.link.ForwardDelay
		d.Warn("%s runs the spanning tree protocol: a new port forwards after %s", j.Name, d.Wait)
	}
}

// planLeaving returns the uplinks of ours that are not asked for any more. last are the
// steps that cannot be undone.
func (j *job) planLeaving(d *build.Draft) (last []plan.Step) {
	for _, u := range j.there.uplinks(j.Name) {
		if u.name != j.Uplink && !(j.vxlan.Asked() && build.IsVXLAN(u.link)) {
			steps, final := u.leave(j.there)
			if stays := u.staysFor(j.there); stays != "" {
				d.Warn("%s", stays)
			}
			d.Steps, last = append(d.Steps, steps...), append(last, final...)
		}
	}
	return last
}

// planUplink sees to it that the uplink is a port of the bridge, and up. One that is a port
// already, and has no mark, is left to whoever made it one.
func (j *job) planUplink(d *build.Draft) {
	l := j.uplink
	switch {
	case j.Uplink == "":
		return
	case j.vxlan.Asked():
		j.planVXLAN(d)
		return
	}
	up := l != nil && l.Up
	if l == nil {
		card, tag, _ := tagOf(j.Uplink)
		d.Add(kind.NewTagged(j.there.named(card).Name, j.Uplink, tag))
		up = true // which the step sees to
	} else if l.MTU < j.mtu() {
		d.Warn("%s has an MTU of %d, and %s one of %d: longer frames do not pass it", l.Name, l.MTU, j.Name, j.mtu())
	}
	joins := l == nil || !j.isPort(l)
	mark := ours.UplinkMark{Bridge: j.Name, WasUp: up, Origin: j.there.Origin}
	switch {
	case !joins:
	case j.isOVS:
		p := bridge.OVSPort{Bridge: j.Name, Name: j.Uplink, Mark: uplinkWord, IDs: map[string]string{
			originKey: string(j.there.Origin), wasKey: mark.Was(), kind.HostKey: j.there.HostID}}
		d.Add(kind.AddOVSPort{OVSPort: p})
	default:
		if l == nil || !marked(l) {
			d.Add(ours.AddMark{Link: j.Uplink, Mark: mark.String()})
		}
		d.Add(kind.PlugInto(j.Uplink, j.Name))
	}
	j.planTrunk(d)
	if !up {
		d.Add(ours.SetUp{Link: j.Uplink})
	}
	switch {
	case up && l != nil && !l.Carrier:
		d.Warn("%s: nothing can be heard on it", plan.NoCarrier(l.Name))
	case joins || !up:
		d.Add(AwaitUplink{uplink: j.Uplink, bridge: j.Name, ovs: j.isOVS})
	}
}

// marked reports whether a link has the mark of an uplink.
func marked(l *rtnl.Link) bool {
	_, is := ours.UplinkMarkOf(l)
	return is
}

// mtu is that of the bridge.
func (j *job) mtu() int {
	switch {
	case j.isOVS:
		return 0 // it follows that of its ports
	case j.MTU != 0 && j.made():
		return j.MTU
	case j.link != nil:
		return j.link.MTU
	}
	return build.DefaultMTU
}

// planTrunk has the uplink carry the VLANs of the guests, with their tags. The VLAN of a
// card carries none.
func (j *job) planTrunk(d *build.Draft) {
	if !j.VLANFiltering || j.isOVS || j.uplink == nil || j.uplink.Kind == "vlan" || j.link != nil && !j.link.CanFilter {
		return // a port of an Open vSwitch bridge carries all of them
	}
	not, have := 1, []rtnl.PortVLAN(nil)
	if j.link != nil {
		not = j.link.DefaultPVID
	}
	if j.isPort(j.uplink) {
		if !marked(j.uplink) {
			return // it is not ours
		}
		have = j.there.VLANs[j.uplink.Index]
	}
	const most = 4094
	t := Trunk{port: j.Uplink}
	for _, r := range []rtnl.PortVLAN{{First: 1, Last: not - 1}, {First: not + 1, Last: most}} {
		covered := func(h rtnl.PortVLAN) bool { return h.First <= r.First && r.Last <= h.Last }
		if r.First <= r.Last && !slices.ContainsFunc(have, covered) {
			t.VLANs = append(t.VLANs, r)
		}
	}
	if t.VLANs != nil {
		d.Add(t)
	}
}
