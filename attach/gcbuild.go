package attach

import (
	"context"
	"slices"

	"github.com/gopipework/gopipework/bridge"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/shell"
)

// BuildGC decides what goes.
func BuildGC(f GCFacts) Plan {
	p := Plan{Attachments: []Attachment{}, Warnings: f.Warnings}
	var links []Step
	for _, l := range f.Links {
		if a, ok := f.Abandoned[l.Index]; ok {
			p.Attachments = append(p.Attachments, a)
			links = append(links, delLink{l.Name, l.Index})
		}
	}
	for _, h := range f.Inside {
		p.Attachments = append(p.Attachments, h.Attachment)
		links = append(links, delHalf{h.path, h.Guest.NetNS, h.Interface.Name, h.index})
	}
	for _, l := range f.Left {
		links = append(links, delHalf(l))
	}
	p.Steps = append(p.Steps, f.deadPorts()...)
	for _, r := range f.Rules {
		if br := f.named(r.Bridge); br == nil || !f.hasPort(br, true, r.Port) {
			p.Steps = append(p.Steps, delRule{r})
		}
	}
	for _, w := range f.Ways {
		steps, last := w.end(nil)
		p.Steps = append(p.Steps, steps...)
		if last != nil {
			links = append(links, *last)
			f.Users[w.Peer] = slices.DeleteFunc(f.Users[w.Peer], func(u user) bool { return u.netns == 0 && u.Index == w.Index && u.PeerNS < 0 })
		}
	}
	for _, l := range f.Links {
		if l.Kind == "bridge" && turnedOn(l) && !f.filtered(l) {
			links = append(links, unfilterVLANs{l.Name})
		}
		if f.unused(l) && !inUse(l.Index, f.Addrs) {
			links = append(links, delLink{l.Name, l.Index})
		}
	}
	p.Steps = append(p.Steps, links...)
	p.Steps = append(p.Steps, f.emptyOVS()...)
	for _, s := range f.Strays { // last: they are not the kernel's alone to give back
		if err := s.checkHome(); err != nil {
			p.Warnings = append(p.Warnings, err.Error())
			continue
		}
		p.Steps = append(p.Steps, s.end())
	}
	for _, n := range f.Resolvs {
		p.Steps = append(p.Steps, dropNote{n})
	}
	for _, name := range f.Torn {
		p.Steps = append(p.Steps, dropTorn{name})
	}
	for _, s := range f.Replies {
		p.Steps = append(p.Steps, s)
	}
	return p
}

// deadPorts plans for the ports in Open vSwitch whose link has gone, or goes.
func (f GCFacts) deadPorts() (steps []Step) {
	for _, p := range f.OVS.OurPorts() {
		if !f.stays(p) {
			steps = append(steps, delOVSPort{p})
		}
	}
	return steps
}

// stays reports whether a port has a use. Open vSwitch may serve several
// network namespaces of a machine, each a host of its own; one whose link is not
// here is ours to judge only if we have made it here.
func (f GCFacts) stays(p bridge.OVSPort) bool {
	l := f.named(p.Name)
	if l != nil {
		_, goes := f.Abandoned[l.Index]
		return !goes
	}
	host, known := p.IDs[hostKey]
	return p.Mark == "" || known && host != f.HostID || !known && p.Number > 0
}

// emptyOVS plans for the bridges of Open vSwitch that we made, that keep no
// port, and that nobody has given an address.
func (f GCFacts) emptyOVS() (steps []Step) {
	for _, br := range f.OVS.Bridges {
		l := f.named(br.Name)
		if br.Ours && !slices.ContainsFunc(br.Ports, f.stays) && l != nil && !inUse(l.Index, f.Addrs) {
			steps = append(steps, delOVSBridge{br})
		}
	}
	return steps
}

// unused reports whether a link of ours was made for others, of whom there are
// none.
func (f GCFacts) unused(l *rtnl.Link) bool {
	switch {
	case !isOurs(l):
		return false
	case l.Kind == "bridge":
		return !f.hasPort(l, false, "")
	case l.Kind != "vlan":
		return false
	}
	return !slices.ContainsFunc(f.Users[l.Index], func(u user) bool { return !f.going(u) })
}

// going reports whether a user is a half-made link that is about to go.
func (f GCFacts) going(u user) bool {
	return slices.ContainsFunc(f.Inside, func(h HalfInside) bool { return h.Guest.NetNS == u.netns && h.index == u.Index })
}

// hasPort reports whether a link stays plugged into a bridge; of ours alone, and
// of one name, if so asked.
func (f GCFacts) hasPort(bridge *rtnl.Link, ours bool, name string) bool {
	return slices.ContainsFunc(f.Links, func(l *rtnl.Link) bool {
		_, goes := f.Abandoned[l.Index]
		return l.Master == bridge.Index && !goes && (isOurs(l) || !ours) && (name == "" || l.Name == name)
	})
}

// filtered reports whether a port of ours that stays has a VLAN on the bridge.
func (f GCFacts) filtered(br *rtnl.Link) bool {
	return slices.ContainsFunc(f.Links, func(l *rtnl.Link) bool {
		_, goes := f.Abandoned[l.Index]
		return l.Master == br.Index && isOurs(l) && !goes && vlanOf(f.VLANs[l.Index], br) != ""
	})
}

func (f GCFacts) named(name string) *rtnl.Link {
	if i := slices.IndexFunc(f.Links, func(l *rtnl.Link) bool { return l.Name == name }); i >= 0 {
		return f.Links[i]
	}
	return nil
}

// delHalf deletes a half-made link in some guest, whose lock is held.
type delHalf struct {
	path  string // of the guest's namespace
	inode uint64
	name  string
	index int
}

func (s delHalf) do(_ context.Context, _ *machine) error {
	ns, err := openSame(s.path, s.inode)
	if err != nil {
		return nil // the guest has gone, and the link with it
	}
	defer ns.Close()
	k, err := rtnl.Open(ns)
	if err != nil {
		return explain("enter", s.path, err)
	}
	defer k.Close()
	l, err := k.LinkByIndex(s.index)
	if err != nil || !isOurs(l) {
		return ignoreAbsent("find", s.name, err)
	}
	return ignoreAbsent("delete", s.name, deleteLink(k, s.index))
}

func (s delHalf) undo(context.Context, *machine) error { return nil }

func (delHalf) nature() nature { return final }

func (s delHalf) String() string {
	return "nsenter --net=" + shell.Quote(s.path) + " ip link del " + s.name
}
