package passage

import (
	"slices"
	"time"

	"github.com/gopipework/gopipework/internal/finding"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/shell"
)

// portStates are the words of bridge(8).
var portStates = [...]string{"disabled", "listening", "learning", "forwarding", "blocking"}

// PortState is the word for a state of a bridge's port.
func PortState(state uint8) string {
	if int(state) >= len(portStates) {
		return "unknown"
	}
	return portStates[state]
}

// blocking is the finding about a port that does not forward. With the spanning tree protocol
// it will in a while; nothing but time mends it, short of turning the protocol off.
func (p Passage) blocking(mend string) finding.Finding {
	name, f := p.Port.Name, p.Port.Port
	left, err := p.Host.PortDelay(p.Port.Index)
	if word := PortState(f.State); err != nil || left == 0 || word != "listening" && word != "learning" {
		return finding.PortBlocking.Surely("%s is in state %s on %s: no frame passes it", name, PortState(f.State), p.On.Name).MendedBy(mend)
	}
	if PortState(f.State) == "listening" {
		left += p.On.ForwardDelay
	}
	return finding.PortBlocking.Surely("%s is in state %s on %s: no frame passes it for another %d s, because of the spanning tree protocol",
		name, PortState(f.State), p.On.Name, int(left.Round(time.Second).Seconds())).MendedBy("ip link set dev "+shell.Quote(p.On.Name)+" type bridge stp_state 0", mend)
}

// AtPort looks at what the bridge does with the port.
func (p Passage) AtPort() (out []finding.Finding, err error) {
	if p.Port == nil || p.On == nil || p.Port.Slave != "bridge" {
		return nil, nil
	}
	name, f := p.Port.Name, p.Port.Port
	mend := func(flag string) string { return "bridge link set dev " + shell.Quote(name) + " " + flag }
	if !p.Port.Forwarding && p.Port.Carrier { // without a carrier it is disabled
		out = append(out, p.blocking(mend("state 3")))
	}
	if f.Locked {
		out = append(out, finding.PortLocked.Perhaps("%s is locked on %s: it accepts frames only from stations that somebody has entered", name, p.On.Name).MendedBy(mend("locked off")))
	}
	if !f.FloodBroadcast {
		out = append(out, finding.PortNoFlood.Surely("%s gets no broadcasts from %s: nobody finds the guest by ARP", name, p.On.Name).MendedBy(mend("bcast_flood on")))
	}
	if !f.FloodMulticast {
		out = append(out, finding.PortNoFlood.Perhaps("%s gets only those multicasts from %s that it asked for: the guest may not be found by IPv6", name, p.On.Name).MendedBy(mend("mcast_flood on")))
	}
	if !f.FloodUnicast && !f.Learning {
		out = append(out, finding.PortNoFlood.Perhaps("%s does not learn who is behind %s, and passes no frames for unknown stations to it", p.On.Name, name).MendedBy(mend("learning on flood on")))
	}
	return out, nil
}

// EndIsolation is the command that ends the isolation of a port: that of an attachment, as
// its mark says, or else other.
func EndIsolation(mark, other string) string {
	if m, ok := plan.ParseMark(mark); ok {
		return "gopipework set " + shell.Line([]string{m.Guest().Word(), m.IfName}) + " --isolated off"
	}
	return other
}

// Isolated finds that nothing passes from the port to others on its bridge. Isolation is
// intended, so it is to be reported only to somebody who asks for the way to another
// isolated port.
func (p Passage) Isolated() (out []finding.Finding, err error) {
	if p.Port == nil || p.On == nil || !p.Port.Port.Isolated {
		return nil, nil
	}
	name := p.Port.Name
	ports, err := p.Host.Ports(p.On.Index)
	others := slices.DeleteFunc(ports, func(l *rtnl.Link) bool { return l.Index == p.Port.Index || !l.Port.Isolated })
	if len(others) > 0 {
		out = append(out, finding.PortIsolated.Surely("%s is isolated on %s: nothing passes to the other isolated ports, such as %s", name, p.On.Name, others[0].Name).MendedBy(EndIsolation(p.Port.Alias, "bridge link set dev "+shell.Quote(name)+" isolated off")))
	}
	return out, err
}
