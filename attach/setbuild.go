package attach

import (
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"slices"

	"github.com/gopipework/gopipework/bridge"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/shell"
	"golang.org/x/sys/unix"
)

// BuildSet decides what changes. What is on the host comes first: a wait for
// duplicate address detection lets the host's lock go.
func BuildSet(s SetSpec, f SetFacts) (Plan, error) {
	if f.Found == nil {
		return Plan{}, fault.New(fault.NotFound, "set", s.IfName+" of "+f.Guest.Name, "there is no such attachment").
			WithHint("gopipework list %s", s.Guest)
	}
	c := newSetter(s, f)
	if f.Found.State != Complete {
		return Plan{}, c.refuse(fault.Conflict, "it is half made").WithHint("attach it again, or detach it")
	}
	for _, plan := range []func() error{c.setVLAN, c.setMTU, c.setShape, c.setAddrs} {
		if err := plan(); err != nil {
			return Plan{}, err
		}
	}
	c.plan.Attachments = []Attachment{c.now}
	return *c.plan, nil
}

// setter is one BuildSet on its way.
type setter struct {
	*builder
	s   SetSpec
	f   SetFacts
	now Attachment // as it will be
}

func newSetter(s SetSpec, f SetFacts) *setter {
	spec := Spec{Guest: s.Guest, IfName: f.Found.Interface.Name, Addrs: s.Addrs, NoDAD: s.NoDAD, MAC: f.Inner.MAC}
	facts := Facts{Inside: f.Inside, Own: f.Found.Port, OwnOn: f.OwnOn, OVS: f.Detach.OVS}
	b := newBuilder(spec, facts, guest, &Plan{})
	b.op, b.kind, b.mtu = "set", Kind(f.Found.Host.Kind), f.Inner.MTU
	return &setter{builder: b, s: s, f: f, now: f.Found.Attachment}
}

// setMTU plans for another, at both ends of a pair and of what shapes it.
func (c *setter) setMTU() error {
	if c.s.MTU == 0 || c.s.MTU == c.f.Inner.MTU {
		return nil
	}
	if c.s.MTU < minMTU6 {
		for _, p := range addressesOf(c.f.Inner, c.f.Addrs) {
			if p.Addr().Is6() && !c.s.HasAddrs {
				return c.refuse(fault.Conflict, "it has the address %s, and IPv6 needs an MTU of %d", p, minMTU6)
			}
		}
	}
	if err := c.checkMTU(c.s.MTU, c.f.On); err != nil {
		return err
	}
	c.warnMTU(c.s.MTU, c.f.On)
	if other, at := c.f.OtherEnd, c.f.Found.Host; other != nil && other.MTU != c.s.MTU {
		c.warn("the other end of the link, %s of %s, has an MTU of %d, and packets that are longer than the lower of the two are lost: %s",
			at.Port, at.Name, other.MTU, shell.Line([]string{"gopipework", "set", at.Name, at.Port, "--mtu", itoa(c.s.MTU)}))
	}
	if own := c.f.Found.Port; own != nil {
		c.add(changeMTU{link: own.Name, mtu: c.s.MTU, was: own.MTU})
	}
	c.add(changeMTU{place: c.place, link: c.f.Inner.Name, mtu: c.s.MTU, was: c.f.Inner.MTU})
	if ifb := c.f.Shaped.Inbound; ifb != nil {
		c.add(changeMTU{place: c.place, link: ifb.Name, mtu: c.s.MTU, was: ifb.MTU})
	}
	c.mtu, c.now.Interface.MTU = c.s.MTU, c.s.MTU
	return nil
}

// setShape plans for another shaping.
func (c *setter) setShape() error {
	have := c.f.Shaped.shaping()
	want := c.s.Shape.on(have)
	if want.Delay == 0 && c.s.Shape.Jitter == nil {
		want.Jitter = 0 // it goes with the delay
	}
	if c.kind == KindVeth && want.RateIn != have.RateIn {
		return c.refuse(fault.Usage, "what one end of a link gets is what the other sends").WithHint("--rate-out, of the other end")
	}
	if err := c.checkShape(want); err != nil {
		return err
	}
	out, was := want.out(c.mtu), have.out(c.f.Inner.MTU)
	if out != was && (out.shapes() || was.shapes()) {
		if err := c.checkRoot(c.enter, c.f.Inner.Name, c.f.Shaped.Out); err != nil {
			return err
		}
		c.add(shapeLink{place: c.place, link: c.f.Inner.Name, want: out, have: was})
	}
	c.now.Shaping = shapingOrNil(want)
	return c.setRateIn(want.in(c.mtu), have.in(c.f.Inner.MTU))
}

