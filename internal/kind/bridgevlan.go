package kind

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/gopipework/gopipework/bridge"
	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/spec"
	"golang.org/x/sys/unix"
)

// VLANs on a Linux bridge. A bridge looks at tags only when it filters VLANs:
// we turn that on where we made the bridge, and elsewhere if we are told to.

// FilteringMark begins the alternative name that somebody else's bridge has
// while it filters VLANs for our ports' sake.
const FilteringMark = plan.MarkWord + ".vlan_filtering."

func TurnedOn(br *rtnl.Link) bool { return slices.Contains(br.AltNames, FilteringMark+br.Name) }

// settleVLAN reads the word after @ as a switch does.
func settleVLAN(j *build.Job) (err error) {
	if j.VLAN != "" {
		j.SwitchVLAN, err = bridge.ParseVLAN(j.VLAN)
	}
	return err
}

// vlanWord is the word after @ as VLANOf writes it; no word of a port's, if it makes no
// sense: settle refuses that.
func vlanWord(s spec.Spec) string {
	if s.VLAN == "" {
		return ""
	}
	v, err := bridge.ParseVLAN(s.VLAN)
	if err != nil {
		return s.VLAN
	}
	return v.String()
}

// checkFiltering refuses a VLAN on a bridge that does not filter, unless it is
// ours or we are told to turn it on.
func checkFiltering(j *build.Job) error {
	found := j.There.Base
	if j.SwitchVLAN.IsZero() || found == nil || found.VLANFiltering {
		return nil
	}
	if !found.CanFilter {
		return lacksFiltering(found.Name, unix.EOPNOTSUPP)
	}
	if !j.OurBridge() && !j.VLANFiltering {
		return notFiltering(j.Refuse, found)
	}
	return nil
}

// notFiltering refuses a bridge that somebody else made and that does not filter VLANs,
// without --vlan-filtering.
func notFiltering(refuse func(fault.Code, string, ...any) *fault.Error, br *rtnl.Link) error {
	return refuse(fault.Conflict, "%s does not filter VLANs", br.Name).
		WithHint("--vlan-filtering turns it on; its other ports stay in their VLANs, which is only VLAN %d unless somebody changed it", br.DefaultPVID)
}

// lacksFiltering explains that the kernel cannot filter VLANs.
func lacksFiltering(bridge string, err error) error {
	return fault.New(fault.Unsupported, "filter VLANs on", bridge, "%w", err).
		WithHint("the kernel's module bridge needs the option CONFIG_BRIDGE_VLAN_FILTERING")
}

// planFiltering has the bridge filter VLANs, if the port has any.
func planFiltering(j *build.Job, d *build.Draft) {
	if found := j.There.Base; j.SwitchVLAN.IsZero() || found != nil && found.VLANFiltering {
		return
	}
	d.Add(FilterVLANs{bridge: j.HostIF.Name, foreign: !j.OurBridge()})
}

// planPortVLAN plans the VLANs of the new port, which the kernel has put into the
// default one.
func planPortVLAN(j *build.Job, d *build.Draft) {
	if j.SwitchVLAN.IsZero() {
		return
	}
	s := SetPortVLAN{port: j.Names.Port, not: 1, VLAN: j.SwitchVLAN}
	if j.There.Base != nil {
		s.not = j.There.Base.DefaultPVID
	}
	d.Add(s)
}

// vlanDiffers holds the VLANs of a port that is there against those asked for.
func vlanDiffers(j *build.Job, differ build.Differ) {
	is := VLANOf(j.There.PortVLANs, j.There.OwnOn)
	if asked := j.SwitchVLAN.String(); is != asked {
		differ("VLAN", spec.OrNone(is), spec.OrNone(asked))
	}
}

// VLANOf is the word after @ for a port's VLANs; "" for a port that has the
// default one of its bridge and no other, or whose bridge does not filter.
func VLANOf(vlans []rtnl.PortVLAN, br *rtnl.Link) string {
	var v bridge.VLAN
	for _, e := range vlans {
		if e.PVID {
			v.PVID = e.First
		} else {
			v.Tagged = append(v.Tagged, bridge.TagRange{First: e.First, Last: e.Last})
		}
	}
	if br == nil || !br.VLANFiltering || len(v.Tagged) == 0 && v.PVID == br.DefaultPVID {
		return ""
	}
	return v.String()
}

