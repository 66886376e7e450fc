package kind

import (
	"bytes"
	"iter"
	"net/netip"
	"slices"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/spec"
	"golang.org/x/sys/unix"
)

// Who else is on the bridge or card that a guest is plugged into. Two stations with
// the same MAC address do not hear each other, whatever the kind of host interface:
// a switch hands frames to only one of them, and the kernel sets up only one of two
// macvlans of a card.

// stationWatch looks for stations.
type stationWatch struct {
	*build.Observer
	self  *rtnl.Link // the guest's own link, which is no other
	ns    int        // the guest's namespace, where that is
	own   int        // index of its end on the host; 0: there is none
	macs  bool       // their MAC addresses matter
	addrs bool       // their addresses matter
	vlans map[int][]rtnl.PortVLAN
	hosts []rtnl.Addr // addresses of the host; nil: not read
	found []build.Station
}

// watch looks for those on the bridge or card that HOSTIF names.
func watch(o *build.Observer, s spec.Spec, f build.Facts) *stationWatch {
	w := &stationWatch{Observer: o, ns: f.GuestNS, macs: s.MAC != nil || s.NamedMAC, addrs: len(s.Addrs) > 0}
	switch {
	case f.Own != nil:
		w.self, w.own = f.Inner, f.Own.Index
	case f.Port != nil && plan.IsOurs(f.Port) && f.Port.Alias == "":
		w.own = f.Port.Index // a killed run has left it, and it goes
	}
	return w
}

// matters reports whether anything of what they have matters.
func (w *stationWatch) matters() bool { return w.macs || w.addrs }

// onCard looks for those on a card, or on its sub-interface for the VLAN.
func (w *stationWatch) onCard(m *plan.Machine, s spec.Spec, f build.Facts) []build.Station {
	base := f.Base
	if s.VLAN != "" {
		base = f.Tagged
	}
	if base == nil {
		return nil
	}
	w.self = f.Inner
	w.add("the host, on "+base.Name+",", base, -1)
	w.children(m, base)
	return w.found
}

// port adds a port of a switch, and what is behind it.
func (w *stationWatch) port(p *rtnl.Link) {
	if _, parked := plan.ParseParked(p.Alias); p.Index == w.own || parked && plan.IsOurs(p) {
		return // a parked one has nobody behind it
	}
	vlan := w.untagged(p)
	w.found = append(w.found, build.Station{Who: "the port " + p.Name, MAC: p.MAC, VLAN: vlan})
	if p.Kind != "veth" || p.Peer == 0 {
		return
	}
	who, guest := "the guest behind "+p.Name, ""
	if m, ok := plan.ParseMark(p.Alias); ok && plan.IsOurs(p) {
		who, guest = m.Name+", behind "+p.Name+",", wordOf(m)
	}
	// There may be hundreds: of each only what matters is asked.
	far, err := &rtnl.Link{Index: p.Peer}, error(nil)
	switch {
	case !w.macs:
	case p.PeerNS < 0:
		far, err = w.Host.LinkByIndex(p.Peer)
	default:
		far, err = w.Host.LinkIn(p.PeerNS, p.Peer)
	}
	if err == nil && !w.isSelf(far, p.PeerNS) {
		w.add(who, far, p.PeerNS)
		st := &w.found[len(w.found)-1]
		st.VLAN, st.Guest = vlan, guest
	}
}

// untagged is the VLAN whose frames a port, or the bridge itself, takes without a
// tag; 0: none, or the switch looks at none.
func (w *stationWatch) untagged(p *rtnl.Link) int {
	for _, v := range w.vlans[p.Index] {
		if v.PVID {
			return v.First
		}
	}
	return 0
}

func (w *stationWatch) isSelf(l *rtnl.Link, nsid int) bool {
	return w.self != nil && nsid >= 0 && nsid == w.ns && l.Index == w.self.Index
}

