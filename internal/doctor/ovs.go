package doctor

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/gopipework/gopipework/bridge"
	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/finding"
	"github.com/gopipework/gopipework/internal/kind"
	"github.com/gopipework/gopipework/internal/passage"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/shell"
)

// switched is where Open vSwitch has the host's end of a pair.
type switched struct {
	all  bridge.OVS
	on   bridge.OVSBridge
	port bridge.OVSPort
}

// ovsPortChecks look at the host's end of a pair, in an Open vSwitch bridge.
var ovsPortChecks = []check{(*walker).ovsSilent, (*walker).ovsPortDead, (*walker).ovsTags}

// ovsChecks look at the bridge.
var ovsChecks = []check{(*walker).ovsSecure, (*walker).checksumOffload}

// ovsSilent finds an ovs-vswitchd that does not answer.
func (w *walker) ovsSilent() ([]finding.Finding, error) {
	if err := bridge.PingOVS(w.ctx); err != nil && w.ctx.Err() == nil {
		return []finding.Finding{finding.OVSSilent.Surely("ovs-vswitchd does not answer: %v", err)}, nil
	}
	return nil, nil
}

// ovsPortDead finds a port whose link ovs-vswitchd does not have, or does not listen to.
func (w *walker) ovsPortDead() ([]finding.Finding, error) {
	p, why := w.ovs.port, ""
	var deaf bool
	err := w.host.k.Run(func() (err error) { deaf, err = w.ovs.on.Deaf(p); return err })
	switch {
	case err != nil:
		return nil, err
	case p.Error != "":
		why = p.Error
	case p.Number < 1, p.LinkGone():
		why = "ovs-vswitchd does not have its link"
	case deaf:
		why = "ovs-vswitchd listens to a link of that name which is gone"
	default:
		return nil, nil
	}
	return []finding.Finding{finding.OVSPortDead.Surely("%s is a port of %s, and dead: %s", p.Name, p.Bridge, why).
		MendedBy(p.DeleteCommand(), p.AddCommand())}, nil
}

// ovsTags finds a far end that is in another VLAN of the bridge.
func (w *walker) ovsTags() ([]finding.Finding, error) {
	for _, f := range w.far {
		if f.port == nil || !w.ask.To.given() || !w.direct(f) {
			continue
		}
		theirs, ok := w.ovs.all.Port(f.port.Name)
		if !ok || sameVLAN(w.ovs.port, theirs) {
			continue
		}
		found := finding.OVSTag.Surely("%s is in VLAN %s of %s, and %s in VLAN %s", w.port.Name, vlanOrNone(w.ovs.port.VLAN), w.ovs.port.Bridge, f.port.Name, vlanOrNone(theirs.VLAN))
		if m, ok := plan.ParseMark(f.port.Alias); ok && plan.IsOurs(f.port) {
			return []finding.Finding{found.MendedBy("gopipework set " + shell.Line([]string{m.Guest().Word(), m.IfName, "--vlan", vlanOrNone(w.ovs.port.VLAN)}))}, nil
		}
		return []finding.Finding{found.MendedBy(theirs.SetVLANCommand(w.ovs.port.VLAN))}, nil
	}
	return nil, nil
}

// sameVLAN reports whether frames without a tag pass between two ports. What ports do that
// carry several VLANs depends on their guests.
func sameVLAN(a, b bridge.OVSPort) bool {
	return a.VLAN.PVID == b.VLAN.PVID || len(a.VLAN.Tagged) > 0 || len(b.VLAN.Tagged) > 0
}

func vlanOrNone(v bridge.VLAN) string { return cmp.Or(v.String(), "none") }

// ovsSecure finds a bridge that waits for a controller.
func (w *walker) ovsSecure() ([]finding.Finding, error) {
	b := w.ovs.on
	if !b.Secure || slices.ContainsFunc(b.Controllers, func(c bridge.OVSController) bool { return c.Connected }) {
		return nil, nil
	}
	f := finding.OVSSecure.Perhaps("%s passes only what its flows say (fail mode secure), and no controller is connected", b.Name)
	for _, c := range b.Controllers {
		f = f.SeenBy(strings.TrimSuffix(c.Target+": "+c.Error, ": "))
	}
	return []finding.Finding{f.MendedBy("ovs-vsctl set-fail-mode " + shell.Quote(b.Name) + " standalone")}, nil
}

// checksumOffload finds a guest whose TCP segments lose their checksums.
func (w *walker) checksumOffload() ([]finding.Finding, error) {
	loses, err := kind.LosesChecksums(w.ovs.all, w.ovs.on, w.near.k, w.near.link.Index)
	if !loses || err != nil {
		return nil, err
	}
	return []finding.Finding{finding.ChecksumOffload.Surely("%s leaves checksums to a card, and %s of ovs-vswitchd has none", w.near.word(), w.ovs.on.Name).
		MendedBy(w.near.command("ethtool -K " + shell.Quote(w.near.link.Name) + " tx off"))}, nil
}