// SetVLAN plans other VLANs for the port.
func (linuxBridge) SetVLAN(c build.Change, d *build.Draft, v bridge.VLAN) error {
	br, port := c.There.OwnOn, c.There.Found.Port
	if br == nil {
		return c.Refuse(fault.Conflict, "%s is in no bridge", port.Name)
	}
	switch {
	case v.IsZero() && !br.VLANFiltering:
		return nil
	case !br.VLANFiltering && !plan.IsOurs(br) && !c.VLANFiltering:
		return notFiltering(c.Refuse, br)
	case !br.VLANFiltering:
		d.Add(FilterVLANs{bridge: br.Name, foreign: !plan.IsOurs(br)})
	}
	want := PortVLANs(v)
	if v.IsZero() {
		want = PortVLANs(bridge.VLAN{PVID: br.DefaultPVID})
	}
	if !slices.Equal(want, c.There.PortVLANs) {
		d.Add(ChangePortVLANs{port: port.Name, Want: want, have: c.There.PortVLANs})
	}
	others := slices.ContainsFunc(c.There.Switch.Ports, func(l *rtnl.Link) bool {
		return guestPort(l) && l.Index != port.Index && c.There.Switch.VLANs[l.Index] != ""
	})
	if v.IsZero() && TurnedOn(br) && !others {
		d.Add(UnfilterVLANs{br.Name})
	}
	return nil
}

// PortVLANs is what a port is to be in.
func PortVLANs(v bridge.VLAN) (out []rtnl.PortVLAN) {
	if v.PVID != 0 {
		out = append(out, rtnl.PortVLAN{First: v.PVID, Last: v.PVID, PVID: true, Untagged: true})
	}
	for _, r := range v.Tagged {
		out = append(out, rtnl.PortVLAN{First: r.First, Last: r.Last})
	}
	return out
}

// FilterVLANs has a bridge filter VLANs. Somebody else's is marked first, so
// that the last of our ports turns it off again.
type FilterVLANs struct {
	bridge  string
	foreign bool
}

func (s FilterVLANs) Do(_ context.Context, m *plan.Machine) error {
	i, err := m.Find(plan.OnHost, s.bridge)
	if err != nil {
		return fault.Explain("find bridge", s.bridge, err)
	}
	if s.foreign {
		if err := m.Host().AddAltName(i, FilteringMark+s.bridge); err != nil {
			return fault.Explain("mark bridge", s.bridge, err)
		}
	}
	err = m.Host().SetVLANFiltering(i, true)
	if err == nil {
		return nil
	}
	if errors.Is(err, unix.EOPNOTSUPP) {
		err = lacksFiltering(s.bridge, err)
	}
	return plan.Half(fault.Explain("filter VLANs on", s.bridge, err), s.unmark(m, i), s)
}

func (s FilterVLANs) unmark(m *plan.Machine, index int) error {
	if !s.foreign {
		return nil
	}
	return fault.IgnoreAbsent("unmark bridge", s.bridge, m.Host().DelAltName(index, FilteringMark+s.bridge))
}

// Undo leaves it to others of ours who have VLANs on the bridge meanwhile.
func (s FilterVLANs) Undo(_ context.Context, m *plan.Machine) error {
	l, err := m.Host().LinkByName(s.bridge)
	if err != nil {
		return fault.IgnoreAbsent("find bridge", s.bridge, err)
	}
	needed, err := NeedsFiltering(m.Host(), l)
	if needed || err != nil {
		return fault.Explain("look for VLANs on", s.bridge, err)
	}
	if err := m.Host().SetVLANFiltering(l.Index, false); err != nil {
		return fault.Explain("stop filtering VLANs on", s.bridge, err)
	}
	return s.unmark(m, l.Index)
}

func (FilterVLANs) Nature() plan.Nature { return plan.Shared }

func (s FilterVLANs) String() string {
	w := "ip link set dev " + s.bridge + " type bridge vlan_filtering 1"
	if s.foreign {
		return "ip link property add dev " + s.bridge + " altname " + FilteringMark + s.bridge + "\n" + w
	}
	return w
}

// UnfilterVLANs turns it off again where we had turned it on.
type UnfilterVLANs struct{ Bridge string }

func (s UnfilterVLANs) Do(ctx context.Context, m *plan.Machine) error {
	return FilterVLANs{s.Bridge, true}.Undo(ctx, m)
}

func (s UnfilterVLANs) Undo(_ context.Context, m *plan.Machine) error {
	return FilterVLANs{s.Bridge, true}.Do(context.Background(), m)
}

func (UnfilterVLANs) Nature() plan.Nature { return plan.Undoable }

