package topology

import (
	"cmp"
	"fmt"
	"net/netip"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/spec"
	"github.com/gopipework/gopipework/internal/yamlfile"
)

// clashes finds what two entries both want. Guests are told apart by their words: "web"
// and "docker:web" can be one or two, which only the host knows.
type clashes struct {
	wrong func(Pos, error)
	taken map[any]Pos
}

// The things that only one entry can have.
type (
	fileName string
	guestIF  struct{ guest, ifName string }
	hostName string
	uplink   string
	ofHost   netip.Addr // the host has an address on one bridge alone
	address  struct {
		hostIF, vlan string
		addr         netip.Addr
	}
)

// Clashes returns the error for files that want the same; nil: no two of them do.
func Clashes(files []File) error {
	if found := Clashing(files...); len(found) > 0 {
		return yamlfile.Invalid(found[0].File, found)
	}
	return nil
}

// Clashing returns a problem for each entry that wants what an earlier one has: a name, an
// interface of a guest, an address. Files want a name of their own.
func Clashing(files ...File) []*Problem {
	var found []*Problem
	c := clashes{func(pos Pos, err error) { found = append(found, &Problem{Pos: pos, Err: err}) }, map[any]Pos{}}
	for _, f := range files {
		at := f.NameAt
		if at == (Pos{}) {
			at = Pos{File: f.Path, Line: 1, Column: 1}
		}
		c.take(at, fileName(f.Name), "read name", f.Name, "")
		c.file(f)
	}
	return found
}

// file refuses each entry that wants what an earlier one has.
func (c *clashes) file(f File) {
	for _, b := range f.Bridges {
		for _, p := range b.Address {
			here := address{b.Name, "", p.Addr()}
			if _, told := c.taken[here]; !told {
				c.take(b.Pos, ofHost(p.Addr()), "read address", p.Addr().String(), "the host")
			}
			c.take(b.Pos, here, "read address", p.Addr().String(), b.Name)
		}
		if b.Uplink != "" {
			c.take(b.Pos, uplink(b.Uplink), "read uplink", b.Uplink, "")
		}
	}
	for _, e := range f.Entries {
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
	if s.HostIF.Kind == spec.KindHost {
		c.take(pos, hostName(s.HostIF.Name), "read host interface name", s.HostIF.Name, "the host")
	}
	if s.HostIF.Alone() {
		return
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
	entry := fmt.Sprintf("the entry in line %d", first.Line)
	if first.File != pos.File {
		entry = "the entry at " + first.String()
	}
	e := fault.New(fault.Invalid, op, object, "%s has it already on %s", entry, where)
	switch what.(type) {
	case guestIF:
		e = fault.New(fault.Invalid, op, object, "%s gives %s one of that name already", entry, where).
			WithHint("name one of them differently: -i, or the key as")
	case uplink:
		e = fault.New(fault.Invalid, op, object, "%s has it already, and an interface is a port of one bridge alone", entry)
	case fileName:
		e = fault.New(fault.Invalid, op, object, "the file at %s has the same name", first).
			WithHint("give each file a name of its own: name: lab")
	}
	c.wrong(pos, e)
}