// children adds the macvlans and ipvlans on a card: of the host, and of the
// guests that the host has ids for, which all of ours have.
func (w *stationWatch) children(m *plan.Machine, parent *rtnl.Link) {
	on := func(l *rtnl.Link, ns int) bool {
		return l.Peer == parent.Index && l.PeerNS == ns && (l.Kind == "macvlan" || l.Kind == "macvtap" || l.Kind == "ipvlan")
	}
	add := func(links []*rtnl.Link, nsid, hostNS int) {
		for _, l := range links {
			if !on(l, hostNS) || w.isSelf(l, nsid) {
				continue
			}
			who, guest := l.Name+" of another guest", ""
			if m, ok := plan.ParseMark(l.Alias); ok && plan.IsOurs(l) {
				who, guest = l.Name+" of "+m.Name, wordOf(m)
			} else if nsid < 0 {
				who = l.Name + " of the host"
			}
			w.add(who, l, nsid)
			w.found[len(w.found)-1].Guest = guest
		}
	}
	links, err1 := w.Host.Links()
	ids, err2 := w.Host.NamespaceIDs()
	if err1 != nil || err2 != nil {
		return // what comes of it is a warning, or the kernel's own refusal
	}
	add(links, -1, -1)
	for _, id := range ids {
		there, err := w.Host.LinksIn(id)
		if err != nil {
			continue // it has ended
		}
		// The look gives the host an id in itself, if it had none.
		self, err := w.Host.NamespaceID(m.HostNS)
		if err == nil && self >= 0 && self != id {
			add(there, id, self)
		}
	}
}

// add adds a link, in the namespace of that id; -1: on the host.
func (w *stationWatch) add(who string, l *rtnl.Link, nsid int) {
	st := build.Station{Who: who, MAC: l.MAC}
	if l.Kind == string(spec.KindIPvlan) {
		st.Mode = l.Mode
	}
	if w.addrs {
		var all []rtnl.Addr
		if nsid < 0 {
			all = w.hostAddrs()
		} else {
			all, _ = w.Host.AddrsIn(nsid, l.Index)
		}
		for _, a := range all {
			if a.Index == l.Index && a.Scope != unix.RT_SCOPE_LINK {
				st.Addrs = append(st.Addrs, a.Prefix.Addr())
			}
		}
	}
	w.found = append(w.found, st)
}

// wordOf is the word for the guest that a mark names.
func wordOf(m plan.Mark) string {
	return guests.GuestInfo{Runtime: m.Runtime, ID: m.ID, Name: m.Name}.Word()
}

// hostAddrs returns the addresses of the host, which are read once.
func (w *stationWatch) hostAddrs() []rtnl.Addr {
	if w.hosts == nil {
		w.hosts, _ = w.Host.Addrs()
	}
	return w.hosts
}

// CheckMAC refuses a MAC address that somebody has.
func CheckMAC(j *build.Job) error {
	if j.MAC == nil {
		return nil
	}
	for _, st := range j.There.Stations {
		if bytes.Equal(st.MAC, j.MAC) {
			return j.Refuse(fault.Conflict, "%s has the MAC address %s already", st.Who, j.MAC).WithHint("choose another MAC address, or leave it out")
		}
	}
	return nil
}

// CheckAlone refuses an address that somebody on the same wire has, if that was asked for. A
// guest that starts again may still have it: its last namespace takes a while to go.
func CheckAlone(j *build.Job) error {
	if !j.There.Alone {
		return nil
	}
	for st, a := range sharers(j) {
		if st.Guest == "" || st.Guest != j.There.Guest.Word() {
			return j.Refuse(fault.Conflict, "%s has the address %s already", st.Who, a)
		}
	}
	return nil
}

// WarnStations warns of addresses that somebody has who is on the same wire.
func WarnStations(j *build.Job, d *build.Draft) {
	for st, a := range sharers(j) {
		d.Warn("%s has the address %s too: others reach only one of the two", st.Who, a)
	}
}

// sharers are those on the same wire who have an address that is asked for, and that address.
func sharers(j *build.Job) iter.Seq2[build.Station, netip.Addr] {
	return func(yield func(build.Station, netip.Addr) bool) {
		for _, st := range j.There.Stations {
			for _, p := range j.Addrs {
				if st.VLAN == untaggedVLAN(j) && slices.Contains(st.Addrs, p.Addr()) && !yield(st, p.Addr()) {
					return
				}
			}
		}
	}
}

// untaggedVLAN is the VLAN of a switch whose frames the guest gets without a tag; 0:
// the switch looks at none.
func untaggedVLAN(j *build.Job) int {
	if j.SwitchVLAN.PVID == 0 && j.Kind == spec.KindBridge && j.There.Base != nil && j.There.Base.VLANFiltering {
		return j.There.Base.DefaultPVID
	}
	return j.SwitchVLAN.PVID
}