// setRateIn plans for another rate of what comes in.
func (c *setter) setRateIn(want, have egress) error {
	ifb := c.f.Shaped.Inbound
	switch {
	case want == have || !want.shapes() && !have.shapes() && ifb == nil:
	case c.shapesPort() && c.f.OwnOn == nil:
		return c.refuse(fault.Conflict, "%s is in no bridge", c.f.Found.Port.Name).
			WithHint("if it is one of Open vSwitch, start that")
	case c.shapesPort():
		if err := c.checkRoot("", c.f.Found.Port.Name, c.f.Shaped.In); err != nil {
			return err
		}
		c.add(shapeLink{link: c.f.Found.Port.Name, want: want, have: have})
	case ifb == nil && c.f.Shaped.Taken:
		return ingressTaken(c.enter, c.f.Inner.Name)
	case ifb == nil:
		c.Spec.Shape.RateIn = &want.rate
		if err := c.checkInbound(); err != nil {
			return err
		}
		c.clearInbound()
		c.add(c.inbound(want))
	case !want.shapes():
		s := c.inbound(have)
		s.ifb = ifb.Name
		c.add(delInbound{s})
	default:
		if err := c.checkRoot(c.enter, ifb.Name, c.f.Shaped.In); err != nil {
			return err
		}
		c.add(shapeLink{place: c.place, link: ifb.Name, want: want, have: have})
	}
	return nil
}

// setVLAN plans for others, where the host's end is a port of a switch.
func (c *setter) setVLAN() error {
	if c.s.VLAN == "" {
		return nil
	}
	if !c.kind.pair() {
		return c.refuse(fault.Usage, "the VLAN of a %s cannot be changed", c.kind).WithHint("detach it, and attach it again")
	}
	var v bridge.VLAN
	if c.s.VLAN != none {
		var err error
		if v, err = bridge.ParseVLAN(c.s.VLAN); err != nil {
			return err
		}
	}
	c.now.Host.VLAN = v.String()
	if c.kind == KindOVS {
		p, ok := c.f.Detach.OVS.Port(c.f.Found.Port.Name)
		switch {
		case !ok || p.Mark == "":
			return c.refuse(fault.Conflict, "%s is no port of ours in Open vSwitch", c.f.Found.Port.Name)
		case !p.Carries(v):
			c.add(changeOVSVLAN{p, v})
		}
		return nil
	}
	return c.setBridgeVLAN(v)
}

func (c *setter) setBridgeVLAN(v bridge.VLAN) error {
	br, port := c.f.OwnOn, c.f.Found.Port
	if br == nil {
		return c.refuse(fault.Conflict, "%s is in no bridge", port.Name)
	}
	switch {
	case v.IsZero() && !br.VLANFiltering:
		return nil
	case !br.VLANFiltering && !isOurs(br) && !c.s.VLANFiltering:
		return c.refuse(fault.Conflict, "%s does not filter VLANs", br.Name).
			WithHint("--vlan-filtering turns it on: its other ports stay in the VLANs that they have, which is %d alone unless somebody changed it", br.DefaultPVID)
	case !br.VLANFiltering:
		c.add(filterVLANs{bridge: br.Name, foreign: !isOurs(br)})
	}
	want := portVLANs(v)
	if v.IsZero() {
		want = portVLANs(bridge.VLAN{PVID: br.DefaultPVID})
	}
	if !slices.Equal(want, c.f.PortVLANs) {
		c.add(changePortVLANs{port: port.Name, want: want, have: c.f.PortVLANs})
	}
	others := slices.ContainsFunc(c.f.Switch.Ports, func(l *rtnl.Link) bool {
		return isOurs(l) && l.Index != port.Index && c.f.Switch.VLANs[l.Index] != ""
	})
	if v.IsZero() && turnedOn(br) && !others {
		c.add(unfilterVLANs{br.Name})
	}
	return nil
}

// setAddrs plans for the list of addresses to be another: the new ones are
// there, and known to be nobody else's, before the old ones go.
func (c *setter) setAddrs() error {
	if !c.s.HasAddrs {
		return nil
	}
	if err := c.checkSource(); err != nil {
		return err
	}
	have := addressesOf(c.f.Inner, c.f.Addrs)
	missing := func(from []netip.Prefix) func(netip.Prefix) bool {
		return func(p netip.Prefix) bool { return slices.Contains(from, p) }
	}
	added := slices.DeleteFunc(slices.Clone(c.s.Addrs), missing(have))
	gone := slices.DeleteFunc(slices.Clone(have), missing(c.s.Addrs))
	if err := c.checkAddrs(added); err != nil {
		return err
	}
	c.now.Interface.Addresses = append([]netip.Prefix{}, c.s.Addrs...)
	c.Spec.Addrs = added
	c.addrSysctls(gone)
	for _, ipv6 := range []bool{false, true} {
		c.addresses(ipv6)
		if err := c.settled(ipv6); err != nil {
			return err
		}
	}
	for _, p := range gone {
		c.add(delAddr{place: c.place, inner: c.f.Inner.Name, prefix: p, behind: behind(have, p), routes: c.routesBy(p.Addr().Is6())})
	}
	return nil
}

