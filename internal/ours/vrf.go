package ours

import (
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"golang.org/x/sys/unix"
)

// VRFOf returns the VRF that a link is in; nil: none.
func VRFOf(k plan.Reader, l *rtnl.Link) (*rtnl.Link, error) {
	if l.Slave != "vrf" {
		return nil, nil
	}
	vrf, err := k.LinkByIndex(l.Master)
	return vrf, UnlessNotFound(err)
}

// RoutesFor returns the routes of the table that a link's packets are routed by: that of its
// VRF, presented as the main table, or the main table itself.
func RoutesFor(k plan.Reader, l *rtnl.Link) ([]rtnl.Route, error) {
	vrf, err := VRFOf(k, l)
	if err != nil {
		return nil, err
	}
	table := 0
	if vrf != nil {
		table = vrf.Table
	}
	all, err := k.AllRoutes()
	routes, _ := InTable(all, table)
	return routes, err
}

// InTable tells the routes of a table, as if that was the main one, from the others.
func InTable(all []rtnl.Route, table int) (routes, others []rtnl.Route) {
	for _, r := range all {
		switch r.Table {
		case table:
			r.Table = 0
			routes = append(routes, r)
		case 0:
			r.Table = unix.RT_TABLE_MAIN
			fallthrough
		default:
			others = append(others, r)
		}
	}
	return routes, others
}
