package kind

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/gopipework/gopipework/bridge"
	"github.com/gopipework/gopipework/bridge/firewall"
	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/source"
	"github.com/gopipework/gopipework/internal/spec"
)

// Ports whose guests can send only from the addresses of the attachment: a source filter on
// the port drops everything else. The port's mark says that it has one; if the filter is gone
// all the same, the attachment is half made, and the same line adds it again.

// notFiltered is why a kind has no source filters.
func notFiltered(word spec.Kind) string {
	return fmt.Sprintf("--antispoof is for a port of a Linux bridge, and this is of the kind %s", word)
}

// checkAntispoof refuses --antispoof where what the guest may send is not known.
func checkAntispoof(j *build.Job) error {
	switch {
	case !j.Antispoof:
		return nil
	case !j.Traits.Antispoofs:
		return j.Refuse(fault.Usage, "%s", notFiltered(j.Kind)).WithHint("leave --antispoof out")
	case j.From.Kind != spec.FromLine:
		return j.Refuse(fault.Usage, "--antispoof needs addresses that stay, and those of %s change", sourceName(j.From)).
			WithHint("give an address instead of %s, or leave --antispoof out", sourceName(j.From))
	case len(j.Addrs) == 0:
		return j.Refuse(fault.Usage, "with --antispoof and without an address the guest could send nothing").
			WithHint("give an address, or leave --antispoof out")
	}
	return checkFilter(j, j.Addrs, j.SwitchVLAN)
}

// checkFilter refuses what no filter can tell from what others send.
func checkFilter(j *build.Job, addrs []netip.Prefix, vlan bridge.VLAN) error {
	if len(vlan.Tagged) > 0 {
		return j.Refuse(fault.Usage, "--antispoof cannot know which addresses the guest has in tagged VLANs, and %s has some", vlan).
			WithHint("attach each VLAN by itself, untagged: @10")
	}
	for _, ipv6 := range []bool{false, true} {
		if n := len((spec.Spec{Addrs: addrs}).AddrsOf(ipv6)); n > firewall.MaxFiltered {
			return j.Refuse(fault.Limit, "--antispoof can filter %d addresses of a family, and these are %d", firewall.MaxFiltered, n)
		}
	}
	return nil
}

// filterOf is the filter of a port.
func filterOf(port string, mac net.HardwareAddr, addrs []netip.Prefix) *firewall.SourceFilter {
	f := &firewall.SourceFilter{Port: port, MAC: mac}
	for _, p := range addrs {
		f.Addrs = append(f.Addrs, p.Addr())
	}
	return f
}

// planFilter plans the filter of a new port.
func planFilter(j *build.Job, d *build.Draft) {
	if j.Antispoof {
		d.Add(FilterSource{Port: j.Names.Port, Want: filterOf(j.Names.Port, j.LinkMAC(), j.Addrs)})
	}
}

// repairFilter plans the filter of a port that has lost it.
func repairFilter(j *build.Job, d *build.Draft) {
	if !j.Antispoof {
		return
	}
	_, mac := ours.FilterMarkOf(j.There.Own)
	want := filterOf(j.There.Own.Name, mac, j.Addrs)
	if there := j.There.Filter; there == nil || !there.Equal(*want) {
		d.Add(FilterSource{Port: want.Port, Want: want, Was: there, Marked: true})
	}
}

// antispoofDiffers holds a port that is there against what is asked.
func antispoofDiffers(j *build.Job, differ build.Differ) {
	if there := ours.IsFiltered(j.There.Own); there != j.Antispoof {
		differ(spec.Antispoof, spec.OnOff(there), spec.OnOff(j.Antispoof))
	}
}

// SetAntispoof plans for the filter to be there or not, and to follow the addresses: while
// they change, the guest can send from the old and the new ones.
func (linuxBridge) SetAntispoof(c build.Change, d *build.Draft, change func() error) error {
	port, was := c.There.Found.Port, c.There.Filter
	is := ours.IsFiltered(port)
	wanted := is
	if c.Antispoof != nil {
		wanted = *c.Antispoof
	}
	if !wanted {
		if is && was != nil { // it is complete, so it has one
			d.Add(FilterSource{Port: port.Name, Was: was, Marked: true})
		}
		return change()
	}
	want, err := filterAfter(c, is)
	if err != nil {
		return err
	}
	during := *want
	if c.HasAddrs {
		during.Addrs = slices.Concat(want.Addrs, addrsNow(c))
	}
	if was == nil || !was.Equal(during) {
		d.Add(FilterSource{Port: port.Name, Want: &during, Was: was, Marked: is})
	}
	if err := change(); err != nil {
		return err
	}
	if !want.Equal(during) {
		d.Add(FilterSource{Port: port.Name, Want: want, Was: &during, Marked: true})
	}
	return nil
}

// filterAfter is the filter after a change; is: there is one already.
func filterAfter(c build.Change, is bool) (*firewall.SourceFilter, error) {
	if why := source.Kept(c.There.Inside); why != "" {
		return nil, c.Refuse(fault.Usage, "--antispoof needs addresses that stay: %s", why)
	}
	word := c.There.Found.Host.VLAN
	if c.VLAN != "" {
		word = c.VLAN
	}
	v, err := bridge.ParseVLAN(word)
	if err != nil {
		v = bridge.VLAN{} // none
	}
	addrs := ours.AddressesOf(c.There.Inner, c.There.Addrs)
	if c.HasAddrs {
		addrs = c.Addrs
	}
	if err := checkFilter(c.Job, addrs, v); err != nil {
		return nil, err
	}
	mac := c.There.Inner.MAC
	if is {
		_, mac = ours.FilterMarkOf(c.There.Found.Port)
	}
	want := filterOf(c.There.Found.Port.Name, mac, addrs)
	if is && !c.HasAddrs {
		want.Addrs = addrsNow(c) // what the guest has added by itself stays out
	}
	return want, nil
}

