package hostbridge

import (
	"slices"

	"github.com/gopipework/gopipework/bridge"
	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/kind"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/spec"
)

// uplink is one that has our mark.
type uplink struct {
	name string
	mark ours.UplinkMark
	link *rtnl.Link      // nil: it is gone, and Open vSwitch has a port for it
	port *bridge.OVSPort // nil: the bridge is a Linux bridge
}

// uplinks returns those that were made ports of the bridge, also where they are none now.
func (f Facts) uplinks(of string) (all []uplink) {
	for _, l := range f.Links {
		if m, ok := ours.UplinkMarkOf(l); ok && f.current(m.Bridge) == of {
			all = append(all, uplink{name: l.Name, mark: m, link: l})
		}
	}
	for _, p := range ovsUplinks(f.OVS, of) {
		l := f.named(p.Name)
		if l == nil && p.IDs[kind.HostKey] != f.HostID {
			continue // another host's of this machine
		}
		m := ours.UplinkMark{Bridge: of, Origin: spec.Origin(p.IDs[originKey])}
		m.WasUp = p.IDs[wasKey] == ours.UplinkMark{WasUp: true}.Was()
		all = append(all, uplink{name: p.Name, mark: m, link: l, port: &p})
	}
	return all
}

// leave plans for an uplink to be returned: out of the bridge, down if it was down, and
// without its mark. The VLAN of a card that we made is deleted, which is final.
func (u uplink) leave(f Facts) (steps, final []plan.Step) {
	if build.IsVXLAN(u.link) {
		return u.leaveVXLAN(f)
	}
	madeHere := u.link != nil && plan.IsOurs(u.link) && u.link.Kind == "vlan"
	if u.port != nil {
		steps = append(steps, kind.DelOVSPort{OVSPort: *u.port})
	} else if now := f.named(f.current(u.mark.Bridge)); now != nil && u.link.Master == now.Index {
		steps = append(steps, Unplug{kind.PlugInto(u.name, now.Name)})
	}
	if u.link != nil && u.link.Up && !u.mark.WasUp && (u.link.Master == 0 || len(steps) > 0) {
		steps = append(steps, ours.SetDown{Link: u.name})
	}
	switch {
	case madeHere && (u.link.Master == 0 || len(steps) > 0):
		final = append(final, ours.DelLink{Name: u.name, Index: u.link.Index})
	case u.port == nil:
		steps = append(steps, ours.DelMark{Link: u.name, Mark: u.mark.String()})
	}
	return steps, final
}

// Remove decides how the host comes to have nothing on the bridge that was set for the
// origin. A bridge of our making goes, unless something else uses it.
func Remove(name string, f Facts) build.Plan {
	var d build.Draft
	var last []plan.Step
	link := f.named(name)
	br, isOVS := f.OVS.Bridge(name)
	going := map[string]bool{}
	have := f.addrsOf(link)
	origin, marked := spec.Origin(""), false
	if isOVS {
		origin, marked = spec.Origin(br.Origin), br.Origin != ""
	} else if link != nil {
		var m ours.BridgeMark
		m, marked = ours.BridgeMarkOf(link)
		origin = m.Origin
	}
	mine := marked && origin == f.Origin
	if mine {
		_, drop := dropAddrs(name, have, func(rtnl.Addr) bool { return true }, nil)
		if len(have) > 1 {
			drop = f.promoting(name, drop)
		}
		d.Steps = append(d.Steps, drop...)
	}
	for _, u := range f.uplinks(name) {
		if u.mark.Origin != f.Origin {
			continue
		}
		steps, final := u.leave(f)
		if stays := u.staysFor(f); stays != "" {
			d.Warn("%s", stays)
		}
		d.Steps, last = append(d.Steps, steps...), append(last, final...)
		going[u.name] = !build.IsVXLAN(u.link) || len(final) > 0
	}
	if !mine {
		d.Steps = append(d.Steps, last...)
		return d.Plan
	}
	var made bool
	var ports []string
	var del plan.Step
	if isOVS {
		d.Add(SetOVSOrigin{bridge: name, origin: "", was: br.Origin})
		made, del = br.Ours, kind.DelOVSBridge{OVSBridge: br}
		for _, p := range br.Ports {
			ports = append(ports, p.Name)
		}
	} else {
		m, _ := ours.BridgeMarkOf(link)
		d.Add(ours.DelMark{Link: name, Mark: m.String()})
		made, del = plan.IsOurs(link), ours.DelLink{Name: name, Index: link.Index}
		for _, l := range f.Links {
			if l.Master == link.Index {
				ports = append(ports, l.Name)
			}
		}
	}
	ports = slices.DeleteFunc(ports, func(p string) bool { return going[p] })
	switch needed := f.needed(link, ports); {
	case made && needed == "":
		last = append(last, del)
	case made && len(d.Warnings) == 0: // or it is clear already
		d.Warn("%s stays %s", name, needed)
	}
	d.Steps = append(d.Steps, last...)
	return d.Plan
}

// needed says why or how long a bridge that has these ports has to stay; "": it need not. link nil:
// Open vSwitch has it, and the kernel does not.
func (f Facts) needed(link *rtnl.Link, ports []string) string {
	for _, p := range ports {
		if l := f.named(p); l == nil || !plan.IsOurs(l) {
			return "because " + p + " is a port of it"
		}
	}
	if len(ports) > 0 {
		return "until its guests are detached: gopipework list"
	}
	for _, a := range f.Addrs {
		if link != nil && ours.InUse(link.Index, []rtnl.Addr{a}) && a.Proto != ours.Protocol {
			return "because it has the address " + a.Prefix.String() + ", which gopipework did not set"
		}
	}
	return ""
}
