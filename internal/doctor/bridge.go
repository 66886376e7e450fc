package doctor

import (
	"fmt"
	"slices"
	"time"

	"github.com/gopipework/gopipework/internal/finding"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/shell"
)

// bridgeChecks look at a Linux bridge.
var bridgeChecks = []check{(*walker).bridgeDown, (*walker).tableFull, (*walker).vlanOnBridge, (*walker).stationElsewhere}

// bridgeDown finds a bridge that is down.
func (w *walker) bridgeDown() ([]finding.Finding, error) {
	if w.on.Up {
		return nil, nil
	}
	f := finding.BridgeDown.Surely("%s is down", w.on.Name).MendedBy("ip link set dev " + shell.Quote(w.on.Name) + " up")
	f.Again = w.again()
	return []finding.Finding{f}, nil
}

// tableFull finds a bridge that learns no more MAC addresses. It still floods the frames
// for those that it does not know.
func (w *walker) tableFull() ([]finding.Finding, error) {
	learned, most, err := w.host.k.StationCount(w.on.Index)
	if err != nil || most == 0 || learned < most {
		return nil, err
	}
	return []finding.Finding{finding.TableFull.Perhaps("%s has learned %d MAC addresses, and may learn no more", w.on.Name, learned).
		MendedBy(fmt.Sprintf("ip link set dev %s type bridge fdb_max_learned %d", shell.Quote(w.on.Name), 2*most))}, nil
}

// stationElsewhere finds an entry that somebody has made, and that leads the frames for one
// of the two ends to another port. What the bridge has learned itself is right as soon as
// the station speaks again.
func (w *walker) stationElsewhere() (out []finding.Finding, err error) {
	all, err := w.host.k.Stations(w.on.Index)
	if err != nil {
		return nil, err
	}
	at := w.stations()
	for _, s := range all {
		port := at[s.MAC.String()]
		if port == nil || !s.Stays || s.Port == port.Index || s.Own && s.Port == w.on.Index {
			continue
		}
		other, err := w.host.k.LinkByIndex(s.Port)
		if err != nil {
			continue
		}
		out = append(out, finding.StationElsewhere.Surely("%s has %s on %s, and it is behind %s", w.on.Name, s.MAC, other.Name, port.Name).
			MendedBy(fmt.Sprintf("bridge fdb del %s dev %s master%s", s.MAC, shell.Quote(other.Name), vlanWords(s.VLAN))))
	}
	return out, nil
}

// How often, and how long, it is looked whether a MAC address moves.
const (
	stationLooks = 5
	stationPause = 20 * time.Millisecond
)

// watchStations notes whether the bridge learns the MAC address of an end behind another port
// than the one that leads there, while probes are under way. What it has learned before may be
// of a station that was there: it is wrong only until the probes' answers.
func (w *walker) watchStations() {
	at, was := w.stations(), map[string]int{}
	for look := range stationLooks {
		all, err := w.host.k.Stations(w.on.Index)
		if err != nil {
			return
		}
		for _, s := range all {
			port := at[s.MAC.String()]
			before, known := was[s.MAC.String()]
			was[s.MAC.String()] = s.Port
			if port == nil || s.Stays || s.Port == port.Index {
				continue
			}
			if heard := look > 0 && !known || known && before == port.Index; !heard && look < stationLooks-1 {
				continue
			}
			other, err := w.host.k.LinkByIndex(s.Port)
			switch sameGuest := err == nil && other.Kind == "veth" && other.PeerNS >= 0 && other.PeerNS == port.PeerNS; {
			case err != nil, sameGuest: // a bond has one address at both of its ports
			default:
				w.moves = append(w.moves, finding.StationMoves.Perhaps("%s is behind %s, and %s also hears it from %s", s.MAC, port.Name, w.on.Name, other.Name))
				return
			}
		}
		time.Sleep(stationPause)
	}
}

// stations returns the ports behind which the two ends are, by their MAC addresses.
func (w *walker) stations() map[string]*rtnl.Link {
	at := map[string]*rtnl.Link{w.near.link.MAC.String(): w.port}
	for _, f := range w.far {
		if f.port != nil && len(f.station) > 0 {
			at[f.station.String()] = f.port
		}
	}
	return at
}

func vlanWords(vlan uint16) string {
	if vlan == 0 {
		return ""
	}
	return fmt.Sprintf(" vlan %d", vlan)
}

// untagged returns the VLAN of frames without a tag that come in by a link of a bridge; 0:
// they are dropped. leaves reports whether those of a VLAN leave by it without a tag.
func untagged(vlans []rtnl.PortVLAN) (in int, leaves func(int) bool) {
	for _, v := range vlans {
		if v.PVID {
			in = v.First
		}
	}
	return in, func(vlan int) bool {
		return slices.ContainsFunc(vlans, func(v rtnl.PortVLAN) bool { return v.Untagged && v.First <= vlan && vlan <= v.Last })
	}
}

// sharesVLAN reports whether frames without a tag pass between two links of the bridge, both
// ways. What ports do that carry several VLANs depends on their guests.
func (w *walker) sharesVLAN(a, b int) bool {
	if !w.on.VLANFiltering {
		return true
	}
	all, err := w.host.k.PortVLANs()
	if err != nil {
		return true
	}
	inA, fromA := untagged(all[a])
	inB, fromB := untagged(all[b])
	return inA != 0 && inB != 0 && fromB(inA) && fromA(inB)
}

