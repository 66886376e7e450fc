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

// repairFilter plans the filter of a port that has lost it, or its mark, and for one without
// a mark to go that nobody asks for.
func repairFilter(j *build.Job, d *build.Draft) {
	there, own := j.There.Filter, j.There.Own
	mark, mac := ours.FilterMarkOf(own)
	if !j.Antispoof {
		if there != nil {
			d.Add(FilterSource{Port: own.Name, Was: there, Mark: mark})
		}
		return
	}
	if mark == "" {
		mac = there.MAC // the two do not differ, so it has a filter
	}
	want := filterOf(own.Name, mac, j.Addrs)
	if there == nil || !there.Equal(*want) || mark != ours.FilterMark(own.Name, mac) {
		d.Add(FilterSource{Port: own.Name, Want: want, Was: there, Mark: mark})
	}
	dropRenamed(d, own)
}

// filterNames returns the names that filters of a port have: its own name, and the one that
// it had when it got its mark, if that is another. Who renames a port does not rename its
// filter.
func filterNames(port *rtnl.Link) []string {
	mark, _ := ours.FilterMarkOf(port)
	if was := ours.FilteredPort(mark); was != "" && was != port.Name {
		return []string{port.Name, was}
	}
	return []string{port.Name}
}

// dropRenamed plans for the filter to go that a port had under another name.
func dropRenamed(d *build.Draft, port *rtnl.Link) {
	for _, was := range filterNames(port)[1:] {
		d.Add(DropFilter{was})
	}
}

// antispoofDiffers holds a port that is there against what is asked. What is half made is
// neither on nor off: the line decides.
func antispoofDiffers(j *build.Job, differ build.Differ) {
	there := ours.IsFiltered(j.There.Own)
	if !there && j.There.Filter != nil {
		return
	}
	if there != j.Antispoof {
		differ(spec.Antispoof, spec.OnOff(there), spec.OnOff(j.Antispoof))
	}
}

// SetAntispoof plans for the filter to be there or not, and to follow the addresses: while
// they change, the guest can send from the old and the new ones.
func (linuxBridge) SetAntispoof(c build.Change, d *build.Draft, readdress func() error) error {
	port, was := c.There.Found.Port, c.There.Filter
	mark, _ := ours.FilterMarkOf(port)
	is := mark != "" || was != nil
	wanted := is
	if c.Antispoof != nil {
		wanted = *c.Antispoof
	}
	if !wanted {
		if is {
			d.Add(FilterSource{Port: port.Name, Was: was, Mark: mark})
			dropRenamed(d, port)
		}
		return readdress()
	}
	want, err := filterAfter(c, d, is)
	if err != nil {
		return err
	}
	if is && was == nil && !c.HasAddrs {
		return readdress() // the attachment's line says what its rules were
	}
	if was != nil && c.HasAddrs {
		during := *want
		during.Addrs = slices.Concat(want.Addrs, was.Addrs)
		if !was.Equal(during) {
			d.Add(FilterSource{Port: port.Name, Want: &during, Was: was, Mark: mark})
		}
		was = &during
	}
	if err := readdress(); err != nil {
		return err
	}
	if was == nil || !was.Equal(*want) || mark == "" {
		d.Add(FilterSource{Port: port.Name, Want: want, Was: was, Mark: mark})
		dropRenamed(d, port)
	}
	return nil
}

// filterAfter is the filter after a change; is: there is one already.
func filterAfter(c build.Change, d *build.Draft, is bool) (*firewall.SourceFilter, error) {
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
	if !is {
		return filterOf(c.There.Found.Port.Name, c.There.Inner.MAC, addrs), checkClaims(c, d, addrs, v)
	}
	mark, mac := ours.FilterMarkOf(c.There.Found.Port)
	was := c.There.Filter
	if mark == "" {
		mac = was.MAC
	}
	want := filterOf(c.There.Found.Port.Name, mac, addrs)
	if was != nil && !c.HasAddrs {
		want.Addrs = was.Addrs // what the guest has added by itself stays out
	}
	return want, nil
}

// checkClaims refuses a MAC address that the guest has taken from somebody else on the
// bridge, and warns of such addresses: a new filter would let it send from them.
func checkClaims(c build.Change, d *build.Draft, addrs []netip.Prefix, vlan bridge.VLAN) error {
	if c.To != nil {
		return nil // looked at with the new bridge
	}
	j := *c.Job
	j.Addrs, j.SwitchVLAN, j.There.Base, j.There.Stations = addrs, vlan, c.There.OwnOn, c.There.Stations
	if e := (*fault.Error)(nil); errors.As(CheckMAC(&j), &e) {
		return e.WithHint("detach it, and attach it again with --antispoof")
	}
	WarnStations(&j, d)
	return nil
}

// lookAtFilter reads the filter of a port that is there, and whether the kernel has filters
// where a new one is asked for.
func lookAtFilter(o *build.Observer, s spec.Spec, f *build.Facts) {
	f.Filter = readFilter(&o.Looker, o.Host, f.Own, s.Antispoof)
}

// LookAtFilter does the same for a change, and looks at who else is on the bridge where a new
// filter is asked for.
func LookAtFilter(o *build.Looker, k plan.Kernel, s spec.SetSpec, port *rtnl.Link, f *build.SetFacts) {
	asked := s.Antispoof != nil && *s.Antispoof
	f.Filter = readFilter(o, k, port, asked)
	if !asked || ours.IsFiltered(port) || f.OwnOn == nil {
		return
	}
	there := build.Facts{Inside: f.Inside, Base: f.OwnOn, Own: port, GuestNS: f.Detach.GuestNS}
	on := build.Observer{Looker: *o, Host: k}
	lookAtPorts(&on, spec.Spec{MAC: f.Inner.MAC, Addrs: ours.AddressesOf(f.Inner, f.Addrs)}, &there)
	o.Err, f.Stations = on.Err, there.Stations
}

