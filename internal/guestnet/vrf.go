package guestnet

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/shell"
	"github.com/gopipework/gopipework/internal/spec"
	"golang.org/x/sys/unix"
)

// A VRF in the guest: a link whose ports have a routing table of their own. The interface
// joins it while it is down, because the kernel deletes the IPv6 addresses of a link that
// is up. A VRF of ours is known by our group, and goes with its last port.
//
// With the first VRF of a namespace the kernel adds a rule to look into the tables of VRFs.
// That rule stays when the VRF goes: the kernel adds it only once.

// firstVRFTable is where the search for a free table begins.
const firstVRFTable = 1001

// IsVRF reports whether a link is a VRF of ours.
func IsVRF(l *rtnl.Link) bool { return l.Kind == "vrf" && plan.IsOurs(l) }

// vrfOf returns the VRF that a link of the guest is in; nil: none.
func vrfOf(in build.Inside, l *rtnl.Link) *rtnl.Link {
	if l == nil || l.Slave != "vrf" {
		return nil
	}
	i := slices.IndexFunc(in.Links, func(m *rtnl.Link) bool { return m.Index == l.Master })
	if i < 0 {
		return nil
	}
	return in.Links[i]
}

// SettleVRF decides which table has the interface's routes, and confines what is known of
// the guest's routes to it. An attachment that is there is taken as it is.
func SettleVRF(j *build.Job) error {
	in := &j.There.Inside
	vrf := vrfOf(*in, in.Inner)
	if !j.Complete() {
		vrf = ours.Named(in.Links, j.VRF.Name)
		if err := checkVRF(j, vrf); err != nil {
			return err
		}
	}
	switch {
	case vrf != nil:
		j.Table = vrf.Table
	case !j.Complete() && j.VRF.Name != "":
		j.Table = chooseTable(j.VRF.Table, in)
	}
	*in = confined(*in, j.Table)
	return nil
}

// ConfineToVRF confines what is known of a guest's routes to the table that those by the
// link are in, and returns the table; 0: main.
func ConfineToVRF(in *build.Inside) (table int) {
	if vrf := vrfOf(*in, in.Inner); vrf != nil {
		table = vrf.Table
	}
	*in = confined(*in, table)
	return table
}

// checkVRF refuses what stands in the way of the VRF that is asked for; there has its name.
func checkVRF(j *build.Job, there *rtnl.Link) error {
	ask := j.VRF
	switch {
	case ask.Name == "":
		return nil
	case ask.Name == j.Names.Inner:
		return j.Refuse(fault.Usage, "the interface and its VRF cannot both be called %s", ask.Name).WithHint("choose %s", j.OtherName())
	case there != nil && there.Kind != "vrf":
		return j.Refuse(fault.Conflict, "%s of the guest is no VRF but %s", ask.Name, ours.DescribeKind(there)).WithHint("--vrf with another name")
	case there != nil && ask.Table != 0 && ask.Table != there.Table:
		return j.Refuse(fault.Conflict, "the VRF %s has the table %d; the line asks for %d", ask.Name, there.Table, ask.Table).
			WithHint("--vrf %s", ask.Name)
	case there != nil || ask.Table == 0:
		return nil
	}
	for _, l := range j.There.Links {
		if l.Kind == "vrf" && l.Table == ask.Table {
			return j.Refuse(fault.Conflict, "the table %d is that of the VRF %s", ask.Table, l.Name).WithHint("--vrf %s, or another table", l.Name)
		}
	}
	return nil
}

// chooseTable returns the table that is asked for or, for 0, the first one that nobody uses.
func chooseTable(ask int, in *build.Inside) int {
	if ask != 0 {
		return ask
	}
	table := firstVRFTable
	for usesTable(in, table) {
		table++
	}
	return table
}

func usesTable(in *build.Inside, table int) bool {
	return slices.ContainsFunc(in.Links, func(l *rtnl.Link) bool { return l.Kind == "vrf" && l.Table == table }) ||
		slices.ContainsFunc(in.Tables, func(r rtnl.Route) bool { return r.Table == table }) ||
		slices.ContainsFunc(in.Rules, func(r rtnl.Rule) bool { return r.Table == table })
}

// confined presents the routes of a VRF's table as those of the main table, which an
// interface in the VRF does not use. Table 0 is the main table.
func confined(in build.Inside, table int) build.Inside {
	in.Routes, in.Tables = ours.InTable(slices.Concat(in.Routes, in.Tables), table)
	return in
}

// AddrsBeside returns the addresses of the links that share a routing table with the
// interface, and its own.
func AddrsBeside(j *build.Job) []rtnl.Addr {
	return slices.DeleteFunc(slices.Clone(j.There.Addrs), func(a rtnl.Addr) bool {
		i := slices.IndexFunc(j.There.Links, func(l *rtnl.Link) bool { return l.Index == a.Index })
		if i < 0 || j.Own(a.Index) {
			return false
		}
		table := 0
		if vrf := vrfOf(j.There.Inside, j.There.Links[i]); vrf != nil {
			table = vrf.Table
		}
		return table != j.Table
	})
}

// planVRF plans for the new interface, which is down, to be in its VRF.
func planVRF(j *build.Job, d *build.Draft) {
	if j.VRF.Name == "" {
		return
	}
	if ours.Named(j.There.Links, j.VRF.Name) == nil {
		d.Add(AddVRF{Place: j.Place, VRF: spec.VRF{Name: j.VRF.Name, Table: j.Table}})
	}
	RepairVRF(j, d)
	d.Add(JoinVRF{Place: j.Place, inner: j.Names.Inner, vrf: j.VRF.Name})
}