// addrsNow are the addresses that the guest can send from now.
func addrsNow(c build.Change) (all []netip.Addr) {
	if f := c.There.Filter; f != nil {
		return f.Addrs
	}
	for _, p := range ours.AddressesOf(c.There.Inner, c.There.Addrs) {
		all = append(all, p.Addr())
	}
	return all
}

// lookAtFilter reads the filter of a port that is there, and whether the kernel has filters
// where a new one is asked for.
func lookAtFilter(o *build.Observer, s spec.Spec, f *build.Facts) {
	f.Filter = readFilter(&o.Looker, o.Host, f.Own, s.Antispoof)
}

// LookAtFilter does the same for a change.
func LookAtFilter(o *build.Looker, k plan.Kernel, s spec.SetSpec, port *rtnl.Link, f *build.SetFacts) {
	f.Filter = readFilter(o, k, port, s.Antispoof != nil && *s.Antispoof)
}

func readFilter(o *build.Looker, k plan.Kernel, port *rtnl.Link, asked bool) (found *firewall.SourceFilter) {
	switch {
	case port != nil && ours.IsFiltered(port):
		o.Look("the source filter of "+port.Name, func() error {
			return k.Run(func() (err error) { found, err = firewall.ReadSourceFilter(port.Name); return err })
		})
	case asked:
		o.Look("nf_tables", func() error { return k.Run(firewall.CheckSourceFilters) })
	}
	return found
}

// HasFilter reports whether a port that is marked still has its filter.
func HasFilter(k plan.Kernel, port *rtnl.Link) bool {
	var o build.Looker
	f := readFilter(&o, k, port, false)
	_, mac := ours.FilterMarkOf(port)
	return o.Err != nil || f != nil && f.MAC.String() == mac.String()
}

// FilterSource puts a source filter on a port, or another in its place, or deletes it, and
// marks the port.
type FilterSource struct {
	Port      string
	Want, Was *firewall.SourceFilter // nil: none
	Marked    bool                   // the port has the mark already
}

func (s FilterSource) Do(_ context.Context, m *plan.Machine) error {
	i, err := m.Find(plan.OnHost, s.Port)
	if err == nil {
		err = s.become(m, i, s.Want)
	}
	return fault.Explain("filter what comes in by", s.Port, err)
}

func (s FilterSource) Undo(_ context.Context, m *plan.Machine) error {
	was := s.Was
	if !s.Marked {
		was = nil
	}
	err := s.become(m, m.Index(plan.OnHost, s.Port), was)
	return fault.IgnoreAbsent("filter what comes in by", s.Port, err)
}

// become changes the filter, and the mark of the port so that it never says less than there
// is: a filter without a mark goes with gc.
func (s FilterSource) become(m *plan.Machine, port int, f *firewall.SourceFilter) error {
	host := m.Host()
	l, err := host.LinkByIndex(port)
	if err != nil {
		return errors.Join(err, host.Run(func() error { return firewall.DeleteSourceFilter(s.Port) }))
	}
	if f != nil {
		if err := host.Run(f.Set); err != nil {
			return err
		}
	}
	want := ""
	if f != nil {
		want = ours.FilterMark(s.Port, f.MAC)
	}
	mark, _ := ours.FilterMarkOf(l)
	if mark != want && mark != "" {
		err = host.DelAltName(port, mark)
	}
	if err == nil && mark != want && want != "" {
		err = host.AddAltName(port, want)
	}
	if err == nil && f == nil {
		err = host.Run(func() error { return firewall.DeleteSourceFilter(s.Port) })
	}
	return err
}

func (FilterSource) Nature() plan.Nature { return plan.Undoable }

func (s FilterSource) String() string {
	property := func(verb string, mac net.HardwareAddr) string {
		return "ip link property " + verb + " dev " + s.Port + " altname " + ours.FilterMark(s.Port, mac)
	}
	if s.Want == nil {
		return property("del", s.Was.MAC) + "\n" + s.Was.DeleteCommand()
	}
	lines := s.Want.Commands()
	if !s.Marked {
		lines = append(lines, property("add", s.Want.MAC))
	}
	return strings.Join(lines, "\n")
}

// DropFilter deletes the filter of a port that has gone.
type DropFilter struct{ Port string }

func (s DropFilter) Do(_ context.Context, m *plan.Machine) error {
	return m.Host().Run(func() error { return firewall.DeleteSourceFilter(s.Port) })
}

func (DropFilter) Undo(context.Context, *plan.Machine) error { return nil }

func (DropFilter) Nature() plan.Nature { return plan.Final }

func (s DropFilter) String() string {
	return firewall.SourceFilter{Port: s.Port}.DeleteCommand()
}

// dropFilters plans for the filters of ports that go, after them.
func dropFilters(d build.Departure, r *build.Removal) {
	for _, c := range d.Chosen {
		if c.Port != nil && ours.IsFiltered(c.Port) {
			r.Last = append(r.Last, DropFilter{c.Port.Name})
		}
	}
}

// collectFilters plans for filters whose port has gone.
func collectFilters(f build.GCFacts, r *build.Removal) {
	for _, name := range f.Filtered {
		port := f.Named(name)
		if port != nil {
			if _, goes := f.Abandoned[port.Index]; !goes && ours.IsFiltered(port) {
				continue
			}
		}
		r.Last = append(r.Last, DropFilter{name})
	}
}
