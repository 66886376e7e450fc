package attach

import (
	"errors"
	"io/fs"
	"net/netip"
	"slices"

	"github.com/gopipework/gopipework/bridge"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/shell"
	"github.com/gopipework/gopipework/internal/spec"
)

// BuildSet decides what changes. What is on the host comes first: a wait for
// duplicate address detection lets the host's lock go.
func BuildSet(s SetSpec, f SetFacts) (Plan, error) {
	if f.Found == nil {
		return Plan{}, fault.New(fault.NotFound, "set", s.IfName+" of "+f.Guest.Name, "there is no such attachment").
			WithHint("gopipework list %s", s.Guest)
	}
	c, d := newChange(s, f), &draft{}
	if f.Found.State != Complete {
		return Plan{}, c.refuse(fault.Conflict, "it is half made").WithHint("attach it again, or detach it")
	}
	for _, plan := range []func(*draft) error{c.setVLAN, c.setMTU, c.setShape, c.setAddrs} {
		if err := plan(d); err != nil {
			return Plan{}, err
		}
	}
	d.Attachments = []Attachment{c.attachment()}
	return d.Plan, nil
}

// change is one attachment to change: what is asked, and what is there.
type change struct {
	SetSpec
	f   SetFacts
	job *job // the interface, as an attach that asks for the new addresses sees it
}

func newChange(s SetSpec, f SetFacts) change {
	spec := Spec{Guest: s.Guest, IfName: f.Found.Interface.Name, Addrs: s.Addrs, NoDAD: s.NoDAD, MAC: f.Inner.MAC}
	facts := Facts{Inside: f.Inside, Own: f.Found.Port, OwnOn: f.OwnOn, OVS: f.Detach.OVS}
	j := newJob(spec, facts, plan.InGuest)
	j.op, j.kind, j.mtu = "set", Kind(f.Found.Host.Kind), f.Inner.MTU
	j.plug = kindOf(j.kind)
	if s.MTU != 0 {
		j.mtu = s.MTU
	}
	return change{SetSpec: s, f: f, job: j}
}

// attachment is what will be there.
func (c change) attachment() Attachment {
	a := c.f.Found.Attachment
	a.Interface.MTU = c.job.mtu
	a.Shaping = shapingOrNil(c.shape())
	if c.HasAddrs {
		a.Interface.Addresses = append([]netip.Prefix{}, c.Addrs...)
	}
	if v, err := c.vlan(); err == nil && c.VLAN != "" {
		a.Host.VLAN = v.String()
	}
	return a
}

func (c change) refuse(code fault.Code, format string, args ...any) *fault.Error {
	return c.job.refuse(code, format, args...)
}

// setMTU plans for another, at both ends of a pair and of what shapes it.
func (c change) setMTU(d *draft) error {
	if c.MTU == 0 || c.MTU == c.f.Inner.MTU {
		return nil
	}
	if c.MTU < spec.MinMTU6 {
		for _, p := range addressesOf(c.f.Inner, c.f.Addrs) {
			if p.Addr().Is6() && !c.HasAddrs {
				return c.refuse(fault.Conflict, "it has the address %s, and IPv6 needs an MTU of %d", p, spec.MinMTU6)
			}
		}
	}
	if err := c.job.checkMTU(c.MTU, c.f.On); err != nil {
		return err
	}
	c.job.warnMTU(d, c.MTU, c.f.On)
	if other, at := c.f.OtherEnd, c.f.Found.Host; other != nil && other.MTU != c.MTU {
		d.warn("the other end of the link, %s of %s, has an MTU of %d, and packets that are longer than the lower of the two are lost: %s",
			at.Port, at.Name, other.MTU, shell.Line([]string{"gopipework", "set", at.Name, at.Port, "--mtu", itoa(c.MTU)}))
	}
	if own := c.f.Found.Port; own != nil {
		d.add(plan.ChangeMTU{Link: own.Name, MTU: c.MTU, Was: own.MTU})
	}
	d.add(plan.ChangeMTU{Place: c.job.Place, Link: c.f.Inner.Name, MTU: c.MTU, Was: c.f.Inner.MTU})
	if ifb := c.f.Shaped.Inbound; ifb != nil {
		d.add(plan.ChangeMTU{Place: c.job.Place, Link: ifb.Name, MTU: c.MTU, Was: ifb.MTU})
	}
	return nil
}