func (s UnfilterVLANs) String() string {
	return "ip link set dev " + s.Bridge + " type bridge vlan_filtering 0\n" +
		"ip link property del dev " + s.Bridge + " altname " + FilteringMark + s.Bridge
}

// NeedsFiltering reports whether a port of ours has a VLAN on a bridge.
func NeedsFiltering(k plan.Kernel, br *rtnl.Link) (bool, error) {
	ports, err := k.Ports(br.Index)
	if err != nil {
		return false, err
	}
	vlans, err := k.PortVLANs()
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(ports, func(p *rtnl.Link) bool {
		return guestPort(p) && VLANOf(vlans[p.Index], br) != ""
	}), nil
}

// SetPortVLAN puts a port into its VLANs. They go with it.
type SetPortVLAN struct {
	port string
	not  int // the VLAN that it is in by default; 0: none
	VLAN bridge.VLAN
}

func (s SetPortVLAN) Do(_ context.Context, m *plan.Machine) error {
	k, i := m.Host(), m.Index(plan.OnHost, s.port)
	if s.not != 0 {
		if err := k.DelPortVLANs(i, []rtnl.PortVLAN{{First: s.not, Last: s.not}}); err != nil {
			return fault.Explain("remove port from VLAN "+strconv.Itoa(s.not), s.port, err)
		}
	}
	return fault.Explain("add port to VLAN "+s.VLAN.String(), s.port, k.AddPortVLANs(i, PortVLANs(s.VLAN)))
}

func (s SetPortVLAN) Undo(context.Context, *plan.Machine) error { return nil }

func (SetPortVLAN) Nature() plan.Nature { return plan.Undoable }

func (s SetPortVLAN) String() string {
	var lines []string
	if s.not != 0 {
		lines = append(lines, fmt.Sprintf("bridge vlan del dev %s vid %d", s.port, s.not))
	}
	if s.VLAN.PVID != 0 {
		lines = append(lines, fmt.Sprintf("bridge vlan add dev %s vid %d pvid untagged", s.port, s.VLAN.PVID))
	}
	for _, r := range s.VLAN.Tagged {
		lines = append(lines, fmt.Sprintf("bridge vlan add dev %s vid %s", s.port, r))
	}
	return strings.Join(lines, "\n")
}

// ChangePortVLANs puts a port that is there into other VLANs.
type ChangePortVLANs struct {
	port       string
	Want, have []rtnl.PortVLAN
}

func (s ChangePortVLANs) Do(_ context.Context, m *plan.Machine) error {
	i, err := m.Find(plan.OnHost, s.port)
	if err != nil {
		return fault.Explain("find", s.port, err)
	}
	if err := s.change(m, i); err != nil {
		return plan.Half(fault.Explain("change the VLANs of", s.port, err), ChangePortVLANs{s.port, s.have, s.Want}.change(m, i), s)
	}
	return nil
}

func (s ChangePortVLANs) change(m *plan.Machine, index int) error {
	if old := s.gone(); len(old) > 0 {
		if err := m.Host().DelPortVLANs(index, old); err != nil {
			return err
		}
	}
	if len(s.Want) == 0 {
		return nil
	}
	return m.Host().AddPortVLANs(index, s.Want)
}

// gone are those that are not wanted as they are.
func (s ChangePortVLANs) gone() []rtnl.PortVLAN {
	return slices.DeleteFunc(slices.Clone(s.have), func(v rtnl.PortVLAN) bool { return slices.Contains(s.Want, v) })
}

func (s ChangePortVLANs) Undo(_ context.Context, m *plan.Machine) error {
	i, err := m.Find(plan.OnHost, s.port)
	if err == nil {
		err = ChangePortVLANs{s.port, s.have, s.Want}.change(m, i)
	}
	return fault.IgnoreAbsent("change the VLANs of", s.port, err)
}

func (ChangePortVLANs) Nature() plan.Nature { return plan.Undoable }

func (s ChangePortVLANs) String() string {
	var lines []string
	for _, v := range s.gone() {
		lines = append(lines, "bridge vlan del dev "+s.port+" vid "+bridge.TagRange{First: v.First, Last: v.Last}.String())
	}
	for _, v := range s.Want {
		if slices.Contains(s.have, v) {
			continue
		}
		w := "bridge vlan add dev " + s.port + " vid " + bridge.TagRange{First: v.First, Last: v.Last}.String()
		if v.PVID {
			w += " pvid"
		}
		if v.Untagged {
			w += " untagged"
		}
		lines = append(lines, w)
	}
	return strings.Join(lines, "\n")
}
