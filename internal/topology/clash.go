package topology

import (
	"cmp"
	"net/netip"
	"strings"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/spec"
)

// clashes finds what two entries of one file both want. Guests are told apart by their
// words: "web" and "docker:web" can be one or two, which only the host knows.
type clashes struct {
	*reader
	taken map[any]Pos
}

// The things that only one entry can have.
type (
	guestIF  struct{ guest, ifName string }
	hostName string
	address  struct {
		hostIF, vlan string
		addr         netip.Addr
	}
)

// refuseClashes refuses each entry that wants what an earlier one has.
func (r *reader) refuseClashes() {
	c := clashes{r, map[any]Pos{}}
	for _, b := range r.file.Bridges {
		for _, p := range b.Address {
			c.take(b.Pos, address{b.Name, "", p.Addr()}, "read address", p.Addr().String(), b.Name)
		}
	}
	for _, e := range r.file.Entries {
		if e.Link != nil {
			for _, end := range e.Link.Ends {
				c.takeInterface(e.Pos, end)
			}
			continue
		}
		c.attachment(e.Pos, *e.Attach)
	}
}

func (c *clashes) attachment(pos Pos, s spec.Spec) {
	c.takeInterface(pos, s)
	if s.HostName != "" {
		c.take(pos, hostName(s.HostName), "read host interface name", s.HostName, "the host")
	}
	switch s.HostIF.Kind {
	case spec.KindHost:
		c.take(pos, hostName(s.HostIF.Name), "read host interface name", s.HostIF.Name, "the host")
		return
	case spec.KindDummy, spec.KindPhys: // nobody else is on it
		return
	}
	if s.HostIF.Kind == spec.KindAny && strings.HasPrefix(s.HostIF.Name, string(spec.KindDummy)) {
		return // one each, unless there is such a card, which the attach sees
	}
	for _, p := range s.Addrs {
		c.take(pos, address{s.HostIF.Name, s.VLAN, p.Addr()}, "read address", p.Addr().String(), s.HostIF.Name)
	}
}

func (c *clashes) takeInterface(pos Pos, s spec.Spec) {
	if s.IfName == "" && s.HostIF.Kind == spec.KindIPoIB {
		return
	}
	name := cmp.Or(s.IfName, spec.UsualIfName)
	c.take(pos, guestIF{s.Guest, name}, "read interface name", name, s.Guest)
}

// take notes that the entry at pos wants something, and refuses it if another has it.
func (c *clashes) take(pos Pos, what any, op, object, where string) {
	first, taken := c.taken[what]
	if !taken {
		c.taken[what] = pos
		return
	}
	e := fault.New(fault.Invalid, op, object, "the entry in line %d has it already on %s", first.Line, where)
	if _, ok := what.(guestIF); ok {
		e = fault.New(fault.Invalid, op, object, "the entry in line %d gives %s one of that name already", first.Line, where).
			WithHint("name one of them differently: -i, or the key as")
	}
	c.Wrong(pos, e)
}