// shape is how the link is to be shaped.
func (c change) shape() Shaping {
	want := c.Shape.Apply(c.f.Shaped.shaping())
	if want.Delay == 0 && c.Shape.Jitter == nil {
		want.Jitter = 0 // it goes with the delay
	}
	return want
}

// setShape plans for another shaping.
func (c change) setShape(d *draft) error {
	have, want := c.f.Shaped.shaping(), c.shape()
	if c.job.kind == KindVeth && want.RateIn != have.RateIn {
		return c.refuse(fault.Usage, "what one end of a link gets is what the other sends").WithHint("--rate-out, of the other end")
	}
	if err := c.job.checkShape(want); err != nil {
		return err
	}
	out, was := sent(want, c.job.mtu), sent(have, c.f.Inner.MTU)
	if out != was && (out.shapes() || was.shapes()) {
		if err := c.job.checkRoot(c.job.Enter, c.f.Inner.Name, c.f.Shaped.Out); err != nil {
			return err
		}
		d.add(shapeLink{Place: c.job.Place, link: c.f.Inner.Name, want: out, have: was})
	}
	return c.setRateIn(d, received(want, c.job.mtu), received(have, c.f.Inner.MTU))
}

// setRateIn plans for another rate of what comes in.
func (c change) setRateIn(d *draft, want, have egress) error {
	ifb := c.f.Shaped.Inbound
	switch {
	case want == have || !want.shapes() && !have.shapes() && ifb == nil:
	case c.job.traits().shapesPort && c.f.OwnOn == nil:
		return c.refuse(fault.Conflict, "%s is in no bridge", c.f.Found.Port.Name).
			WithHint("if it is one of Open vSwitch, start that")
	case c.job.traits().shapesPort:
		if err := c.job.checkRoot("", c.f.Found.Port.Name, c.f.Shaped.In); err != nil {
			return err
		}
		d.add(shapeLink{link: c.f.Found.Port.Name, want: want, have: have})
	case ifb == nil && c.f.Shaped.Taken:
		return ingressTaken(c.job.Enter, c.f.Inner.Name)
	case ifb == nil:
		if err := c.job.checkInbound(want.rate); err != nil {
			return err
		}
		c.job.clearInbound(d)
		d.add(c.job.inbound(want))
	case !want.shapes():
		s := c.job.inbound(have)
		s.ifb = ifb.Name
		d.add(delInbound{s})
	default:
		if err := c.job.checkRoot(c.job.Enter, ifb.Name, c.f.Shaped.In); err != nil {
			return err
		}
		d.add(shapeLink{Place: c.job.Place, link: ifb.Name, want: want, have: have})
	}
	return nil
}

// vlan is the one that is asked for.
func (c change) vlan() (bridge.VLAN, error) {
	if c.VLAN == "" || c.VLAN == spec.None {
		return bridge.VLAN{}, nil
	}
	return bridge.ParseVLAN(c.VLAN)
}

// setVLAN plans for others, where the host's end is a port of a switch.
func (c change) setVLAN(d *draft) error {
	if c.VLAN == "" {
		return nil
	}
	v, err := c.vlan()
	if err != nil {
		return err
	}
	return c.job.plug.setVLAN(c, d, v)
}

// setAddrs plans for the list of addresses to be another: the new ones are
// there, and known to be nobody else's, before the old ones go.
func (c change) setAddrs(d *draft) error {
	if !c.HasAddrs {
		return nil
	}
	if err := c.checkSource(); err != nil {
		return err
	}
	have := addressesOf(c.f.Inner, c.f.Addrs)
	missing := func(from []netip.Prefix) func(netip.Prefix) bool {
		return func(p netip.Prefix) bool { return slices.Contains(from, p) }
	}
	added := slices.DeleteFunc(slices.Clone(c.Addrs), missing(have))
	gone := slices.DeleteFunc(slices.Clone(have), missing(c.Addrs))
	if err := c.checkAddrs(added); err != nil {
		return err
	}
	j := *c.job
	j.Addrs = added
	c.addrSysctls(d, added, gone)
	for _, ipv6 := range []bool{false, true} {
		j.addresses(d, ipv6)
		if err := j.settled(d, ipv6); err != nil {
			return err
		}
	}
	for _, p := range gone {
		d.add(plan.DelAddr{Place: c.job.Place, Inner: c.f.Inner.Name, Prefix: p, Behind: behind(have, p), Routes: c.routesBy(p.Addr().Is6())})
	}
	return nil
}

