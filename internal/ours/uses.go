package ours

import (
	"context"
	"fmt"
	"slices"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"golang.org/x/sys/unix"
)

// By the time we undo what we did to a link of the host, others may use it. It is
// not deleted or set down while they do.

// usesOf returns a key for each thing that uses a link of the host: what it is a port of,
// the origin that asks for it, its own ports, links on it in any namespace, and addresses
// and routes that somebody has given it. Nothing uses a link that has gone.
func usesOf(m *plan.Machine, index int) (map[string]bool, error) {
	k, found := m.Host(), map[string]bool{}
	l, err := k.LinkByIndex(index)
	if err != nil {
		return found, UnlessNotFound(err)
	}
	if l.Master != 0 {
		found[fmt.Sprint("master ", l.Master)] = true
	}
	if Wanted(l) {
		found["an origin"] = true
	}
	ports, err := k.Ports(index)
	if err != nil {
		return nil, fault.Explain("list ports of", l.Name, err)
	}
	for _, p := range ports {
		found[UseByPort(p)] = true
	}
	children, err := ChildrenOf(k, index, m.HostNS, nil)
	if err != nil {
		return nil, fault.Explain("look for users of", l.Name, err)
	}
	for _, c := range children {
		found[UseBy(c)] = true
	}
	addrs, err := k.Addrs()
	if err != nil {
		return nil, fault.Explain("read addresses of", l.Name, err)
	}
	for _, a := range addrs {
		if a.Index == index && InUse(index, []rtnl.Addr{a}) {
			found[fmt.Sprint("address ", a.Prefix)] = true
		}
	}
	routes, err := k.AllRoutes()
	if err != nil {
		return nil, fault.Explain("read routes by", l.Name, err)
	}
	for _, r := range routes {
		if routesOver(r, index) {
			found[fmt.Sprint("route ", r.Dst, " ", r.Table)] = true
		}
	}
	return found, nil
}

// routesOver reports whether somebody has set a route that leaves by the link: not
// the kernel, no router's advertisement, and not we.
func routesOver(r rtnl.Route, index int) bool {
	switch r.Protocol {
	case unix.RTPROT_KERNEL, unix.RTPROT_RA, unix.RTPROT_REDIRECT, Protocol:
		return false
	}
	return r.Index == index || slices.ContainsFunc(r.Hops, func(h rtnl.Hop) bool { return h.Index == index })
}

// UseByPort is the key of a port.
func UseByPort(l *rtnl.Link) string { return fmt.Sprint("port ", l.Index) }

// UseBy is the key of a link that is on another.
func UseBy(u User) string { return fmt.Sprint("link ", u.Netns, " ", u.PeerNS, " ", u.Index) }

// IsUsed reports whether anything makes use of a link of the host.
func IsUsed(m *plan.Machine, index int) (bool, error) { return IsUsedBut(m, index, "") }

// IsUsedBut is IsUsed, except that it disregards one use.
func IsUsedBut(m *plan.Machine, index int, use string) (bool, error) {
	uses, err := usesOf(m, index)
	delete(uses, use)
	return len(uses) > 0, err
}

// usesBefore is the key of what used a link before it was raised.
type usesBefore RaiseLink

// RaiseLink sets up a link of the host that we did not make.
type RaiseLink struct{ Name string }

func (s RaiseLink) set() plan.SetLink { return plan.SetLink{Name: s.Name, Set: rtnl.Change{Up: true}} }

func (s RaiseLink) Do(ctx context.Context, m *plan.Machine) error {
	i, err := m.Find(plan.OnHost, s.Name)
	if err != nil {
		return fault.Explain("find", s.Name, err)
	}
	before, err := usesOf(m, i)
	if err != nil {
		return err
	}
	m.Remember(usesBefore(s), before)
	return s.set().Do(ctx, m)
}

// Undo sets it down again, unless somebody has come to use it meanwhile. What
// our own plan has put on it has been undone by then.
func (s RaiseLink) Undo(_ context.Context, m *plan.Machine) error {
	i, err := m.Find(plan.OnHost, s.Name)
	if err != nil {
		return fault.IgnoreAbsent("find", s.Name, err)
	}
	now, err := usesOf(m, i)
	if err != nil {
		return err
	}
	before, _ := m.Remembered(usesBefore(s)).(map[string]bool)
	for use := range now {
		if !before[use] {
			return nil
		}
	}
	return fault.IgnoreAbsent("set down", s.Name, s.set().Apply(m, rtnl.Change{Down: true}))
}

func (RaiseLink) Nature() plan.Nature { return plan.Shared }

func (s RaiseLink) String() string { return s.set().String() }

// Protocol is the number that routes and rules carry which nothing else tells
// as ours (RTPROT_*, FRA_PROTOCOL); "g". Not so a default route that goes in
// front: that goes with its link, and says all there is to say by itself.
const Protocol = 103

// RoutesBy returns the routes of ours by a link of the host.
func RoutesBy(k plan.Kernel, index int) ([]rtnl.Route, error) {
	all, err := k.Routes()
	return slices.DeleteFunc(all, func(r rtnl.Route) bool { return r.Index != index || r.Protocol != Protocol }), err
}
