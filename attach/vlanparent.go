package attach

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/gopipework/gopipework/bridge"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/shell"
	"github.com/gopipework/gopipework/internal/spec"
	"golang.org/x/sys/unix"
)

// The 802.1Q sub-interface of a network card, as the parent of a link in a
// guest: made on demand, shared by all who are on that VLAN, and gone with the
// last.

// parseTag reads the word after @: a network card takes one tag.
func parseTag(j *job) error {
	v, err := bridge.ParseVLAN(j.VLAN)
	if err != nil || v.PVID == 0 || len(v.Tagged) > 0 {
		return fault.BadWord("read VLAN", j.VLAN, "on a network card a VLAN is one number from 1 to 4094").WithHint("@10")
	}
	j.tag = v.PVID
	return nil
}

// settleTag reads the tag, if there is one, and refuses what keeps the link from being
// on the sub-interface for it.
func settleTag(j *job) error {
	if j.VLAN == "" {
		return nil
	}
	if err := parseTag(j); err != nil {
		return err
	}
	tag := j.tag
	j.subInterface = true
	if t := j.f.Tagged; isTagged(t, j.f.Base, tag) {
		if t.Slave != "" {
			return j.refuse(fault.Conflict, "%s, which is VLAN %d of %s, is a port of a %s", t.Name, tag, j.f.Base.Name, t.Slave).
				WithHint("attach to what it is a port of")
		}
		return nil
	}
	name := j.f.Base.Name + "." + j.VLAN
	if why := spec.CheckName(name); why != "" {
		return j.refuse(fault.Usage, "%s cannot be the name of the sub-interface for VLAN %d: %s", name, tag, why).
			WithHint("make one under a shorter name and attach to that")
	}
	if t := j.f.Tagged; t != nil {
		return j.refuse(fault.Conflict, "%s is there already, and it is not VLAN %d of %s but %s", name, tag, j.f.Base.Name, describeKind(t))
	}
	return nil
}

// isTagged reports whether a link of the host is the card's sub-interface for the
// VLAN, whatever it is called: there can be one alone.
func isTagged(l, base *rtnl.Link, tag int) bool {
	return l != nil && tag != 0 && l.Kind == "vlan" && l.VLAN == tag && l.Peer == base.Index && l.PeerNS < 0
}

// tagged looks for it; if there is none, for what has the name that it would get.
func (o *observer) tagged(kind Kind, base *rtnl.Link, word string) (found *rtnl.Link) {
	v, err := bridge.ParseVLAN(word)
	if err != nil || base == nil || kind != KindMacvlan && kind != KindIPvlan && kind != KindVLAN {
		return nil
	}
	o.look("the host's links", func() error {
		all, err := o.host.Links()
		if i := slices.IndexFunc(all, func(l *rtnl.Link) bool { return isTagged(l, base, v.PVID) }); i >= 0 {
			found = all[i]
		}
		return err
	})
	if name := taggedName(kind, base, word); found == nil && name != "" {
		found = o.byName(o.host, name)
	}
	return found
}

// taggedName is the name of the sub-interface that the link is, or is to be, on.
func (j *job) taggedName() string {
	if t := j.f.Tagged; t != nil {
		return t.Name
	}
	return taggedName(j.kind, j.f.Base, j.VLAN)
}

// vlanTaken explains EEXIST of a link for a VLAN, whose name is free: some guest
// has the card's one link for it.
func vlanTaken(m *machine, parent int, parentName string, tag int, err error) error {
	e := fault.New(fault.Conflict, "make vlan on", parentName, "%w", err)
	users, lookErr := childrenOf(m.sides[host], parent, m.hostNS, nil)
	if lookErr != nil {
		return e
	}
	for _, u := range users {
		if u.Kind != "vlan" || u.VLAN != tag {
			continue
		}
		who := u.Name + " (" + u.where() + ")"
		if mark, ok := ParseMark(u.Alias); ok && isOurs(u.Link) {
			who = u.Name + " of " + mark.Name
			e.Hint = "gopipework detach " + GuestInfo{Runtime: mark.Runtime, ID: mark.ID, Name: mark.Name}.Word() + " " + mark.IfName
		}
		e.Err = fmt.Errorf("%s is its VLAN %d, and a card can have only one", who, tag)
	}
	return e
}

// taggedName is the name of the sub-interface of a network card for a VLAN, as
// everybody calls it; "" where there is none, or none can be.
func taggedName(kind Kind, base *rtnl.Link, vlan string) string {
	if base == nil || vlan == "" || kind != KindMacvlan && kind != KindIPvlan {
		return ""
	}
	name := base.Name + "." + vlan
	if spec.CheckName(name) != "" {
		return ""
	}
	return name
}

// vlanMark is the alias of a VLAN sub-interface that we made as a parent.
const vlanMark = markWord + " vlan"

// tagged plans for the VLAN sub-interface that is to be the parent, and
// returns its name.
func (j *job) tagged(d *draft) string {
	name := j.taggedName()
	switch t := j.f.Tagged; {
	case t == nil:
		d.add(addTagged{parent: j.f.Base.Name, name: name, tag: j.tag})
	case isOurs(t) && t.Alias == "":
		d.add(setLink{name: name, set: rtnl.Change{Alias: vlanMark, Up: true}})
	case !t.Up:
		d.add(raiseLink{name})
	}
	return name
}

// addTagged makes a VLAN sub-interface on the host, to be a parent.
type addTagged struct {
	parent, name string
	tag          int
}

func (s addTagged) do(_ context.Context, m *machine) error {
	i, err := m.find(end{host, s.parent})
	if err != nil {
		return explain("find parent", s.parent, err)
	}
	err = m.sides[host].AddChild(rtnl.Child{Name: s.name, Kind: "vlan", Parent: i, Group: Group, VLAN: s.tag})
	if errors.Is(err, unix.EOPNOTSUPP) {
		return lacksKind(m, "vlan", s.name, s.parent, err)
	}
	if errors.Is(err, unix.EEXIST) {
		return vlanTaken(m, i, s.parent, s.tag, err)
	}
	if err != nil {
		return explain("make vlan", s.name, err)
	}
	l, err := m.sides[host].LinkByName(s.name)
	if err == nil {
		m.index[end{host, s.name}] = l.Index
		err = m.sides[host].SetLink(l.Index, rtnl.Change{Alias: vlanMark, Up: true})
	}
	if err != nil {
		return half(explain("set up vlan", s.name, err), s.clean(m), s)
	}
	return nil
}

// undo leaves it to others who have come to use it meanwhile.
func (s addTagged) undo(_ context.Context, m *machine) error {
	if used, err := isUsed(m, m.index[end{host, s.name}]); err != nil || used {
		return err
	}
	return s.clean(m)
}

func (s addTagged) clean(m *machine) error {
	l, err := m.sides[host].LinkByName(s.name)
	if err == nil && isOurs(l) {
		err = deleteLink(m.sides[host], l.Index)
	}
	return ignoreAbsent("delete vlan", s.name, err)
}

func (addTagged) nature() nature { return shared }

func (s addTagged) String() string {
	return fmt.Sprintf("ip link add link %s name %s group %d type vlan id %d\nip link set dev %s alias %s up",
		s.parent, s.name, Group, s.tag, s.name, shell.Quote(vlanMark))
}