// checkSource refuses to change addresses that something else keeps, or has made
// rules for.
func (c change) checkSource() error {
	why := c.f.kept()
	if why == "" && c.job.repliesOwn(c.f.Inner.Index) {
		why = "it has source routing, by the addresses that it has"
	}
	if why == "" {
		return nil
	}
	return c.refuse(fault.Conflict, "%s", why).WithHint("gopipework detach %s %s, and attach it with the new addresses", c.Guest, c.f.Inner.Name)
}

// checkAddrs refuses addresses that collide with others, or that leave a
// gateway out of reach.
func (c change) checkAddrs(added []netip.Prefix) error {
	ipv6 := slices.ContainsFunc(c.Addrs, func(p netip.Prefix) bool { return p.Addr().Is6() })
	switch {
	case ipv6 && c.f.NoIPv6:
		return c.refuse(fault.Unsupported, "the kernel has no IPv6")
	case ipv6 && c.job.mtu < spec.MinMTU6:
		return c.refuse(fault.Conflict, "its MTU is %d, and IPv6 needs %d", c.job.mtu, spec.MinMTU6).WithHint("--mtu %d", spec.MinMTU6)
	}
	for _, p := range added {
		for _, a := range c.f.Addrs {
			if a.Prefix.Addr() == p.Addr() && (a.Index != c.f.Inner.Index || p.Addr().Is6()) {
				return c.refuse(fault.Conflict, "%s is on %s already", a.Prefix, c.job.linkName(a.Index))
			}
		}
	}
	for _, gw := range gatewaysOf(c.f.Inner.Index, c.f.Routes) {
		reach := func(p netip.Prefix) bool { return p.Contains(gw) }
		if slices.ContainsFunc(addressesOf(c.f.Inner, c.f.Addrs), reach) && !slices.ContainsFunc(c.Addrs, reach) {
			return c.refuse(fault.Conflict, "its gateway %s is in the subnet of none of these addresses", gw).
				WithHint("detach it, and attach it with its new gateway")
		}
	}
	return nil
}

// addrSysctls plans for those of the interface that new addresses need. By
// default the kernel deletes, with an address, all others of its subnet that
// came after it.
func (c change) addrSysctls(d *draft, added, gone []netip.Prefix) {
	set := func(path, value string) {
		if was, ok := c.f.Sysctls[path]; ok && was != value {
			d.add(plan.SetSysctl{Place: c.job.Place, Path: path, Value: value, Was: was})
		}
	}
	paths := addrSysctls(c.f.Inner.Name)
	if len(gone) > 0 {
		set(paths[0], "1")
	}
	if spec.HasFamily(added, false) {
		set(paths[1], "1")
	}
	if spec.HasFamily(added, true) {
		set(paths[2], "0")
		set(paths[3], "1")
		set(paths[5], "0")
		if !c.NoDAD {
			set(paths[4], "0")
		}
	}
}

// addrSysctls are the paths of the sysctls that matter to new addresses.
func addrSysctls(inner string) []string {
	return []string{
		"ipv4/conf/" + inner + "/promote_secondaries",
		"ipv4/conf/" + inner + "/arp_notify",
		"ipv6/conf/" + inner + "/disable_ipv6",
		"ipv6/conf/" + inner + "/ndisc_notify",
		"ipv6/conf/" + inner + "/router_solicitation_delay",
		"ipv6/conf/" + inner + "/autoconf", // a router's prefix would give another, and that be the source
	}
}

// sysctlsOf reads those that there are.
func (o *looker) sysctlsOf(k plan.Kernel, paths []string) map[string]string {
	values := map[string]string{}
	for _, path := range paths {
		o.look("sysctl net/"+path, func() error {
			v, err := k.Sysctl(path)
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			values[path] = v
			return err
		})
	}
	return values
}

// routesBy are the interface's routes of a family that somebody set: they go
// with its last address.
func (c change) routesBy(ipv6 bool) (routes []rtnl.Route) {
	for _, r := range c.f.Routes {
		if r.Index == c.f.Inner.Index && r.Set && r.Dst.Addr().Is6() == ipv6 {
			routes = append(routes, r)
		}
	}
	return routes
}

// behind returns the IPv4 addresses of p's subnet that come after it. The first
// of a subnet is the source of its routes.
func behind(have []netip.Prefix, p netip.Prefix) (after []netip.Prefix) {
	if p.Addr().Is6() {
		return nil
	}
	for _, q := range have[slices.Index(have, p)+1:] {
		if q.Masked() == p.Masked() {
			after = append(after, q)
		}
	}
	return after
}
