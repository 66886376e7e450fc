package kind

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/gopipework/gopipework/bridge"
	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/spec"
)

// Mirrors: a guest receives copies of the frames of another guest's interface. The copies are
// taken at the host's end of that one, the source's port. Filters of ours send them out by the
// new port, and so to its guest alone; Open vSwitch has mirrors of its own.

// mirrorMark begins the alternative name of a port that copies are sent to. It stays when the
// filters have gone with the source's port, so list can tell that there is nothing to see.
const mirrorMark = plan.MarkWord + "-mirror."

// IsMirror reports whether a line has asked for copies to be sent to a port.
func IsMirror(port *rtnl.Link) bool {
	return port != nil && slices.Contains(port.AltNames, mirrorMark+port.Name)
}

// ReadMirrors reads what copies frames from port to port.
func ReadMirrors(k plan.Reader, ovs bridge.OVS) (m build.Mirrors, err error) {
	if m.Links, err = k.Links(); err != nil {
		return m, err
	}
	qdiscs, err := k.Qdiscs()
	if err != nil {
		return m, err
	}
	for _, q := range qdiscs {
		if q.Kind == "clsact" || q.Kind == "ingress" {
			m.Qdiscs = append(m.Qdiscs, q)
		}
	}
	filters, err := k.Mirrors(plan.Group)
	name := func(index int) string {
		i := slices.IndexFunc(m.Links, func(l *rtnl.Link) bool { return l.Index == index })
		if i < 0 {
			return ""
		}
		return m.Links[i].Name
	}
	for _, f := range filters {
		m.All = append(m.All, build.Mirror{From: name(f.Index), To: name(f.To), Way: wayOf(f.Egress), Filter: f})
	}
	for _, o := range ovs.Mirrors() {
		if o.In || o.From == "" {
			m.All = append(m.All, build.Mirror{From: o.From, To: o.To, Way: spec.In, OVS: &o})
		}
		if o.Out {
			m.All = append(m.All, build.Mirror{From: o.From, To: o.To, Way: spec.Out, OVS: &o})
		}
	}
	return m, err
}

// wayOf returns what the frames are to the guest that are copied at the host's end.
func wayOf(egress bool) spec.Way {
	if egress {
		return spec.In
	}
	return spec.Out
}

// FindMirrors looks at them for an attach, if they matter to it.
func FindMirrors(ctx context.Context, o *build.Observer, s spec.Spec, f *build.Facts) {
	if len(s.Mirrors) == 0 && !IsMirror(f.Own) && !IsMirror(f.Port) && (f.Parked == nil || !IsMirror(f.Parked.Port)) {
		return
	}
	if !f.OVS.Running {
		f.OVS = o.OVS(ctx, o.Host)
	}
	o.Look("mirrors", func() (err error) { f.Mirrors, err = ReadMirrors(o.Host, f.OVS); return err })
}

// markOf returns the mark of a port, whether or not its guest is away.
func markOf(port *rtnl.Link) (m plan.Mark, ok bool) {
	if m, ok = plan.ParseMark(port.Alias); !ok {
		m, ok = plan.ParseParked(port.Alias)
	}
	return m, ok && plan.IsOurs(port) && port.Kind == "veth"
}

// mirroredPort returns the port whose frames a mirror copies.
func mirroredPort(j *build.Job, want spec.Mirror) (*rtnl.Link, error) {
	var found []*rtnl.Link
	for _, l := range j.There.Mirrors.Links {
		if m, ok := markOf(l); ok && m.IfName == want.IfName && ours.AnswersTo(m.Guest(), want.Guest) {
			found = append(found, l)
		}
	}
	switch len(found) {
	case 0:
		return nil, j.Refuse(fault.NotFound, "--mirror %s: gopipework attached no interface %s of %s with a port on this host", want, want.IfName, want.Guest).
			WithHint("gopipework list shows what there is")
	case 1:
		return found[0], nil
	}
	return nil, j.Refuse(fault.Conflict, "--mirror %s: %s and %s both answer to that", want, found[0].Name, found[1].Name).
		WithHint("name the guest with its runtime, such as docker:%s:%s", want.Guest, want.IfName)
}

// checkMirrors refuses what cannot be copied to the new interface.
func checkMirrors(j *build.Job) error {
	if len(j.Mirrors) > 0 && !j.Traits.Pair {
		return j.Refuse(fault.Usage, "--mirror is for an interface whose other end is on the host, and this is of the kind %s", j.Kind).
			WithHint("leave --mirror out, or attach to a bridge")
	}
	seen := map[string]bool{}
	for _, m := range j.Mirrors {
		from, err := mirroredPort(j, m)
		if err == nil {
			err = checkSource(j, m, from)
		}
		if err != nil {
			return err
		}
		if seen[from.Name] {
			return j.Refuse(fault.Usage, "--mirror %s: that interface is given twice", m)
		}
		seen[from.Name] = true
	}
	return nil
}