// vlanOnPort finds a far end that is in another VLAN of the bridge.
func (w *walker) vlanOnPort() ([]finding.Finding, error) {
	all, err := w.host.k.PortVLANs()
	if err != nil || !w.on.VLANFiltering {
		return nil, err
	}
	in, _ := untagged(all[w.port.Index])
	if len(all[w.port.Index]) == 0 {
		return []finding.Finding{finding.VLANOnPort.Surely("%s is in no VLAN of %s, which passes frames only within one", w.port.Name, w.on.Name).
			MendedBy(fmt.Sprintf("bridge vlan add dev %s vid %d pvid untagged", shell.Quote(w.port.Name), max(w.on.DefaultPVID, 1)))}, nil
	}
	for _, f := range w.far {
		if f.port == nil || !w.ask.To.given() || !w.direct(f) || in == 0 || w.sharesVLAN(w.port.Index, f.port.Index) {
			continue
		}
		found := finding.VLANOnPort.Surely("%s is in VLAN %d of %s, and %s in VLAN %s", w.port.Name, in, w.on.Name, f.port.Name, w.vlanWord(f.port.Index))
		if m, ok := plan.ParseMark(f.port.Alias); ok && plan.IsOurs(f.port) {
			return []finding.Finding{found.MendedBy(fmt.Sprintf("gopipework set %s --vlan %d", shell.Line([]string{m.Guest().Word(), m.IfName}), in))}, nil
		}
		return []finding.Finding{found.MendedBy(fmt.Sprintf("bridge vlan add dev %s vid %d pvid untagged", shell.Quote(f.port.Name), in))}, nil
	}
	return nil, nil
}

// vlanOnBridge finds a bridge that is not itself in the VLAN of the port, though the guest is
// to reach the host there.
func (w *walker) vlanOnBridge() ([]finding.Finding, error) {
	toHost := slices.ContainsFunc(w.far, func(f *far) bool { return f.ns == w.hostNS && f.link != nil && f.link.Index == w.on.Index })
	all, err := w.host.k.PortVLANs()
	if err != nil || !toHost || w.sharesVLAN(w.port.Index, w.on.Index) {
		return nil, err
	}
	in, _ := untagged(all[w.port.Index])
	if in == 0 {
		return nil, nil
	}
	return []finding.Finding{finding.VLANOnBridge.Surely("%s is in VLAN %d of %s, and %s itself is not", w.port.Name, in, w.on.Name, w.on.Name).
		MendedBy(fmt.Sprintf("bridge vlan add dev %s vid %d pvid untagged self", shell.Quote(w.on.Name), in))}, nil
}

// mtuDiffers finds a link on the way whose MTU is below that of an end: what is larger is
// dropped there without a word. If it is that of the other end, TCP knows and the rest is
// only a doubt.
func (w *walker) mtuDiffers() ([]finding.Finding, error) {
	near := w.near.link
	if w.port.MTU < near.MTU {
		return []finding.Finding{w.lowMTU(w.port, near.MTU, true)}, nil
	}
	for _, f := range w.far {
		if f.port == nil || f.link == nil || !w.ask.To.given() {
			continue
		}
		ends := min(near.MTU, f.link.MTU)
		switch {
		case f.port.MTU < ends:
			return []finding.Finding{w.lowMTU(f.port, ends, true)}, nil
		case f.link.MTU != near.MTU:
			return []finding.Finding{finding.MTUDiffers.Perhaps("%s has the MTU %d, and %s %d: packets of more than %d bytes other than TCP's may be lost",
				w.near.word(), near.MTU, f.name, f.link.MTU, ends)}, nil
		}
	}
	return nil, nil
}

// lowMTU is the finding about a link of the host with an MTU that is too low.
func (w *walker) lowMTU(l *rtnl.Link, want int, sure bool) finding.Finding {
	f := finding.MTUDiffers.Perhaps("%s has the MTU %d, and its guest %d: packets of more than %d bytes are lost", l.Name, l.MTU, want, l.MTU)
	f.Sure = sure
	return f.MendedBy(fmt.Sprintf("ip link set dev %s mtu %d", shell.Quote(l.Name), want))
}

// unheard is the finding about a neighbour solicitation that the bridge did not pass on
// because it snoops; nil: that is not it.
func (w *walker) unheard(f *far, a answer, t *traced, at string) *finding.Finding {
	const nobody = "NO_TX_TARGET" // there was no port to pass it on to
	if w.leap != toBridge || !a.to.Is6() || !w.on.Snooping || f.port == nil || len(t.drops) > 0 && !t.dropped(nobody) {
		return nil
	}
	found := finding.NoQuerier.Surely("%s passes multicasts only to ports that have asked for them, and the neighbour solicitation for %s ends at %s", w.on.Name, a.to, at).
		MendedBy("ip link set dev " + shell.Quote(w.on.Name) + " type bridge mcast_snooping 0")
	return &found
}

// bridgeFacts is what a person wants to know of the bridge.
func (w *walker) bridgeFacts() []string {
	state := "down"
	if w.on.Up {
		state = "up"
	}
	ports, _ := w.host.k.Ports(w.on.Index)
	facts := []string{state}
	for _, p := range w.host.with(w.on).prefixes() {
		facts = append(facts, "the host has "+p.String())
	}
	if len(facts) == 1 {
		facts = append(facts, "the host has no address there")
	}
	return append(facts, portCount(len(ports)), fmt.Sprintf("mtu %d", w.on.MTU))
}

// portCount says how many ports a bridge has.
func portCount(n int) string {
	if n == 1 {
		return "1 port"
	}
	return fmt.Sprintf("%d ports", n)
}
