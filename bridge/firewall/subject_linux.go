package firewall

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/gopipework/gopipework/internal/shell"
	"github.com/vishvananda/netlink"
)

// subject is whom a look at the rules of one family is about.
type subject struct {
	Query
	family   Family
	bridge   string
	index    int
	filtered bool
	asked    bool // the family matters
}

// newSubject returns a subject. index is the index of the bridge, 0 where there is none.
func newSubject(q Query, family Family, index int, called bool) subject {
	return subject{
		Query: q, family: family, bridge: q.Bridge, index: index,
		filtered: called || family == IPv4 && q.CallsIPv4 || family == IPv6 && q.CallsIPv6,
		asked:    q.Families == nil || slices.Contains(q.Families, family),
	}
}

// maxAddresses bounds for how many addresses of a guest rules are asked.
const maxAddresses = 8

// frames returns those to ask a hook about, of either direction.
func (s subject) frames(at hook, ports bool) (out []bridgedFrame) {
	var own []netip.Prefix
	for _, p := range s.Addresses {
		if p.Addr().Is6() == (s.family == IPv6) && len(own) < maxAddresses {
			own = append(own, p)
		}
	}
	if own == nil {
		own = []netip.Prefix{{}}
	}
	kinds := []carried{data, reply}
	if s.family == IPv6 {
		kinds = append(kinds, solicit, advertise)
	} else if ports {
		kinds = append(kinds, arp)
	}
	out = make([]bridgedFrame, 0, len(own)*len(kinds)*2)
	for _, p := range own {
		for _, what := range kinds {
			for _, to := range []bool{false, true} {
				out = append(out, bridgedFrame{
					family: s.family, bridge: s.bridge, index: s.index, port: s.Port, to: to, what: what, own: p,
					hook: at, ports: ports, isPort: s.isPort, routeTo: s.routeTo,
				})
			}
		}
	}
	return out
}

// through returns those that a chain of single devices sees: what our port takes
// in or gives out.
func (s subject) through(at hook, devices []string) []bridgedFrame {
	covers := func(name string) bool {
		return slices.ContainsFunc(devices, func(d string) bool {
			prefix, many := strings.CutSuffix(d, "*")
			return d == name || many && strings.HasPrefix(name, prefix)
		})
	}
	if s.Port == "" || !covers(s.Port) {
		return nil
	}
	return slices.DeleteFunc(s.frames(at, true), func(f bridgedFrame) bool { return f.to != (at == postRouting) })
}

// isPort tells whether a link is a port of the bridge. What cannot be looked up
// may be one.
func (s subject) isPort(name string) bool {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return !errors.As(err, new(netlink.LinkNotFoundError))
	}
	return s.index != 0 && l.Attrs().MasterIndex == s.index
}

// routeTo returns the index of the interface that packets to an address leave
// by, or 0. For IPv6 the kernel asks for the way by the bridge itself.
func (s subject) routeTo(addr netip.Addr) int {
	var opts netlink.RouteGetOptions
	if addr.Is6() && s.index != 0 {
		opts.OifIndex = s.index
	}
	routes, err := netlink.RouteGetWithOptions(addr.AsSlice(), &opts)
	if (err != nil || len(routes) == 0) && opts.OifIndex != 0 {
		routes, err = netlink.RouteGet(addr.AsSlice())
	}
	if err != nil || len(routes) == 0 {
		return 0
	}
	return routes[0].LinkIndex
}

// subnet returns the guest's of the family, if it is known.
func (s subject) subnet() (netip.Prefix, bool) {
	for _, p := range s.Addresses {
		if p.Addr().Is6() == (s.family == IPv6) {
			return p.Masked(), true
		}
	}
	return netip.Prefix{}, false
}

// route is what a person types to lead the way back to the guests to the bridge.
func (s subject) route() string {
	p, ok := s.subnet()
	switch {
	case !ok:
		return ""
	case s.family == IPv6:
		return fmt.Sprintf("ip -6 route add %s dev %s", p, shell.Quote(s.bridge))
	}
	return fmt.Sprintf("ip route add %s dev %s", p, shell.Quote(s.bridge))
}

// begin returns those frames that begin a connection, the only ones that chains
// of type nat are asked about.
func begin(frames []bridgedFrame) []bridgedFrame {
	return slices.DeleteFunc(frames, func(f bridgedFrame) bool { return f.what != data })
}

// judged returns what is known of a chain that translates addresses. If the host
// is on the guests' subnet too, answers may come back through it. While a guest has
// no address yet, a rule that asks for one is not held against it: Docker has one
// for each of its own networks.
func (s subject) judged(j judgement, translates bool) judgement {
	p, ok := s.subnet()
	if translates && !ok {
		j.doubtful = nil
	}
	if translates && j.drops && j.diverts && (!ok || s.index != 0 && s.routeTo(p.Addr()) == s.index) {
		j.perhaps = true
	}
	return j
}

// in gives frames what earlier rules may have written.
func (w *written) in(frames []bridgedFrame) []bridgedFrame {
	for i := range frames {
		frames[i].written = w
	}
	return frames
}

// remedy is a command of iptables that lets the frames pass a chain.
func (s subject) remedy(tool, table string, at hook) string {
	if table == "nat" {
		if p, ok := s.subnet(); ok {
			return fmt.Sprintf("%s -t nat -I %s 1 -s %s -d %s -j ACCEPT", tool, strings.ToUpper(at.String()), p, p)
		}
		return ""
	}
	in, out := " -i "+shell.Quote(s.bridge), " -o "+shell.Quote(s.bridge)
	words := map[hook]string{preRouting: "PREROUTING 1" + in, forwarding: "FORWARD 1" + in + out, postRouting: "POSTROUTING 1" + out}
	if table == "filter" {
		return tool + " -I " + words[at] + " -j ACCEPT"
	}
	return tool + " -t " + table + " -I " + words[at] + " -j ACCEPT"
}