// RepairVRF plans for a VRF that is down to be up.
func RepairVRF(j *build.Job, d *build.Draft) {
	if l := ours.Named(j.There.Links, j.VRF.Name); l != nil && !l.Up {
		d.Add(ours.SetUp{Place: j.Place, Link: l.Name})
	}
}

// VRFDiffers holds the VRF of an attachment that is there against what is asked. A line that
// asks for none leaves it to the guest to have a VRF of its own.
func VRFDiffers(j *build.Job, differ build.Differ) {
	l, there := vrfOf(j.There.Inside, j.There.Inner), spec.VRF{}
	if l != nil {
		there = spec.VRF{Name: l.Name, Table: l.Table}
	}
	if j.VRF.Name == "" && (l == nil || !IsVRF(l)) {
		return
	}
	if !j.VRF.Fits(there) {
		differ("VRF", spec.OrNone(there.String()), spec.OrNone(j.VRF.String()))
	}
}

// EmptiedVRFs plans for the VRFs of ours to go whose last ports go.
func EmptiedVRFs(d build.Departure, r *build.Removal) {
	for _, l := range IdleVRFs(d.There.VRFs, func(port *rtnl.Link) bool { return d.Inners[port.Index] }) {
		r.Last = append(r.Last, DelVRF{d.Place, l.Name, l.Index})
	}
}

// VRFs returns those of ours among the links of a guest.
func VRFs(links []*rtnl.Link) (all []build.VRF) {
	for _, l := range links {
		if !IsVRF(l) {
			continue
		}
		v := build.VRF{Link: l}
		for _, port := range links {
			if port.Master == l.Index {
				v.Ports = append(v.Ports, port)
			}
		}
		all = append(all, v)
	}
	return all
}

// IdleVRFs returns those without a port that stays.
func IdleVRFs(all []build.VRF, goes func(port *rtnl.Link) bool) (idle []*rtnl.Link) {
	for _, v := range all {
		if !slices.ContainsFunc(v.Ports, func(p *rtnl.Link) bool { return !goes(p) }) {
			idle = append(idle, v.Link)
		}
	}
	return idle
}

// DeleteVRF deletes a VRF of ours, unless something is in it.
func DeleteVRF(k plan.Kernel, index int) error {
	l, err := k.LinkByIndex(index)
	if err != nil || !IsVRF(l) {
		return ours.UnlessNotFound(err)
	}
	if ports, err := k.Ports(index); err != nil || len(ports) > 0 {
		return err
	}
	return ours.DeleteLink(k, index)
}

// AddVRF makes a VRF in the guest.
type AddVRF struct {
	plan.Place
	spec.VRF
}

func (s AddVRF) finish() plan.SetLink {
	return plan.SetLink{Place: s.Place, Name: s.Name, Set: rtnl.Change{Alias: plan.MarkWord + " vrf", Up: true}}
}

func (s AddVRF) Do(ctx context.Context, m *plan.Machine) error {
	err := s.Kernel(m).AddChild(rtnl.Child{Name: s.Name, Kind: "vrf", Group: plan.Group, Table: s.Table})
	if errors.Is(err, unix.EOPNOTSUPP) {
		return fault.New(fault.Unsupported, "make VRF", s.Name, "the kernel has no VRF: %w", err).WithHint("%s", ours.Missing("vrf"))
	}
	if err != nil {
		return fault.Explain("make VRF", s.Name, err)
	}
	if err := s.finish().Do(ctx, m); err != nil {
		return plan.Half(err, s.Undo(ctx, m), s)
	}
	return nil
}

// Undo leaves it to others who have come to use it meanwhile.
func (s AddVRF) Undo(_ context.Context, m *plan.Machine) error {
	l, err := s.Kernel(m).LinkByName(s.Name)
	if err == nil {
		m.Forget(s.Side, s.Name)
		err = DeleteVRF(s.Kernel(m), l.Index)
	}
	return fault.IgnoreAbsent("delete VRF", s.Name, err)
}

func (AddVRF) Nature() plan.Nature { return plan.Undoable }

func (s AddVRF) String() string {
	return fmt.Sprintf("%sip link add %s group %d type vrf table %d\n%s", s.Enter, shell.Quote(s.Name), plan.Group, s.Table, s.finish())
}

// JoinVRF makes the interface a port of its VRF.
type JoinVRF struct {
	plan.Place
	inner, vrf string
}

func (s JoinVRF) Do(_ context.Context, m *plan.Machine) error {
	vrf, err := m.Find(s.Side, s.vrf)
	if err != nil {
		return fault.Explain("find VRF", s.vrf, err)
	}
	return fault.Explain("put into "+s.vrf, s.inner, s.Kernel(m).SetLink(s.Index(m, s.inner), rtnl.Change{Master: vrf}))
}

func (s JoinVRF) Undo(_ context.Context, m *plan.Machine) error {
	return fault.IgnoreAbsent("take out of "+s.vrf, s.inner, s.Kernel(m).SetLink(s.Index(m, s.inner), rtnl.Change{NoMaster: true}))
}

func (JoinVRF) Nature() plan.Nature { return plan.Undoable }

func (s JoinVRF) String() string {
	return s.Enter + "ip link set dev " + s.inner + " master " + shell.Quote(s.vrf)
}

// DelVRF deletes a VRF of ours that nothing is in any more.
type DelVRF struct {
	plan.Place
	name  string
	index int // what had the name when it was looked at
}

func (s DelVRF) Do(_ context.Context, m *plan.Machine) error {
	return fault.IgnoreAbsent("delete VRF", s.name, DeleteVRF(s.Kernel(m), s.index))
}

func (DelVRF) Undo(context.Context, *plan.Machine) error { return nil }

func (DelVRF) Nature() plan.Nature { return plan.Final }

func (s DelVRF) String() string { return s.Enter + "ip link del dev " + shell.Quote(s.name) }