// checkSource refuses to change addresses that something else keeps, or has made
// rules for.
func (c *setter) checkSource() error {
	why := ""
	switch {
	case c.f.Lease != nil:
		why = "its address is leased by DHCP"
	case c.f.Client != nil:
		why = c.f.Client.Ask.Client + " keeps its address"
	case c.f.RA:
		why = "its addresses come from a router"
	case c.repliesOwn(c.f.Inner.Index):
		why = "it has source routing, by the addresses that it has"
	}
	if why == "" {
		return nil
	}
	return c.refuse(fault.Conflict, "%s", why).WithHint("gopipework detach %s %s, and attach it with the new addresses", c.Spec.Guest, c.f.Inner.Name)
}

// checkAddrs refuses addresses that collide with others, or that leave a
// gateway out of reach.
func (c *setter) checkAddrs(added []netip.Prefix) error {
	ipv6 := slices.ContainsFunc(c.s.Addrs, func(p netip.Prefix) bool { return p.Addr().Is6() })
	switch {
	case ipv6 && c.f.NoIPv6:
		return c.refuse(fault.Unsupported, "the kernel has no IPv6")
	case ipv6 && c.mtu < minMTU6:
		return c.refuse(fault.Conflict, "its MTU is %d, and IPv6 needs %d", c.mtu, minMTU6).WithHint("--mtu %d", minMTU6)
	}
	for _, p := range added {
		for _, a := range c.f.Addrs {
			if a.Prefix.Addr() == p.Addr() && (a.Index != c.f.Inner.Index || p.Addr().Is6()) {
				return c.refuse(fault.Conflict, "%s is on %s already", a.Prefix, c.linkName(a.Index))
			}
		}
	}
	for _, gw := range gatewaysOf(c.f.Inner.Index, c.f.Routes) {
		reach := func(p netip.Prefix) bool { return p.Contains(gw) }
		if slices.ContainsFunc(addressesOf(c.f.Inner, c.f.Addrs), reach) && !slices.ContainsFunc(c.s.Addrs, reach) {
			return c.refuse(fault.Conflict, "its gateway %s is in the subnet of none of these addresses", gw).
				WithHint("detach it, and attach it with its new gateway")
		}
	}
	return nil
}

// addrSysctls plans for those of the interface that new addresses need. By
// default the kernel deletes, with an address, all others of its subnet that
// came after it.
func (c *setter) addrSysctls(gone []netip.Prefix) {
	set := func(path, value string) {
		if was, ok := c.f.Sysctls[path]; ok && was != value {
			c.add(setSysctl{place: c.place, path: path, value: value, was: was})
		}
	}
	paths := addrSysctls(c.f.Inner.Name)
	if len(gone) > 0 {
		set(paths[0], "1")
	}
	if c.Has(false) {
		set(paths[1], "1")
	}
	if c.Has(true) {
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
func (o *looker) sysctlsOf(k kernel, paths []string) map[string]string {
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
func (c *setter) routesBy(ipv6 bool) (routes []rtnl.Route) {
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

// delAddr takes an address away.
type delAddr struct {
	place
	inner  string
	prefix netip.Prefix
	behind []netip.Prefix // that the kernel puts in its place
	routes []rtnl.Route   // that may go with it
}

func (s delAddr) do(_ context.Context, m *machine) error {
	return addAddr{place: s.place, inner: s.inner, prefix: s.prefix}.undo(context.Background(), m)
}

// undo gives it back, in front of those that were behind it, and the routes that
// went with it.
func (s delAddr) undo(ctx context.Context, m *machine) error {
	again := addAddr{place: s.place, inner: s.inner, prefix: s.prefix, nodad: s.prefix.Addr().Is6()}
	if err := again.do(ctx, m); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	for _, p := range s.behind {
		again.prefix = p
		if err := again.undo(ctx, m); err != nil {
			return err
		}
		if err := again.do(ctx, m); err != nil {
			return err
		}
	}
	for _, r := range s.routes {
		if err := s.kernel(m).AddRoute(r, false); err != nil && !errors.Is(err, unix.EEXIST) {
			return explain("add again route", r.Dst.String(), err)
		}
	}
	return nil
}

func (s delAddr) String() string {
	return s.enter + "ip address del " + s.prefix.String() + " dev " + s.inner
}

// changeMTU changes that of a link.
type changeMTU struct {
	place
	link     string
	mtu, was int // bytes
}

func (s changeMTU) do(_ context.Context, m *machine) error {
	return setLink{place: s.place, name: s.link, set: rtnl.Change{MTU: s.mtu}}.do(context.Background(), m)
}

func (s changeMTU) undo(_ context.Context, m *machine) error {
	err := setLink{place: s.place, name: s.link, set: rtnl.Change{MTU: s.was}}.do(context.Background(), m)
	return ignoreAbsent("set", s.link, err)
}

func (s changeMTU) String() string {
	return s.enter + "ip link set " + s.link + " mtu " + itoa(s.mtu)
}