// checkSource refuses a port whose frames must not, or cannot, be copied to the new one.
func checkSource(j *build.Job, m spec.Mirror, from *rtnl.Link) error {
	p, inOVS := j.There.OVS.Port(from.Name)
	switch {
	case from.PeerNS >= 0 && from.PeerNS == j.There.GuestNS:
		return j.Refuse(fault.Usage, "--mirror %s: a guest is not mirrored into itself", m).
			WithHint("gopipework capture shows the packets of an interface")
	case j.Kind == spec.KindOVS && (!inOVS || p.Bridge != j.HostIF.Name):
		return j.Refuse(fault.Conflict, "--mirror %s: its port %s is not on %s, and Open vSwitch copies only from port to port of one bridge", m, from.Name, j.HostIF.Name).
			WithHint("attach both to the same bridge")
	case j.Kind != spec.KindOVS && inOVS:
		return j.Refuse(fault.Conflict, "--mirror %s: its port %s is on the Open vSwitch bridge %s, which copies only to ports of its own", m, from.Name, p.Bridge).
			WithHint("attach to %s", p.Bridge)
	case copies(j.There.Mirrors.All, portOf(j), from.Name):
		return j.Refuse(fault.Conflict, "--mirror %s: its frames are copies from %s already, and would go round in a circle", m, portOf(j)).
			WithHint("detach one of the two, and attach it without --mirror")
	case j.Kind != spec.KindOVS && j.There.Mirrors.Filtering(from.Index) == "ingress":
		return j.Refuse(fault.Conflict, "--mirror %s: %s", m, ingressTaken(from.Name)).WithHint("tc qdisc show dev %s", from.Name)
	}
	return nil
}

// ingressTaken says why a port's frames cannot be copied.
func ingressTaken(port string) string {
	return "somebody has put an ingress qdisc on " + port + ", where a clsact has to be"
}

// copies reports whether frames are copied from one port to another, perhaps by way of
// others.
func copies(all []build.Mirror, from, to string) bool {
	reached := []string{from}
	for n := 0; n < len(reached); n++ {
		for _, m := range all {
			if m.From == reached[n] && !slices.Contains(reached, m.To) {
				reached = append(reached, m.To)
			}
		}
	}
	return slices.Contains(reached[1:], to)
}

// portOf is the name of the host's end, there or to come.
func portOf(j *build.Job) string {
	if j.There.Own != nil {
		return j.There.Own.Name
	}
	return j.Names.Port
}

// mirroredPorts returns the ports of what is asked for, which [checkMirrors] has found.
func mirroredPorts(j *build.Job) (all []*rtnl.Link) {
	for _, m := range j.Mirrors {
		if from, err := mirroredPort(j, m); err == nil {
			all = append(all, from)
		}
	}
	return all
}

// PlanMirrors plans the copies that are asked for and not made.
func PlanMirrors(j *build.Job, d *build.Draft) {
	if len(j.Mirrors) == 0 {
		return
	}
	port := portOf(j)
	if !j.Complete() {
		d.Add(ours.AddMark{Link: port, Mark: mirrorMark + port})
	}
	for n, from := range mirroredPorts(j) {
		planMirror(j, d, from, j.Mirrors[n])
	}
	if j.Kind == spec.KindOVS {
		d.Warn("%s passes nothing but copies to %s, and nothing that comes from it", j.HostIF.Name, j.Names.Inner)
	}
}

func planMirror(j *build.Job, d *build.Draft, from *rtnl.Link, want spec.Mirror) {
	port := portOf(j)
	var missing []spec.Way
	for _, way := range []spec.Way{spec.Out, spec.In} {
		there := j.Complete() && slices.ContainsFunc(j.There.Mirrors.All, func(m build.Mirror) bool { return m.From == from.Name && m.To == port && m.Way == way })
		if want.Includes(way) && !there {
			missing = append(missing, way)
		}
	}
	switch {
	case len(missing) == 0:
	case j.Kind == spec.KindOVS:
		d.Steps = append(d.Steps, dropMirrors(j.There.Mirrors.All, func(m build.Mirror) bool { return j.Complete() && m.OVS != nil && m.From == from.Name && m.To == port })...)
		d.Add(AddOVSMirror{bridge.NewOVSMirror(j.HostIF.Name, from.Name, port, want.Includes(spec.In), want.Includes(spec.Out))})
	default:
		d.Add(AddMirror{From: from.Name, to: port, Ways: missing, qdisc: j.There.Mirrors.Filtering(from.Index) == ""})
	}
}

