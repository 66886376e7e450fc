package attach

import (
	"github.com/gopipework/gopipework/internal/fault"
)

// dummyKind is a link that leads nowhere.
type dummyKind struct{ childKind }

var dummy = dummyKind{childKind{traits: traits{
	word: KindDummy, child: true,
	noProbe: "there is nobody on a dummy who could have the address",
}}}

func (dummyKind) claims(name string, f Facts) bool { return toMake("dummy", name, f) }

func (dummyKind) settle(j *job, _ *draft) error {
	switch {
	case j.VLAN != "":
		return j.refuse(fault.Usage, "a dummy has no VLAN")
	case j.Mode != "":
		return j.refuse(fault.Usage, "a dummy has no mode")
	case j.From.Kind != FromLine:
		return j.refuse(fault.Usage, "there is no network behind a dummy, from which %s could get an address", sourceName(j.From)).
			WithHint("an address on the line: 192.168.1.2/32")
	}
	return nil
}

func (k dummyKind) join(j *job, d *draft) {
	j.clear(d)
	k.make(j, d, addChild{})
}

func (dummyKind) repair(*job, *draft) {}

func (dummyKind) prober(*job) (prober, string) {
	return nil, "nothing is sent from a dummy to anywhere"
}

func (k dummyKind) differ(j *job, differ differ) {
	if is := Kind(j.f.Inner.Kind); is != k.word {
		differ("kind", is, k.word)
	}
}
