package attach

import (
	"context"
	"os"
	"slices"

	"github.com/gopipework/gopipework/bridge"
	"github.com/gopipework/gopipework/internal/rtnl"
)

// GCFacts are what planning a clean-up must know: the host's side alone.
type GCFacts struct {
	Links     []*rtnl.Link
	Addrs     []rtnl.Addr
	Rules     []bridge.Rule      // ours, of any bridge
	Abandoned map[int]Attachment // half-made pairs that nobody works on, by their end's index
	Unused    map[int]bool       // VLAN sub-interfaces of ours that no link is on, by their index
}

// GC takes away what a killed run or a dead guest has left of ours: half-made
// pairs, firewall rules that stand for no port, and bridges and VLAN
// sub-interfaces that we made, that nothing is on, and that nobody has given an
// address. What is under way is left alone, as is everything without our mark.
func GC(ctx context.Context, hostNS *os.File, opt Options) (Result, error) {
	ctx, _, cancel := opt.bound(ctx)
	defer cancel()
	m, err := open(ctx, hostNS)
	if err != nil {
		return Result{}, err
	}
	defer m.close()
	f, release, err := observeGC(ctx, m)
	defer release()
	if err != nil {
		return Result{}, m.cause(ctx, err)
	}
	p := BuildGC(f)
	if opt.DryRun {
		return p.result(), nil
	}
	return p.result(), p.remove(ctx, m, opt.tell)
}

// observeGC also takes the locks of the guests whose pairs are abandoned, which
// proves that they are; release gives them back.
func observeGC(ctx context.Context, m *machine) (f GCFacts, release func(), err error) {
	k := m.sides[host]
	f.Abandoned = map[int]Attachment{}
	var held []*lock
	var found namespaces
	release = func() {
		for _, l := range held {
			l.release()
		}
		found.close()
	}
	var o looker
	o.look("links", func() (err error) { f.Links, err = k.Links(); return err })
	o.look("addresses", func() (err error) { f.Addrs, err = k.Addrs(); return err })
	o.look("the firewall", func() error {
		return k.Run(func() error {
			fw, err := bridge.ObserveFirewall(ctx, "")
			for _, p := range fw.Paths {
				f.Rules = append(f.Rules, p.Ours...)
			}
			return err
		})
	})
	if o.err != nil {
		return f, release, o.err
	}
	f.Unused = map[int]bool{}
	for _, l := range f.Links {
		if l.Kind == "vlan" && isOurs(l) {
			users, err := childrenOf(k, l.Index, m.hostNS, 0)
			if err != nil {
				return f, release, explain("look for users of", l.Name, err)
			}
			f.Unused[l.Index] = len(users) == 0
		}
	}
	half := slices.DeleteFunc(slices.Clone(f.Links), func(l *rtnl.Link) bool {
		_, complete := ParseMark(l.Alias)
		return !isOurs(l) || complete || l.Kind != "veth" || l.PeerNS < 0
	})
	found = findNamespaces(k, half, nil)
	for _, l := range half {
		ns := found[l.PeerNS]
		if ns == nil {
			continue // whoever holds the namespace open is at work, or it is about to go
		}
		if !ns.locked {
			held = append(held, &lock{ns: ns.file})
			ns.locked = held[len(held)-1].try() == nil
		}
		if a, err := describe(k, l, ns); err == nil && ns.locked {
			f.Abandoned[l.Index] = a
		}
	}
	return f, release, nil
}

// BuildGC decides what goes.
func BuildGC(f GCFacts) Plan {
	p := Plan{Attachments: []Attachment{}}
	var links []Step
	for _, l := range f.Links {
		if a, ok := f.Abandoned[l.Index]; ok {
			p.Attachments = append(p.Attachments, a)
			links = append(links, delLink{l.Name, l.Index})
		}
	}
	// ports are the links that stay plugged into a bridge.
	ports := func(bridge *rtnl.Link, ours bool, name string) bool {
		return slices.ContainsFunc(f.Links, func(l *rtnl.Link) bool {
			_, goes := f.Abandoned[l.Index]
			return l.Master == bridge.Index && !goes && (isOurs(l) || !ours) && (name == "" || l.Name == name)
		})
	}
	named := func(name string) *rtnl.Link {
		if i := slices.IndexFunc(f.Links, func(l *rtnl.Link) bool { return l.Name == name }); i >= 0 {
			return f.Links[i]
		}
		return nil
	}
	for _, r := range f.Rules {
		if br := named(r.Bridge); br == nil || !ports(br, true, r.Port) {
			p.Steps = append(p.Steps, delRule{r})
		}
	}
	for _, l := range f.Links {
		if f.Unused[l.Index] && !inUse(l.Index, f.Addrs) {
			links = append(links, delLink{l.Name, l.Index})
		}
		if l.Kind == "bridge" && isOurs(l) && !ports(l, false, "") && !inUse(l.Index, f.Addrs) {
			links = append(links, delLink{l.Name, l.Index})
		}
	}
	p.Steps = append(p.Steps, links...)
	return p
}
