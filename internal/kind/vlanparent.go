package kind

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/gopipework/gopipework/bridge"
	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/shell"
	"github.com/gopipework/gopipework/internal/spec"
	"golang.org/x/sys/unix"
)

// The 802.1Q sub-interface of a network card, as the parent of a link in a
// guest: made on demand, shared by all who are on that VLAN, and gone with the
// last.

// parseTag reads the word after @: a network card takes one tag.
func parseTag(j *build.Job) error {
	v, err := bridge.ParseVLAN(j.VLAN)
	if err != nil || v.PVID == 0 || len(v.Tagged) > 0 {
		return fault.BadWord("read VLAN", j.VLAN, "on a network card a VLAN is one number from 1 to 4094").WithHint("@10")
	}
	j.Tag = v.PVID
	return nil
}

// settleTag reads the tag, if there is one, and refuses what keeps the link from being
// on the sub-interface for it.
func settleTag(j *build.Job) error {
	if j.VLAN == "" {
		return nil
	}
	if err := parseTag(j); err != nil {
		return err
	}
	tag := j.Tag
	j.SubInterface = true
	if t := j.There.Tagged; isTagged(t, j.There.Base, tag) {
		if t.Slave != "" {
			return j.Refuse(fault.Conflict, "%s, which is VLAN %d of %s, is a port of a %s", t.Name, tag, j.There.Base.Name, t.Slave).
				WithHint("attach to the bridge or bond that it is a port of")
		}
		return nil
	}
	name := j.There.Base.Name + "." + j.VLAN
	if why := spec.CheckName(name); why != "" {
		return j.Refuse(fault.Usage, "%s cannot be the name of the sub-interface for VLAN %d: %s", name, tag, why).
			WithHint("create one under a shorter name and attach to that")
	}
	if t := j.There.Tagged; t != nil {
		return j.Refuse(fault.Conflict, "%s exists already, and is not VLAN %d of %s but %s", name, tag, j.There.Base.Name, ours.DescribeKind(t))
	}
	return nil
}

// isTagged reports whether a link of the host is the card's sub-interface for the
// VLAN, whatever it is called: there can be one alone.
func isTagged(l, base *rtnl.Link, tag int) bool {
	return l != nil && tag != 0 && l.Kind == "vlan" && l.VLAN == tag && l.Peer == base.Index && l.PeerNS < 0
}

// tagged looks for it; if there is none, for what has the name that it would get.
func tagged(o *build.Observer, kind spec.Kind, base *rtnl.Link, word string) (found *rtnl.Link) {
	v, err := bridge.ParseVLAN(word)
	if err != nil || base == nil {
		return nil
	}
	o.Look("the host's links", func() error {
		all, err := o.Host.Links()
		if i := slices.IndexFunc(all, func(l *rtnl.Link) bool { return isTagged(l, base, v.PVID) }); i >= 0 {
			found = all[i]
		}
		return err
	})
	if name := build.TaggedName(kind, base, word); found == nil && name != "" {
		found = o.ByName(o.Host, name)
	}
	return found
}

// vlanTaken explains EEXIST of a link for a VLAN, whose name is free: some guest
// has the card's one link for it.
func vlanTaken(m *plan.Machine, parent int, parentName string, tag int, err error) error {
	e := fault.New(fault.Conflict, "make vlan on", parentName, "%w", err)
	users, lookErr := ours.ChildrenOf(m.Host(), parent, m.HostNS, nil)
	if lookErr != nil {
		return e
	}
	for _, u := range users {
		if u.Kind != "vlan" || u.VLAN != tag {
			continue
		}
		who := u.Name + " (" + where(u) + ")"
		if mark, ok := plan.ParseMark(u.Alias); ok && plan.IsOurs(u.Link) {
			who = u.Name + " of " + mark.Name
			e.Hint = "gopipework detach " + mark.Guest().Word() + " " + mark.IfName
		}
		e.Err = fmt.Errorf("%s is its VLAN %d, and a card can have each VLAN only once", who, tag)
	}
	return e
}

// vlanMark is the alias of a VLAN sub-interface that we made as a parent.
const vlanMark = plan.MarkWord + " vlan"

// planTagged plans the VLAN sub-interface that is to be the parent, and returns its
// name.
func planTagged(j *build.Job, d *build.Draft) string {
	name := j.TaggedName()
	switch t := j.There.Tagged; {
	case t == nil:
		d.Add(AddTagged{parent: j.There.Base.Name, name: name, tag: j.Tag})
	case plan.IsOurs(t) && t.Alias == "":
		d.Add(plan.SetLink{Name: name, Set: rtnl.Change{Alias: vlanMark, Up: true}})
	case !t.Up:
		d.Add(ours.RaiseLink{Name: name})
	}
	return name
}

// AddTagged makes a VLAN sub-interface on the host, to be a parent.
type AddTagged struct {
	parent, name string
	tag          int
}

func (s AddTagged) Do(_ context.Context, m *plan.Machine) error {
	i, err := m.Find(plan.OnHost, s.parent)
	if err != nil {
		return fault.Explain("find parent", s.parent, err)
	}
	err = m.Host().AddChild(rtnl.Child{Name: s.name, Kind: "vlan", Parent: i, Group: plan.Group, VLAN: s.tag})
	if errors.Is(err, unix.EOPNOTSUPP) {
		return lacksKind(m, "vlan", s.name, s.parent, err)
	}
	if errors.Is(err, unix.EEXIST) {
		return vlanTaken(m, i, s.parent, s.tag, err)
	}
	if err != nil {
		return fault.Explain("make vlan", s.name, err)
	}
	l, err := m.Host().LinkByName(s.name)
	if err == nil {
		m.Know(plan.OnHost, s.name, l.Index)
		err = m.Host().SetLink(l.Index, rtnl.Change{Alias: vlanMark, Up: true})
	}
	if err != nil {
		return plan.Half(fault.Explain("set up vlan", s.name, err), ours.DropNamed(m, "vlan", s.name), s)
	}
	return nil
}

// Undo leaves it to others who have come to use it meanwhile.
func (s AddTagged) Undo(_ context.Context, m *plan.Machine) error {
	if used, err := ours.IsUsed(m, m.Index(plan.OnHost, s.name)); err != nil || used {
		return err
	}
	return ours.DropNamed(m, "vlan", s.name)
}

func (AddTagged) Nature() plan.Nature { return plan.Shared }

func (s AddTagged) String() string {
	return fmt.Sprintf("ip link add link %s name %s group %d type vlan id %d\nip link set dev %s alias %s up",
		s.parent, s.name, plan.Group, s.tag, s.name, shell.Quote(vlanMark))
}
