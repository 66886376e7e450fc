package survey

import (
	"cmp"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/gopipework/gopipework/internal/graph"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/kind"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/spec"
	"golang.org/x/sys/unix"
)

// end is a link in its namespace.
type end struct {
	*space
	*rtnl.Link
}

// drafting makes a graph of what was surveyed.
type drafting struct {
	*surveyed
	out   graph.Graph
	taken map[string]bool       // IDs
	ids   map[*rtnl.Link]string // of the nodes of links
}

// graph returns the graph of what was surveyed.
func (s *surveyed) graph() graph.Graph {
	d := drafting{surveyed: s, taken: map[string]bool{}, ids: map[*rtnl.Link]string{}}
	d.out = graph.Graph{Nodes: []graph.Node{}, Links: []graph.Link{}, Warnings: s.warned}
	for _, l := range s.host.links {
		if s.host.shows(l) {
			d.hostNode(l)
		}
	}
	d.ovsNodes()
	shown := s.shown()
	for _, in := range s.spaces {
		if shown[in] {
			d.guestNodes(in)
		}
	}
	d.unseenNodes()
	d.linksOf(s.host)
	d.ovsLinks()
	for _, in := range s.spaces {
		if shown[in] {
			d.linksOf(in)
		}
	}
	d.out.Sort()
	return d.out
}

// shown returns the namespaces that are this host's: what is connected to it, to what is
// connected to that, and so on, and what has a name. Where the host is itself a container,
// the machine outside is no guest of it, and neither is what else is connected to that.
func (s *surveyed) shown() map[*space]bool {
	named := map[uint64]bool{}
	for _, g := range s.known {
		named[g.NetNS] = true
	}
	beside := map[*space][]*space{}
	var next []*space
	for _, in := range s.spaces {
		onHost := named[in.inode]
		for _, l := range in.links {
			if other := in.byID[l.PeerNS]; other != nil && in.third(l) {
				beside[in], beside[other] = append(beside[in], other), append(beside[other], in)
			}
			onHost = onHost || l.PeerNS >= 0 && l.PeerNS == in.hostID
		}
		if onHost {
			next = append(next, in)
		}
	}
	shown := map[*space]bool{}
	for len(next) > 0 {
		in := next[0]
		if next = next[1:]; shown[in] || in.inode == s.outside {
			continue
		}
		shown[in] = true
		next = append(next, beside[in]...)
	}
	return shown
}

// tunnels are the kinds of link that send by others.
var tunnels = []string{
	"vxlan", "geneve", "bareudp", "gre", "gretap", "ip6gre", "ip6gretap", "erspan", "ip6erspan", "ipip", "sit", "ip6tnl",
	"vti", "vti6", "xfrm", "wireguard", "gtp", "amt", "l2tpeth", "ovpn",
}

// shows reports whether a link is worth a node: not lo, not what the kernel and Open vSwitch
// have for themselves, and not the idle tunnel that a module makes in every namespace.
func (in *space) shows(l *rtnl.Link) bool {
	idle := !l.Up && l.Master == 0 && l.Peer == 0 && l.Under == 0 && !ours.InUse(l.Index, in.addrs)
	switch {
	case l.Loopback, l.Kind == "ifb", l.Kind == "nlmon", l.Name == "ovs-system", l.Name == "ovs-netdev":
		return false
	}
	return !idle || !slices.Contains(tunnels, l.Kind)
}

// paired reports whether a link is an end of a pair.
func paired(l *rtnl.Link) bool { return l.Kind == "veth" || l.Kind == "netkit" }

// kindOf returns what a link of the host is.
func (s *surveyed) kindOf(l *rtnl.Link) graph.Kind {
	if _, is := s.ovs.Bridge(l.Name); is {
		return graph.OVS
	}
	switch l.Kind {
	case "bridge":
		return graph.Bridge
	case "vrf":
		return graph.VRF
	case "bond", "team":
		return graph.Bond
	case "vlan", "ipoib", "macsec":
		return graph.VLAN
	case "macvlan", "macvtap", "ipvlan", "ipvtap":
		return graph.Port
	case "veth", "netkit":
		if s.leadsOut(l) {
			return graph.Card
		}
		return graph.Port
	case "tun":
		if l.Type == unix.ARPHRD_ETHER { // a tap: that of a virtual machine
			return graph.Port
		}
		return graph.Tunnel
	}
	if slices.Contains(tunnels, l.Kind) {
		return graph.Tunnel
	}
	return graph.Card
}

// leadsOut reports whether an end of a pair is what connects this host to the outside,
// because the host is itself a container: the other end is on the machine, or it cannot be
// seen and the default route goes there.
func (s *surveyed) leadsOut(l *rtnl.Link) bool {
	if plan.IsOurs(l) || l.PeerNS < 0 || l.Master != 0 {
		return false
	}
	if _, unseen := s.unseen[l.Index]; unseen {
		return slices.ContainsFunc(s.host.routes, func(r rtnl.Route) bool { return r.Default() && r.Index == l.Index })
	}
	return slices.ContainsFunc(s.spaces, func(in *space) bool {
		return in.inode == s.outside && slices.ContainsFunc(in.links, func(o *rtnl.Link) bool { return o.PeerNS == in.hostID && o.Peer == l.Index && paired(o) })
	})
}

