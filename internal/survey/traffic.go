package survey

import (
	"context"
	"os"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/graph"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/rtnl"
)

// Traffic returns the counters of interfaces of a graph, by their IDs: all that the host
// has, and in guests those that have no port on the host, whose counters are the same. A
// guest that has gone has none. hostNS is as for Read.
//
//	ip -s link
func Traffic(ctx context.Context, g graph.Graph, hostNS *os.File) (map[string]graph.Counters, error) {
	all := map[string]graph.Counters{}
	hosts, inside := counted(g)
	err := onHost(hostNS, func(k *rtnl.Conn) error {
		err := count(k, hosts, all)
		return fault.Explain("read", "the counters of links", err)
	})
	if err != nil {
		return nil, err
	}
	for i := range g.Nodes {
		n := &g.Nodes[i]
		if inside[n.ID] == nil || ctx.Err() != nil {
			continue
		}
		in, err := ours.Reopen(guests.GuestInfo{PID: n.PID, NetNS: n.NetNS, Name: n.Name})
		if err != nil {
			continue
		}
		if k, err := rtnl.Open(in.Namespace); err == nil {
			_ = count(k, inside[n.ID], all)
			k.Close()
		}
		in.Close()
	}
	return all, context.Cause(ctx)
}

// counted returns the interfaces whose counters are read: the host's, and by guest those in
// guests.
func counted(g graph.Graph) (hosts []*graph.Node, inside map[string][]*graph.Node) {
	ported := map[string]bool{}
	for _, l := range g.Links {
		ported[l.From] = ported[l.From] || l.Kind == graph.Pair
	}
	inside = map[string][]*graph.Node{}
	for i := range g.Nodes {
		switch n := &g.Nodes[i]; {
		case n.Index == 0:
		case n.Parent == "":
			hosts = append(hosts, n)
		case !ported[n.ID]:
			inside[n.Parent] = append(inside[n.Parent], n)
		}
	}
	return hosts, inside
}

// count adds the counters of nodes that are in one namespace.
func count(k *rtnl.Conn, nodes []*graph.Node, all map[string]graph.Counters) error {
	counters, err := k.Counters()
	for _, n := range nodes {
		if c, ok := counters[n.Index]; ok {
			all[n.ID] = graph.Counters(c)
		}
	}
	return err
}
