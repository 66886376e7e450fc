package kind

import (
	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/spec"
)

// dummyKind is a link that leads nowhere.
type dummyKind struct{ childKind }

var dummy = dummyKind{childKind{plain: plain{build.Traits{
	Word: spec.KindDummy, Child: true, Makes: true,
	NoProbe: "a dummy has no network on which somebody could have the address",
}}}}

func (dummyKind) claims(name string, f build.Facts) bool { return toMake("dummy", name, f) }

func (dummyKind) settle(j *build.Job, _ *build.Draft) error {
	switch {
	case j.VLAN != "":
		return j.Refuse(fault.Usage, "a dummy has no VLAN")
	case j.Mode != "":
		return j.Refuse(fault.Usage, "a dummy has no mode")
	case j.From.Kind != spec.FromLine:
		return j.Refuse(fault.Usage, "a dummy has no network from which %s could get an address", sourceName(j.From)).
			WithHint("give an address: 192.168.1.2/32")
	}
	return nil
}

func (k dummyKind) Join(j *build.Job, d *build.Draft) {
	PlanClearing(j, d)
	k.make(j, d, AddChild{})
}

func (dummyKind) Repair(*build.Job, *build.Draft) {}

func (dummyKind) prober(*build.Job) (prober, string) {
	return nil, "a dummy sends nothing anywhere"
}

func (k dummyKind) Differ(j *build.Job, differ build.Differ) {
	if is := spec.Kind(j.There.Inner.Kind); is != k.Word {
		differ("kind", is, k.Word)
	}
}
