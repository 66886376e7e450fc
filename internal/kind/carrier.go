package kind

import (
	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/shell"
	"github.com/gopipework/gopipework/internal/spec"
)

// The carrier of a guest's interface. A pair loses it when its other end is set down, as
// when a cable is pulled, and the guest keeps its addresses and routes. No other kind has
// an end that could be set down: a macvlan gets the carrier of its card anew with each
// change of that, even with "protodown on", and hears frames meanwhile.

// SetCarrier plans for the cable to be pulled or plugged in. The mark comes first and goes
// last: an end with a mark that is up was left by a killed run, and the cable is plugged in.
func SetCarrier(c build.Change, d *build.Draft, on bool) error {
	cable := c.There.Cable
	if cable == nil {
		return noCable(c)
	}
	if on {
		carrierOn(c, d, cable)
		return nil
	}
	return carrierOff(c, d, cable)
}

func carrierOff(c build.Change, d *build.Draft, cable *build.Cable) error {
	end := cable.End
	if end.Up && cable.Loses != "" {
		return c.Refuse(fault.Conflict, "its other end %s has %s, which the kernel deletes when the end is set down", end.Name, cable.Loses).
			WithHint("%s", cable.Keeps)
	}
	if ours.CableMarkOf(end) == "" {
		d.Add(ours.AddMark{Place: cable.Place, Link: end.Name, Mark: ours.CableMark(end.Name)})
	}
	if end.Up {
		d.Add(ours.SetDown{Place: cable.Place, Link: end.Name})
	}
	return nil
}

func carrierOn(c build.Change, d *build.Draft, cable *build.Cable) {
	end, inner, on := cable.End, c.There.Inner, c.There.OwnOn
	if !end.Up {
		d.Add(ours.SetUp{Place: cable.Place, Link: end.Name})
	}
	UnmarkCable(d, cable.Place, end)
	switch {
	case end.Up || !inner.Up:
	case on != nil && on.Up:
		if on.STP {
			d.Wait = 2 * on.ForwardDelay
		}
		d.Add(AwaitForwarding{port: end.Name, bridge: on.Name})
	default:
		d.Add(AwaitUp{Place: c.Job.Place, port: inner.Name})
		if p, ok := c.There.Detach.OVS.Port(end.Name); ok && c.Job.Kind == spec.KindOVS {
			br, _ := c.There.Detach.OVS.Bridge(p.Bridge)
			awaitOVS(br, p, inner.MAC, d)
		}
	}
}

// UnmarkCable plans for the end of a pair to have no mark, if it has one.
func UnmarkCable(d *build.Draft, at plan.Place, end *rtnl.Link) {
	if mark := ours.CableMarkOf(end); mark != "" {
		d.Add(ours.DelMark{Place: at, Link: end.Name, Mark: mark})
	}
}

// noCable says why an interface cannot lose its carrier, and what to do instead.
func noCable(c build.Change) error {
	guest, name := c.Guest, c.There.Inner.Name
	if c.Job.Kind == spec.KindVeth {
		return c.Refuse(fault.NotFound, "the other end of the link cannot be found").
			WithHint("%s sets this end down", shell.Line([]string{"gopipework", "exec", guest, "--", "ip", "link", "set", name, "down"}))
	}
	return c.Refuse(fault.Usage, "--carrier is for a pair, whose other end can be set down, and this is of the kind %s", c.Job.Kind).
		WithHint("%s loses what it sends, and %s sets it down",
			shell.Line([]string{"gopipework", "set", guest, name, "--loss", "100%"}),
			shell.Line([]string{"gopipework", "exec", guest, "--", "ip", "link", "set", name, "down"}))
}

// PlugInFlag is the flag of set that plugs the cable in.
const PlugInFlag = "--carrier " + spec.On

// CarrierDiffers tells that the cable is pulled: every line asks for one that is plugged in.
// It returns the flags of set that end the difference.
func CarrierDiffers(j *build.Job, differ build.Differ) (flags []string) {
	if ours.Pulled(j.There.Own) || ours.Pulled(j.There.Other) {
		differ(spec.CarrierState, spec.Off, spec.On)
		flags = []string{PlugInFlag}
	}
	return flags
}

// RepairCable plans for marks to go that a killed run has left on a cable that is plugged in.
func RepairCable(j *build.Job, d *build.Draft) {
	if own := j.There.Own; own != nil {
		UnmarkCable(d, plan.Place{Side: plan.OnHost}, own)
	}
	UnmarkCable(d, j.Place, j.There.Inner)
}

// GCCables plans for cables to be plugged in again that were pulled on interfaces that are
// not ours, and for the marks to go that killed runs have left.
func GCCables(f build.GCFacts, r *build.Removal) {
	if f.LeaveCables {
		return
	}
	for _, l := range f.Links {
		mark := ours.CableMarkOf(l)
		if mark == "" || plan.IsOurs(l) && !l.Up {
			continue
		}
		if !l.Up {
			r.Steps = append(r.Steps, ours.SetUp{Link: l.Name})
			r.Warn("the cable of %s, which set --carrier off has pulled, is plugged in again", l.Name)
		}
		r.Steps = append(r.Steps, ours.DelMark{Link: l.Name, Mark: mark})
	}
}
