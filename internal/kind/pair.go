package kind

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"golang.org/x/sys/unix"
)

// A veth pair: one end on the host, to be plugged into a switch, the other in
// the guest.

// planPair plans the pair with both names; master is the Linux bridge that the
// host's end is born into, "" for none.
func planPair(j *build.Job, d *build.Draft, master string) {
	n := j.Names
	PlanClearing(j, d)
	if j.Takes() {
		planTake(j, d)
		return
	}
	d.Add(AddVeth{
		Port: n.Port, portMAC: j.There.New.Port, Bridge: master,
		Inner: n.Inner, netns: guests.NetNSWord(j.There.Guest), mac: j.LinkMAC(), MTU: j.LinkMTU,
	})
	if master != "" {
		planPortVLAN(j, d)
		if j.Isolated {
			d.Add(Isolate{port: n.Port, on: true})
		}
		planFilter(j, d)
	}
	// The host's end needs no address of its own: with hundreds of ports the
	// traffic of that many link-local addresses alone is felt.
	d.Add(plan.SetLink{Name: n.Port, Set: rtnl.Change{AddrGenNone: true, Up: true}})
	if n.Alt != "" && !j.There.AltTaken {
		d.Add(ours.AddMark{Link: n.Port, Mark: n.Alt})
	}
}

// halfPort reports whether the name of the host's end is that of a link that
// an earlier attach to this guest has left half made.
func halfPort(j *build.Job) bool {
	p := j.There.Port
	return p != nil && p.Group == plan.Group && p.Alias == "" && p.PeerNS >= 0 && p.PeerNS == j.There.GuestNS
}

// checkPort refuses a host's end whose name is taken.
func checkPort(j *build.Job) error {
	switch p := j.There.Port; {
	case p != nil && !halfPort(j) && !isParked(j, p) && (j.There.Own == nil || p.Index != j.There.Own.Index):
		return portTaken(j, p)
	case j.Names.Port == j.HostIF.Name:
		return j.Refuse(fault.Usage, "the bridge and its port cannot both be called %s", j.Names.Port)
	}
	return nil
}

func portTaken(j *build.Job, p *rtnl.Link) error {
	if m, ok := plan.ParseMark(p.Alias); ok && plan.IsOurs(p) {
		return j.Refuse(fault.Conflict, "the host's interface %s belongs to %s of %s already", p.Name, m.IfName, m.Name).
			WithHint("gopipework detach %s %s, or another name with -l", m.Guest().Word(), m.IfName)
	}
	also := ""
	if p.Name != j.Names.Port {
		also = " (it is another name of " + p.Name + ")"
	}
	return j.Refuse(fault.Conflict, "the host has an interface %s already: %s%s", j.Names.Port, ours.DescribeKind(p), also).
		WithHint("choose another name for the host's end with -l")
}

// portDiffers tells how the host's end of a pair that is there differs from
// what is asked for, but for what it is plugged into.
func portDiffers(j *build.Job, differ build.Differ) {
	if own := j.There.Own; j.HostName != "" && j.HostName != own.Name {
		differ("host interface", own.Name, j.HostName)
	}
}

// AddVeth makes the pair: the host's end a port of the bridge, the other in
// the guest, both under their final names.
type AddVeth struct {
	Port, Bridge string // bridge: one of the kernel's; "" for none
	portMAC      net.HardwareAddr
	Inner, netns string
	mac          net.HardwareAddr
	MTU          int
}

func (s AddVeth) Do(_ context.Context, m *plan.Machine) error {
	master := 0
	if s.Bridge != "" {
		var err error
		if master, err = m.Find(plan.OnHost, s.Bridge); err != nil {
			return fault.Explain("find bridge", s.Bridge, err)
		}
	}
	err := m.Host().AddVeth(rtnl.Veth{
		Name: s.Port, MAC: s.portMAC, PeerName: s.Inner, PeerNS: m.Guests[plan.InGuest].Namespace, PeerMAC: s.mac,
		MTU: s.MTU, Group: plan.Group, Master: master,
	})
	switch {
	case errors.Is(err, unix.EXFULL):
		return fault.New(fault.Limit, "plug "+s.Port+" into", s.Bridge, "it is full: the kernel gives a bridge 1,023 ports").
			WithHint("use another bridge")
	case errors.Is(err, unix.EOPNOTSUPP):
		return fault.New(fault.Unsupported, "make veth", s.Port, "%w", err).
			WithHint("%s", ours.Missing("veth"))
	case err != nil:
		return fault.Explain("make veth", s.Port, err)
	}
	if err := s.learn(m); err != nil {
		return plan.Half(err, ours.DropNamed(m, "veth", s.Port), s)
	}
	return nil
}

// learn notes the indexes of both ends. The guest's is taken from our own end:
// the guest may have renamed its end already.
func (s AddVeth) learn(m *plan.Machine) error {
	l, err := m.Host().LinkByName(s.Port)
	if err != nil {
		return fault.Explain("find veth", s.Port, err)
	}
	m.Know(plan.OnHost, s.Port, l.Index)
	m.Know(plan.InGuest, s.Inner, l.Peer)
	return nil
}

func (s AddVeth) Undo(_ context.Context, m *plan.Machine) error {
	return fault.IgnoreAbsent("delete veth", s.Port, ours.DeleteLink(m.Host(), m.Index(plan.OnHost, s.Port)))
}

func (AddVeth) Nature() plan.Nature { return plan.Undoable }

func (s AddVeth) String() string {
	master := ""
	if s.Bridge != "" {
		master = " master " + s.Bridge
	}
	return fmt.Sprintf("ip link add name %s address %s mtu %d group %d%s type veth peer name %s address %s mtu %d group %d netns %s",
		s.Port, s.portMAC, s.MTU, plan.Group, master, s.Inner, s.mac, s.MTU, plan.Group, s.netns)
}