// unique returns an ID that no other node has.
func (d *drafting) unique(id string) string {
	for n, whole := 2, id; d.taken[id]; n++ {
		id = whole + "#" + strconv.Itoa(n)
	}
	d.taken[id] = true
	return id
}

// node describes a link.
func (in *space) node(l *rtnl.Link) graph.Node {
	n := graph.Node{
		Name: l.Name, Ours: plan.Attached(l), State: graph.Up,
		Type: l.Kind, Mode: l.Mode, Index: l.Index, MAC: l.MAC.String(), MTU: l.MTU,
		Addresses: ours.AddressesIn(l, in.addrs), Gateway: ours.GatewaysIn(l.Index, in.routes),
	}
	switch {
	case !l.Up:
		n.State = graph.Down
	case !l.Carrier:
		n.State = graph.NoCarrier
	}
	switch {
	case l.VLAN != 0:
		n.VLAN = kind.TagWord(spec.KindVLAN, l.VLAN)
	case l.PKey != 0:
		n.VLAN = kind.TagWord(spec.KindIPoIB, int(l.PKey))
	}
	return n
}

func (d *drafting) hostNode(l *rtnl.Link) {
	n := d.host.node(l)
	n.ID, n.Kind = d.unique("host/"+l.Name), d.kindOf(l)
	n.Ours = plan.IsOurs(l) // an alias of the host can be anybody's
	if master := d.host.at[l.Master]; master != nil && master.Kind == "bridge" {
		n.VLAN = cmp.Or(n.VLAN, kind.VLANOf(d.vlans[l.Index], master))
	}
	if b, is := d.ovs.Bridge(l.Name); is {
		n.Ours = b.Ours
	}
	if p, is := d.ovs.Port(l.Name); is {
		n.VLAN = cmp.Or(n.VLAN, p.VLAN.String())
	}
	if _, parked := plan.ParseParked(l.Alias); parked && n.Ours {
		n.State = graph.Parked
	}
	d.ids[l] = n.ID
	d.out.Nodes = append(d.out.Nodes, n)
}

// ovsNodes adds the Open vSwitch bridges that have no link: ovs-vswitchd could not make them.
func (d *drafting) ovsNodes() {
	for _, b := range d.ovs.Bridges {
		if d.hostID(b.Name) == "" {
			d.out.Nodes = append(d.out.Nodes, graph.Node{ID: d.unique("host/" + b.Name), Kind: graph.OVS, Name: b.Name, Ours: b.Ours, State: graph.Down})
		}
	}
}

// hostID returns the ID of the host's node with that name, or "".
func (d *drafting) hostID(name string) string {
	for _, n := range d.out.Nodes {
		if n.Name == name && n.Kind != graph.Guest && n.Kind != graph.Interface {
			return n.ID
		}
	}
	return ""
}

// guestNodes adds a guest and its interfaces.
func (d *drafting) guestNodes(in *space) {
	known := d.named(in)
	var links []*rtnl.Link
	for _, l := range in.links {
		if in.shows(l) {
			links = append(links, l)
		}
	}
	if len(links) == 0 && len(known) == 0 {
		return
	}
	if len(known) == 0 {
		known = append(known, d.nameless(in))
	}
	id := d.guestNode(known, in, "")
	for _, l := range links {
		n := in.node(l)
		n.ID, n.Kind, n.Parent = d.unique(id+"/"+l.Name), graph.Interface, id
		d.ids[l] = n.ID
		d.out.Nodes = append(d.out.Nodes, n)
	}
}

// guestNode adds the node of a guest, known by these names, and returns its ID. in is nil if
// its namespace was not found.
func (d *drafting) guestNode(known []guests.GuestInfo, in *space, state graph.State) string {
	g := known[0]
	n := graph.Node{ID: d.unique("guest/" + g.Word()), Kind: graph.Guest, Name: g.Name, Word: g.Word(), State: state}
	for _, also := range known[1:] {
		n.Also = append(n.Also, also.Word())
	}
	if g.Runtime == "" {
		n.Word = "" // no word means it
	}
	if in != nil {
		n.NetNS, n.PID = in.inode, in.pid
	}
	d.out.Nodes = append(d.out.Nodes, n)
	return n.ID
}

// named returns what engines and names call a namespace.
func (s *surveyed) named(in *space) (all []guests.GuestInfo) {
	for _, g := range s.known {
		if g.NetNS == in.inode {
			all = append(all, g)
		}
	}
	return all
}

