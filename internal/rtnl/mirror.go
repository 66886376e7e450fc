package rtnl

import (
	"cmp"
	"errors"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Mirror is a filter that sends a copy of each frame out by another link.
type Mirror struct {
	Index  int    // of the link whose frames are copied
	Egress bool   // those that go out by it; false: those that come in
	To     int    // index of the link that sends the copies; 0: it has gone
	Handle uint32 // tells the filters of one program from others
	Pref   uint16 // the kernel's choice
	Shared bool   // others filter there too; only told, never asked for
}

func (m Mirror) parent() uint32 {
	if m.Egress {
		return netlink.HANDLE_MIN_EGRESS
	}
	return netlink.HANDLE_MIN_INGRESS
}

func (m Mirror) filter() *netlink.MatchAll {
	action := netlink.NewMirredAction(m.To)
	action.MirredAction = netlink.TCA_EGRESS_MIRROR
	action.Action = netlink.TC_ACT_UNSPEC // the filters behind it see the frame too
	return &netlink.MatchAll{
		FilterAttrs: netlink.FilterAttrs{LinkIndex: m.Index, Parent: m.parent(), Handle: m.Handle, Priority: m.Pref, Protocol: unix.ETH_P_ALL},
		Actions:     []netlink.Action{action},
	}
}

// AddMirror adds the filter, in front of all others, and a clsact if there is none. A link
// with an ingress qdisc in its place answers unix.EEXIST, a kernel without the qdisc, the
// classifier matchall or the action mirred unix.ENOENT.
//
//	tc qdisc add dev NAME clsact
//	tc filter add dev NAME ingress|egress handle H matchall action mirred egress mirror dev TO continue
func (c *Conn) AddMirror(m Mirror) error {
	req := c.qdiscRequest(unix.RTM_NEWQDISC, unix.NLM_F_CREATE|unix.NLM_F_EXCL,
		Qdisc{Index: m.Index, Handle: ingressHandle, Parent: netlink.HANDLE_CLSACT})
	req.AddData(nl.NewRtAttr(nl.TCA_KIND, nl.ZeroTerminated("clsact")))
	made := c.write(req)
	if errors.Is(made, unix.EEXIST) {
		if has, err := c.hasClsact(m.Index); err != nil || !has {
			return cmp.Or(err, made)
		}
	} else if made != nil {
		return made
	}
	err := c.with(func(h *netlink.Handle) error { return h.FilterAdd(m.filter()) })
	err = settle(err, func() (bool, error) {
		there, _, err := c.mirrorsOf(m.Index, m.Egress, m.Handle)
		for _, is := range there {
			if is.To == m.To {
				return true, nil
			}
		}
		return false, err
	})
	if err != nil && made == nil {
		return errors.Join(err, c.dropClsact(m.Index))
	}
	return err
}

// DelMirror deletes the filter, and the clsact with the last filter there is.
//
//	tc filter del dev NAME ingress|egress pref N handle H matchall
//	tc qdisc del dev NAME clsact
func (c *Conn) DelMirror(m Mirror) error {
	err := c.with(func(h *netlink.Handle) error { return h.FilterDel(m.filter()) })
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	return c.dropClsact(m.Index)
}

// Mirrors returns the filters with the handle, of every link in the namespace.
//
//	tc filter show dev NAME ingress; tc filter show dev NAME egress
func (c *Conn) Mirrors(handle uint32) ([]Mirror, error) {
	qdiscs, err := c.Qdiscs()
	if err != nil {
		return nil, err
	}
	var all []Mirror
	for _, q := range qdiscs {
		if q.Kind != "clsact" {
			continue
		}
		in, othersIn, err := c.mirrorsOf(q.Index, false, handle)
		if err != nil {
			return nil, err
		}
		out, othersOut, err := c.mirrorsOf(q.Index, true, handle)
		if err != nil {
			return nil, err
		}
		for _, m := range append(in, out...) {
			m.Shared = othersIn || othersOut
			all = append(all, m)
		}
	}
	return all, nil
}

// mirrorsOf returns those of one link and direction; others reports whether there are
// filters of another kind or handle. A link that has gone has none.
func (c *Conn) mirrorsOf(index int, egress bool, handle uint32) (all []Mirror, others bool, err error) {
	h, err := c.inet()
	if err != nil {
		return nil, false, err
	}
	parent := Mirror{Egress: egress}.parent()
	filters, err := retry(func() ([]netlink.Filter, error) { return h.FilterList(byIndex(index), parent) })
	if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EINVAL) {
		return nil, false, nil
	}
	for _, f := range filters {
		m, ok := asMirror(f)
		if !ok || m.Handle != handle {
			others = true
			continue
		}
		m.Egress = egress
		all = append(all, m)
	}
	return all, others, err
}

func asMirror(f netlink.Filter) (m Mirror, ok bool) {
	match, ok := f.(*netlink.MatchAll)
	if !ok || len(match.Actions) != 1 {
		return m, false
	}
	action, ok := match.Actions[0].(*netlink.MirredAction)
	if !ok || action.MirredAction != netlink.TCA_EGRESS_MIRROR {
		return m, false
	}
	return Mirror{Index: match.LinkIndex, To: action.Ifindex, Handle: match.Handle, Pref: match.Priority}, true
}

func (c *Conn) hasClsact(index int) (bool, error) {
	all, err := c.Qdiscs()
	for _, q := range all {
		if q.Index == index && q.Kind == "clsact" {
			return true, nil
		}
	}
	return false, err
}

// dropClsact deletes the clsact of a link, unless there is a filter.
func (c *Conn) dropClsact(index int) error {
	if has, err := c.hasClsact(index); err != nil || !has {
		return err
	}
	for _, egress := range []bool{false, true} {
		mirrors, others, err := c.mirrorsOf(index, egress, 0)
		if err != nil || others || len(mirrors) > 0 {
			return err
		}
	}
	return c.NoIngress(index)
}