// byFlow is the finding about a flow that keeps the probe from a far end; nil: none does.
func (w *walker) byFlow(f *far, a answer) *finding.Finding {
	if f.port == nil || !w.direct(f) {
		return nil
	}
	from, to := w.ovs.port, f.port.Name
	ask := func(p bridge.OVSPort, frame bridge.OVSFrame, to string) *finding.Finding {
		t, err := p.Trace(w.ctx, frame)
		if _, reaches := t.Reaches(to); err != nil || reaches || t.Asked != "" {
			return nil
		}
		last := t.Last()
		switch {
		case last.None && w.ovs.on.Secure:
			return nil // ovs-secure
		case last.Normal(), len(last.Actions) == 0 && !last.None:
			return w.byOVSPort(p, to, last)
		}
		found := finding.OVSFlow.Surely("a flow of %s keeps frames from %s: %s", p.Bridge, to, last)
		if why := last.Reason(); why != "" {
			found = found.SeenBy(why)
		}
		return &found
	}
	for _, packet := range []bridge.OVSPacket{bridge.AskNeighbour, bridge.EchoRequest} {
		frame := bridge.OVSFrame{Packet: packet, Src: w.near.link.MAC, From: a.from, To: a.to}
		if packet == bridge.EchoRequest {
			frame.Dst = f.station
		}
		found := ask(from, frame, to)
		if theirs, ok := w.ovs.all.Port(to); found == nil && ok {
			back := bridge.OVSFrame{Packet: packet, Src: f.station, Dst: w.near.link.MAC, From: a.to, To: a.from}
			found = ask(theirs, back, w.port.Name)
		}
		if found == nil {
			continue
		}
		theirs, _ := w.ovs.all.Port(to)
		mended := found.SeenBy(from.TraceCommand(frame))
		if len(found.Mend) > 0 {
			return &mended
		}
		for _, number := range []int{from.Number, theirs.Number} {
			mended = mended.MendedBy(fmt.Sprintf("ovs-ofctl add-flow %s priority=65535,in_port=%d,actions=NORMAL", shell.Quote(from.Bridge), number))
		}
		return &mended
	}
	return nil
}

// byOVSPort is the finding about a port, for a frame that no flow drops: the bridge takes none
// from the one, or passes none to the other.
func (w *walker) byOVSPort(from bridge.OVSPort, to string, last bridge.OVSFlow) *finding.Finding {
	modify := func(port, flag string) string {
		return "ovs-ofctl mod-port " + shell.Line([]string{from.Bridge, port, flag})
	}
	theirs, ok := w.ovs.all.Port(to)
	var found finding.Finding
	switch {
	case !last.Normal():
		found = finding.OVSPortDead.Surely("%s takes no frame from %s: the state of the port forbids it", from.Bridge, from.Name).MendedBy(modify(from.Name, "receive"))
	case !ok:
		return nil
	case from.VLAN.String() != theirs.VLAN.String():
		found = finding.OVSTag.Surely("%s is in VLAN %s of %s, and %s in VLAN %s", from.Name, vlanOrNone(from.VLAN), from.Bridge, to, vlanOrNone(theirs.VLAN)).
			MendedBy(theirs.SetVLANCommand(from.VLAN))
	case from.Protected && theirs.Protected:
		found = finding.PortIsolated.Surely("%s and %s are both protected ports of %s: nothing passes between them", from.Name, to, from.Bridge).
			MendedBy(passage.EndIsolation(theirs.Mark, theirs.ProtectCommand(false)))
	default:
		found = finding.OVSPortDead.Surely("%s passes no frame on to %s, though no flow drops it", from.Bridge, to).MendedBy(modify(to, "forward"), modify(to, "flood"))
	}
	return &found
}

// findOVS asks Open vSwitch for the host's end of a pair that is in no Linux bridge.
func (w *walker) findOVS() error {
	var o build.Looker
	w.ovs.all = o.OVS(w.ctx, w.host.k)
	if o.Err != nil {
		return o.Err
	}
	p, ok := w.ovs.all.Port(w.port.Name)
	if !ok {
		return nil
	}
	w.leap, w.ovs.port = toOVS, p
	w.ovs.on, _ = w.ovs.all.Bridge(p.Bridge)
	return nil
}

// ovsPortFacts is what a person wants to know of the port.
func (w *walker) ovsPortFacts() []string {
	facts := []string{"port of " + w.ovs.port.Bridge}
	if v := w.ovs.port.VLAN.String(); v != "" {
		facts = append(facts, "vlan "+v)
	}
	return facts
}

// ovsFacts is what a person wants to know of the bridge.
func (w *walker) ovsFacts() []string {
	b := w.ovs.on
	datapath := "the kernel's datapath"
	if b.Datapath == "netdev" {
		datapath = "datapath in user space"
	}
	facts := []string{datapath, portCount(len(b.Ports))}
	for _, c := range b.Controllers {
		state := "not connected"
		if c.Connected {
			state = "connected"
		}
		facts = append(facts, "controller "+c.Target+" "+state)
	}
	return facts
}

// ovsPorts returns the other ports of the bridge, as links of the host.
func (w *walker) ovsPorts() (links []*rtnl.Link) {
	for _, p := range w.ovs.on.Ports {
		if !w.ask.To.given() && !sameVLAN(w.ovs.port, p) {
			continue
		}
		if l, err := w.host.k.LinkByName(p.Name); err == nil {
			links = append(links, l)
		}
	}
	return links
}
