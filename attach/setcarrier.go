package attach

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/kind"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/shell"
	"github.com/gopipework/gopipework/internal/spec"
	"golang.org/x/sys/unix"
)

// setCarrier plans for the carrier to be on or off, if that is asked for.
func setCarrier(c build.Change, d *build.Draft, on bool) error {
	if c.Carrier == nil || *c.Carrier != on {
		return nil
	}
	return kind.SetCarrier(c, d, on)
}

// farGuest returns the other guest of a link between two, if its end matters; nil: it does
// not, the interface is no such end, or that guest cannot be found. The caller closes it.
func farGuest(s SetSpec, g guests.Guest, hostNS *os.File) (*guests.Guest, error) {
	if s.Carrier == nil {
		return nil, nil
	}
	k, err := rtnl.Open(g.Namespace)
	if err != nil {
		return nil, fault.Explain("enter", "guest "+g.Name, err)
	}
	defer k.Close()
	l, err := k.LinkByName(s.IfName)
	if err != nil || !plan.IsOurs(l) || l.Kind != "veth" || l.PeerNS < 0 {
		return nil, ours.UnlessNotFound(err)
	}
	if host, err := k.NamespaceID(hostNS); err != nil || host == l.PeerNS {
		return nil, err
	}
	found, err := ours.FindNamespaces(k, []*rtnl.Link{l}, nil)
	ns := found[l.PeerNS]
	if err != nil || ns == nil {
		return nil, err
	}
	return guests.New(guests.GuestInfo{Name: ns.Holder(), PID: ns.PID, Path: ns.Path}, ns.File, nil), nil
}

// foreign returns an interface that gopipework did not create, as if it were an attachment.
// It has a carrier to be set only if its other end is on the host. Both ends must say that
// they are a pair: what the guest says alone is not believed.
func foreign(ctx context.Context, m *plan.Machine, ifName string) ([]build.Pair, error) {
	g, inside := m.Guests[plan.InGuest], m.In(plan.InGuest)
	inner, err := inside.LinkByName(ifName)
	if err != nil {
		return nil, fault.Explain("find", ifName, err)
	}
	end, err := foreignEnd(m, inner)
	if err != nil {
		return nil, err
	}
	if end == nil {
		return nil, fault.New(fault.Conflict, "set", inner.Name+" of "+g.Name,
			"gopipework did not create it, and it is %s: it has no other end on this host that could be set down", ours.DescribeKind(inner)).
			WithHint("%s sets it down", shell.Line([]string{"gopipework", "exec", g.Word(), "--", "ip", "link", "set", inner.Name, "down"}))
	}
	a := Attachment{Guest: g.GuestInfo, Host: Host{Port: end.Name}, State: ours.Foreign}
	if err := (&describer{ctx: ctx, host: m.Host()}).plugged(end, &a.Host); err != nil {
		return nil, err
	}
	switch {
	case a.Host.Name == "":
		a.Host.Kind, a.Host.Name = string(spec.KindHost), end.Name
	case a.Host.Kind == "":
		a.Host.Kind = string(KindBridge)
	}
	err = read(&ours.Namespace{Links: inside}, &a, inner.Index)
	a.Interface.Pulled, a.Origin = ours.Pulled(end), ""
	return []build.Pair{{Attachment: a, Port: end}}, err
}

// foreignEnd returns the host's end of a guest's veth; nil: it has none there.
func foreignEnd(m *plan.Machine, inner *rtnl.Link) (*rtnl.Link, error) {
	host, err := m.In(plan.InGuest).NamespaceID(m.HostNS)
	if err != nil || inner.Kind != "veth" || inner.PeerNS < 0 || inner.PeerNS != host {
		return nil, err
	}
	guest, err := m.Host().NamespaceID(m.Guests[plan.InGuest].Namespace)
	if err != nil {
		return nil, err
	}
	end, err := m.Host().LinkByIndex(inner.Peer)
	if err != nil || end.Kind != "veth" || end.PeerNS != guest || end.Peer != inner.Index {
		return nil, ours.UnlessNotFound(err)
	}
	return end, nil
}

// observeCable looks at the other end of a pair, and at what would go with its going down.
func observeCable(o *build.Looker, m *plan.Machine, f *build.SetFacts) {
	c := build.Cable{End: f.Found.Port}
	if other := f.OtherEnd; other != nil && m.In(plan.InFar) != nil {
		g := m.Guests[plan.InFar].GuestInfo
		c = build.Cable{Place: plan.Place{Side: plan.InFar, Enter: guests.Enter(g)}, End: other}
	}
	if c.End == nil {
		return
	}
	f.Cable = &c
	o.Look("what "+c.End.Name+" has", func() error {
		k := c.Kernel(m)
		addrs, err1 := k.Addrs()
		routes, err2 := k.AllRoutes()
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		sysctl, keeps, err := keepsAddrs(k, c.End.Name)
		lost(&c, addrs, routes, keeps)
		if c.Loses != "" && c.Keeps == "" {
			c.Keeps = c.Enter + "sysctl -w net/" + sysctl + "=1 keeps it"
		}
		return err
	})
}

// keepsAddrs reports whether a link that goes down keeps its addresses of IPv6, and the sysctl
// that decides it: that of all links, unless it is 0. Negative is no, too.
func keepsAddrs(k plan.Kernel, link string) (sysctl string, keeps bool, err error) {
	for _, conf := range []string{"all", link} {
		sysctl = "ipv6/conf/" + conf + "/keep_addr_on_down"
		value, err := k.Sysctl(sysctl)
		switch {
		case errors.Is(err, os.ErrNotExist):
			return sysctl, false, nil // there is no IPv6
		case err != nil || value != "0":
			return sysctl, !strings.HasPrefix(value, "-"), err
		}
	}
	return sysctl, false, nil
}

// lost finds what the kernel deletes when an end is set down, and does not restore when it is
// set up: routes that somebody has set, and addresses of IPv6.
func lost(c *build.Cable, addrs []rtnl.Addr, routes []rtnl.Route, keeps bool) {
	for _, r := range routes {
		by := r.Index == c.End.Index || slices.ContainsFunc(r.Hops, func(h rtnl.Hop) bool { return h.Index == c.End.Index })
		if by && r.Protocol != unix.RTPROT_KERNEL && r.Protocol != unix.RTPROT_RA {
			c.Loses, c.Keeps = "a route to "+r.Dst.String(), "delete the route first, and set it again afterwards"
			return
		}
	}
	global := func(a rtnl.Addr) bool {
		return a.Index == c.End.Index && a.Prefix.Addr().Is6() && !a.Prefix.Addr().IsLinkLocalUnicast()
	}
	if i := slices.IndexFunc(addrs, global); i >= 0 && !keeps {
		c.Loses = "the address " + addrs[i].Prefix.String()
	}
}