func readFilter(o *build.Looker, k plan.Kernel, port *rtnl.Link, asked bool) (found *firewall.SourceFilter) {
	if port != nil {
		o.Look("the source filter of "+port.Name, func() error {
			err := k.Run(func() (err error) { found, err = firewall.ReadSourceFilter(port.Name); return err })
			if fault.CodeOf(err) == fault.Unsupported && !ours.IsFiltered(port) {
				return nil
			}
			return err
		})
	}
	if found == nil && asked {
		o.Look("nf_tables", func() error { return k.Run(firewall.CheckSourceFilters) })
	}
	return found
}

// FilterState reports whether a port has a source filter, or the mark of one, and whether it
// is half: one of the two is missing.
func FilterState(k plan.Kernel, port *rtnl.Link) (has, half bool) {
	var o build.Looker
	f := readFilter(&o, k, port, false)
	mark, mac := ours.FilterMarkOf(port)
	if mark == "" {
		return f != nil, f != nil
	}
	return true, o.Err == nil && (f == nil || f.MAC.String() != mac.String())
}

// FilterSource puts a source filter on a port, or another in its place, or deletes it, and
// marks the port.
type FilterSource struct {
	Port      string
	Want, Was *firewall.SourceFilter // nil: none
	Mark      string                 // the mark that the port has already; "": none
}

func (s FilterSource) Do(_ context.Context, m *plan.Machine) error {
	i, err := m.Find(plan.OnHost, s.Port)
	if err != nil {
		return fault.Explain("filter what comes in by", s.Port, err)
	}
	if err := s.become(m, i, s.Want, s.mark()); err != nil {
		return plan.Half(fault.Explain("filter what comes in by", s.Port, err), s.restore(m, i), s)
	}
	return nil
}

func (s FilterSource) Undo(_ context.Context, m *plan.Machine) error {
	return s.restore(m, m.Index(plan.OnHost, s.Port))
}

func (s FilterSource) restore(m *plan.Machine, port int) error {
	return fault.IgnoreAbsent("filter what comes in by", s.Port, s.become(m, port, s.Was, s.Mark))
}

// mark is the one that is wanted.
func (s FilterSource) mark() string {
	if s.Want == nil {
		return ""
	}
	return ours.FilterMark(s.Port, s.Want.MAC)
}

// become changes the filter and the mark of the port. The mark comes first and goes last, for
// a mark without rules is what list shows and the same line repairs.
func (s FilterSource) become(m *plan.Machine, port int, f *firewall.SourceFilter, mark string) error {
	host := m.Host()
	set := func() error { return firewall.DeleteSourceFilter(s.Port) }
	l, err := host.LinkByIndex(port)
	if err != nil {
		return errors.Join(err, host.Run(set))
	}
	if f != nil {
		set = f.Set
	}
	has, _ := ours.FilterMarkOf(l)
	if mark != "" && mark != has {
		if err := host.AddAltName(port, mark); err != nil {
			return err
		}
	}
	if err := host.Run(set); err != nil {
		return err
	}
	if has != "" && has != mark {
		return host.DelAltName(port, has)
	}
	return nil
}

func (FilterSource) Nature() plan.Nature { return plan.Undoable }

func (s FilterSource) String() string {
	property := func(verb, mark string) string {
		return "ip link property " + verb + " dev " + s.Port + " altname " + mark
	}
	var lines []string
	if mark := s.mark(); mark != "" && mark != s.Mark {
		lines = append(lines, property("add", mark))
	}
	if s.Want != nil {
		lines = append(lines, s.Want.Commands()...)
	} else {
		lines = append(lines, firewall.SourceFilter{Port: s.Port}.DeleteCommand())
	}
	if s.Mark != "" && s.Mark != s.mark() {
		lines = append(lines, property("del", s.Mark))
	}
	return strings.Join(lines, "\n")
}

// DropFilter deletes the filter of a port that has gone, unless another port of that name has
// one by now.
type DropFilter struct{ Port string }

func (s DropFilter) Do(_ context.Context, m *plan.Machine) error {
	l, err := m.Host().LinkByName(s.Port)
	if ours.UnlessNotFound(err) != nil {
		return fault.Explain("find", s.Port, err)
	}
	if err == nil && ours.IsFiltered(l) {
		return nil
	}
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
		if c.Port != nil && (c.Host.Antispoof || ours.IsFiltered(c.Port)) {
			for _, name := range filterNames(c.Port) {
				r.Last = append(r.Last, DropFilter{name})
			}
		}
	}
}

// collectFilters plans for filters whose port has gone. One whose port was renamed stays:
// kernels before 6.16 go on asking it.
func collectFilters(f build.GCFacts, r *build.Removal) {
	for _, name := range f.Filtered {
		stays := slices.ContainsFunc(f.Links, func(l *rtnl.Link) bool {
			_, goes := f.Abandoned[l.Index]
			return !goes && ours.IsFiltered(l) && slices.Contains(filterNames(l), name)
		})
		if !stays {
			r.Last = append(r.Last, DropFilter{name})
		}
	}
}
