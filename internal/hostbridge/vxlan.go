package hostbridge

import (
	"slices"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/kind"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/spec"
)

// An uplink to other hosts: a VXLAN that is made for the bridge (kind.AddVXLAN). One that
// attachments have made is taken over, and one that they still need stays for them.

// checkVXLAN refuses a VXLAN that the bridge cannot have.
func (j *job) checkVXLAN() error {
	u := j.there.VXLAN
	switch is := u.VXLAN(); {
	case j.isOVS:
		return j.refuse(fault.Usage, "a VXLAN is the uplink of a Linux bridge, and it is an Open vSwitch bridge").WithHint("ovs-vsctl add-port has VXLANs of its own")
	case j.VLANFiltering:
		return j.refuse(fault.Usage, "a VXLAN carries untagged frames alone, and its guests may have VLANs").
			WithHint("leave out vlan-filtering, and use a bridge and a VNI for each VLAN")
	case u.Link != nil && !build.IsVXLAN(u.Link):
		return j.refuse(fault.Conflict, "it has a VXLAN already that gopipework did not create: %s", u.Link.Name).
			WithHint("name that as the uplink: uplink: %s", u.Link.Name)
	case is.Asked() && is.Device() != j.vxlan.Device() && !marked(u.Link):
		return j.refuse(fault.Conflict, "attachments have given it another uplink already: %s, which is %s", is, u.Link.Name).
			WithHint("detach them first: gopipework list")
	}
	return kind.CheckVXLAN(j.vxlan, j.Name, u, j.refuse)
}

// vxlanMTU is that of the VXLAN.
func (j *job) vxlanMTU() int { return max(kind.UplinkMTU(j.vxlan, j.there.VXLAN), j.MTU) }

// planVXLAN sees to it that the bridge has the VXLAN, with its peers and our mark. One that
// learns, or does not, as is not asked for, is made anew.
func (j *job) planVXLAN(d *build.Draft) {
	u, mark := j.there.VXLAN, ours.UplinkMark{Bridge: j.Name, WasUp: true, Origin: j.there.Origin}.String()
	is := u.VXLAN()
	if is.Device() == j.vxlan.Device() && (len(is.Peers) > 0) == (len(j.vxlan.Peers) > 0) {
		if !marked(u.Link) {
			d.Add(ours.AddMark{Link: u.Link.Name, Mark: mark})
		}
		j.planPeers(d, is)
		if !u.Link.Up {
			d.Add(ours.SetUp{Link: u.Link.Name})
		}
		return
	}
	kind.PlanVXLAN(kind.AddVXLAN{VXLAN: j.vxlan, Bridge: j.Name, MTU: j.MTU, Mark: mark}, j.link, u, d)
}

// planPeers sees to it that the peers are those that are asked for.
func (j *job) planPeers(d *build.Draft, is spec.VXLAN) {
	name := j.there.VXLAN.Link.Name
	for _, p := range j.vxlan.Peers {
		if !slices.Contains(is.Peers, p) {
			d.Add(kind.FloodTo{VXLAN: name, Host: p})
		}
	}
	for _, p := range is.Peers {
		if !slices.Contains(j.vxlan.Peers, p) {
			d.Add(kind.NotFloodTo{VXLAN: name, Host: p})
		}
	}
}

// staysFor says that attachments still need a VXLAN that the file no longer asks for; "": none do.
func (u uplink) staysFor(f Facts) string {
	if !build.IsVXLAN(u.link) || kind.EmptiedVXLAN(u.link, f.Links) {
		return ""
	}
	return u.name + " stays on " + f.name(u.link.Master) + " until its guests are detached: gopipework list"
}

// leaveVXLAN plans for a VXLAN to go, or to lose its mark if attachments still need it.
func (u uplink) leaveVXLAN(f Facts) (steps, final []plan.Step) {
	bridge := f.name(u.link.Master)
	if kind.EmptiedVXLAN(u.link, f.Links) {
		return nil, []plan.Step{kind.EndUplink(bridge, build.Uplink{Link: u.link, Flood: f.VXLAN.Flood})}
	}
	return []plan.Step{ours.DelMark{Link: u.name, Mark: u.mark.String()}}, nil
}