// ClearMirrors deletes what copies nothing any more: a killed run, or a guest that has ended,
// has left it.
func ClearMirrors(j *build.Job, d *build.Draft) {
	asked, parked := mirroredPorts(j), ""
	if p := j.There.Parked; p != nil {
		parked = p.Port.Name
	}
	d.Steps = append(d.Steps, dropMirrors(j.There.Mirrors.All, func(m build.Mirror) bool {
		switch m.To {
		case "":
			return slices.ContainsFunc(asked, func(l *rtnl.Link) bool { return l.Name == m.From })
		case portOf(j), j.Names.Port, parked:
			return !j.Complete() || m.From == ""
		}
		return false
	})...)
}

// MirrorsDiffer tells what is copied to the interface without being asked for. What is asked
// for and is not copied is repaired: it may have gone with the source's port.
func MirrorsDiffer(j *build.Job, differ build.Differ) {
	if j.There.Own == nil {
		return
	}
	asked := mirroredPorts(j)
	unasked := func(m build.Mirror) bool {
		n := slices.IndexFunc(asked, func(l *rtnl.Link) bool { return l.Name == m.From })
		return m.To == j.There.Own.Name && m.From != "" && (n < 0 || !j.Mirrors[n].Includes(m.Way))
	}
	if is := IsMirror(j.There.Own); is != (len(j.Mirrors) > 0) || slices.ContainsFunc(j.There.Mirrors.All, unasked) {
		there := strings.Join(MirrorWords(j.There.Mirrors, j.There.Own.Name), " ")
		if is {
			there = cmp.Or(there, "of what has gone")
		}
		differ(spec.MirrorOf, spec.OrNone(there), spec.OrNone(strings.Join(AskedMirrors(j), " ")))
	}
}

// AskedMirrors returns the words of what is asked for, as a list has them.
func AskedMirrors(j *build.Job) (words []string) {
	for n, from := range mirroredPorts(j) {
		words = append(words, mirrorWord(from, j.Mirrors[n].Way))
	}
	return words
}

// MirrorWords returns what is copied to a port, a word as --mirror has it for each source.
func MirrorWords(m build.Mirrors, to string) (words []string) {
	for _, l := range m.Links {
		var way spec.Way
		for _, is := range m.All {
			switch {
			case is.To != to || is.From != l.Name:
			case way == "":
				way = is.Way
			case way != is.Way:
				way = spec.Both
			}
		}
		if way != "" {
			words = append(words, mirrorWord(l, way))
		}
	}
	return words
}

func mirrorWord(from *rtnl.Link, way spec.Way) string {
	m, _ := markOf(from)
	return spec.Mirror{Guest: m.Guest().Word(), IfName: m.IfName, Way: way}.String()
}

// DetachMirrors plans for the copies to end that are sent to ports that go. What is copied
// from such a port ends with it.
func DetachMirrors(d build.Departure, r *build.Removal) {
	r.Steps = append(r.Steps, dropMirrors(d.There.Mirrors.All, func(m build.Mirror) bool {
		return slices.ContainsFunc(d.Chosen, func(c build.Pair) bool { return c.Port != nil && c.Port.Name == m.To })
	})...)
}

// GCMirrors plans for the copies to end that are sent to ports that have gone, or go.
func GCMirrors(f build.GCFacts, r *build.Removal) {
	r.Steps = append(r.Steps, dropMirrors(f.Mirrors.All, func(m build.Mirror) bool {
		if m.OVS != nil {
			p, ok := f.OVS.Port(m.To)
			return !ok || !stays(f, p)
		}
		_, goes := f.Abandoned[m.Filter.To]
		return m.To == "" || goes
	})...)
}

// dropMirrors returns the steps that delete some of all mirrors.
func dropMirrors(all []build.Mirror, goes func(build.Mirror) bool) (steps []plan.Step) {
	left := slices.Clone(all)
	for n, m := range all {
		if !goes(m) {
			continue
		}
		left = slices.DeleteFunc(left, func(o build.Mirror) bool { return o == m })
		switch {
		case m.OVS == nil:
			stays := m.Filter.Shared || slices.ContainsFunc(left, func(o build.Mirror) bool { return o.From == m.From })
			steps = append(steps, DelMirror{m, !stays})
		case !slices.ContainsFunc(all[:n], func(o build.Mirror) bool { return o.OVS == m.OVS }):
			steps = append(steps, DelOVSMirror{*m.OVS})
		}
	}
	return steps
}