// nameless returns what to call a namespace that no engine knows: as what attached it did,
// or by a process or a path.
func (s *surveyed) nameless(in *space) guests.GuestInfo {
	for _, l := range in.links {
		if port := s.host.at[l.Peer]; paired(l) && l.PeerNS >= 0 && l.PeerNS == in.hostID && port != nil && plan.IsOurs(port) {
			if m, ok := plan.ParseMark(port.Alias); ok && m.Runtime != "pid" {
				return m.Guest()
			}
		}
	}
	if in.pid == 0 {
		return guests.GuestInfo{Runtime: "path", Name: filepath.Clean(in.path)}
	}
	pid := strconv.Itoa(in.pid)
	return guests.GuestInfo{Runtime: "pid", ID: pid, Name: in.runs}
}

// unseenNodes adds the guests whose namespaces were not found, as far as the host's ends of
// their pairs show them.
func (d *drafting) unseenNodes() {
	byNS := map[string]string{} // IDs of guests
	for _, l := range d.host.links {
		other, is := d.unseen[l.Index]
		if !is || d.kindOf(l) == graph.Card {
			continue
		}
		state := graph.Unseen
		m, marked := plan.ParseMark(l.Alias)
		if !marked {
			if m, marked = plan.ParseParked(l.Alias); marked {
				state = graph.Parked
			}
		}
		g := guests.GuestInfo{Name: "not visible from here"}
		key := "#" + strconv.Itoa(l.PeerNS)
		if marked && plan.IsOurs(l) {
			g = m.Guest()
			key = g.Word()
		}
		id := byNS[key]
		if id == "" {
			id = d.guestNode([]guests.GuestInfo{g}, nil, state)
			byNS[key] = id
		}
		n := (&space{}).node(other)
		if g.Runtime != "" {
			n.Name = m.IfName
		}
		n.ID, n.Kind, n.Parent, n.Ours = d.unique(id+"/"+n.Name), graph.Interface, id, plan.IsOurs(l)
		d.out.Nodes = append(d.out.Nodes, n)
		d.link(n.ID, d.ids[l], graph.Pair, plan.IsOurs(l), "")
	}
}

// link adds a link, unless one of its ends has no node.
func (d *drafting) link(from, to string, k graph.LinkKind, isOurs bool, vlan string) {
	if from != "" && to != "" {
		d.out.Links = append(d.out.Links, graph.Link{From: from, To: to, Kind: k, Ours: isOurs, VLAN: vlan})
	}
}

// linksOf adds the links that lead from the interfaces of one namespace.
func (d *drafting) linksOf(in *space) {
	for _, l := range in.links {
		id := d.ids[l]
		if id == "" {
			continue
		}
		if master := in.at[l.Master]; master != nil {
			d.link(id, d.ids[master], graph.Member, d.joined(in, l), d.vlanOf(in, l))
		}
		to := d.leadsTo(in, l)
		if to.Link == nil || to.Link == l {
			continue
		}
		other := d.ids[to.Link]
		switch {
		case !paired(l):
			k := graph.On
			if slices.Contains(tunnels, l.Kind) {
				k = graph.Under
			}
			d.link(id, other, k, plan.Attached(l), "")
		case to.space == d.host && in != d.host:
			k := graph.Pair
			d.link(id, other, k, plan.IsOurs(to.Link), "")
		case id < other: // the other end leads here
			d.link(id, other, graph.Wire, plan.IsOurs(l) && plan.IsOurs(to.Link), "")
		}
	}
}

// leadsTo returns the other end of a link of a pair, or what a link is on.
func (d *drafting) leadsTo(in *space, l *rtnl.Link) end {
	index := l.Peer
	if l.Kind == "vxlan" {
		index = l.Under
	}
	where := in
	switch {
	case index == 0:
		return end{}
	case l.PeerNS >= 0 && in == d.host:
		return end{} // a pair leads here from the guest
	case l.PeerNS >= 0 && l.PeerNS == in.hostID:
		where = d.host
	case l.PeerNS >= 0:
		where = in.byID[l.PeerNS]
	}
	if where == nil {
		return end{}
	}
	return end{where, where.at[index]}
}

// joined reports whether a link was made a port by gopipework.
func (d *drafting) joined(in *space, l *rtnl.Link) bool {
	if in != d.host {
		return plan.IsOurs(l)
	}
	m, uplink := ours.UplinkMarkOf(l)
	return plan.IsOurs(l) || uplink && d.host.at[l.Master].Name == m.Bridge
}

// vlanOf returns what a port of a bridge of the host carries.
func (d *drafting) vlanOf(in *space, l *rtnl.Link) string {
	if in != d.host {
		return ""
	}
	return kind.VLANOf(d.vlans[l.Index], in.at[l.Master])
}

// ovsLinks adds the links of the ports of Open vSwitch bridges.
func (d *drafting) ovsLinks() {
	for _, b := range d.ovs.Bridges {
		to := d.hostID(b.Name)
		for _, p := range b.Ports {
			d.link(d.hostID(p.Name), to, graph.Member, p.Mark != "", p.VLAN.String())
		}
	}
}
