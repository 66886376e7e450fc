package attach

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"golang.org/x/sys/unix"
)

// A veth pair: one end on the host, to be plugged into a switch, the other in
// the guest.

// pair plans the pair under both names; master is the Linux bridge that the
// host's end is born into, "" for none.
func (j *job) pair(d *draft, master string) {
	n := j.names
	j.clear(d)
	d.add(addVeth{
		port: n.port, portMAC: j.f.New.Port, bridge: master,
		inner: n.inner, netns: guests.NetNSWord(j.f.Guest), mac: j.mac(), mtu: j.mtu,
	})
	if master != "" {
		j.portVLAN(d)
	}
	// The host's end needs no address of its own: with hundreds of ports the
	// traffic of that many link-local addresses alone is felt.
	d.add(plan.SetLink{Name: n.port, Set: rtnl.Change{AddrGenNone: true, Up: true}})
	if n.alt != "" && !j.f.AltTaken {
		d.add(addAltName{port: n.port, alt: n.alt})
	}
}

// halfPort reports whether the name of the host's end is that of a link that
// an earlier attach to this guest has left half made.
func (j *job) halfPort() bool {
	p := j.f.Port
	return p != nil && p.Group == plan.Group && p.Alias == "" && p.PeerNS >= 0 && p.PeerNS == j.f.GuestNS
}

// checkPort refuses a host's end whose name is taken.
func (j *job) checkPort() error {
	switch p := j.f.Port; {
	case p != nil && !j.halfPort() && (j.f.Own == nil || p.Index != j.f.Own.Index):
		return j.portTaken(p)
	case j.names.port == j.HostIF.Name:
		return j.refuse(fault.Usage, "the bridge and its port cannot both be called %s", j.names.port)
	}
	return nil
}

func (j *job) portTaken(p *rtnl.Link) error {
	if m, ok := plan.ParseMark(p.Alias); ok && plan.IsOurs(p) {
		return j.refuse(fault.Conflict, "the host's interface %s belongs to %s of %s already", p.Name, m.IfName, m.Name).
			WithHint("gopipework detach %s %s, or another name with -l", GuestInfo{Runtime: m.Runtime, ID: m.ID, Name: m.Name}.Word(), m.IfName)
	}
	also := ""
	if p.Name != j.names.port {
		also = " (it is another name of " + p.Name + ")"
	}
	return j.refuse(fault.Conflict, "the host has an interface %s already: %s%s", j.names.port, describeKind(p), also).
		WithHint("choose another name for the host's end with -l")
}

// portDiffers tells how the host's end of a pair that is there differs from
// what is asked for, but for what it is plugged into.
func (j *job) portDiffers(differ differ) {
	if own := j.f.Own; j.HostName != "" && j.HostName != own.Name {
		differ("host interface", own.Name, j.HostName)
	}
}

// addVeth makes the pair: the host's end a port of the bridge, the other in
// the guest, both under their final names.
type addVeth struct {
	port, bridge string // bridge: one of the kernel's; "" for none
	portMAC      net.HardwareAddr
	inner, netns string
	mac          net.HardwareAddr
	mtu          int
}

func (s addVeth) Do(_ context.Context, m *plan.Machine) error {
	master := 0
	if s.bridge != "" {
		var err error
		if master, err = m.Find(plan.OnHost, s.bridge); err != nil {
			return fault.Explain("find bridge", s.bridge, err)
		}
	}
	err := m.Host().AddVeth(rtnl.Veth{
		Name: s.port, MAC: s.portMAC, PeerName: s.inner, PeerNS: m.Guests[plan.InGuest].Namespace, PeerMAC: s.mac,
		MTU: s.mtu, Group: plan.Group, Master: master,
	})
	switch {
	case errors.Is(err, unix.EXFULL):
		return fault.New(fault.Limit, "plug "+s.port+" into", s.bridge, "it is full: the kernel gives a bridge 1,023 ports").
			WithHint("use another bridge")
	case errors.Is(err, unix.EOPNOTSUPP):
		return fault.New(fault.Unsupported, "make veth", s.port, "%w", err).
			WithHint("%s", missing("veth"))
	case err != nil:
		return fault.Explain("make veth", s.port, err)
	}
	if err := s.learn(m); err != nil {
		return plan.Half(err, s.clean(m), s)
	}
	return nil
}

// learn notes the indexes of both ends. The guest's is taken from our own end:
// the guest may have renamed its end already.
func (s addVeth) learn(m *plan.Machine) error {
	l, err := m.Host().LinkByName(s.port)
	if err != nil {
		return fault.Explain("find veth", s.port, err)
	}
	m.Know(plan.OnHost, s.port, l.Index)
	m.Know(plan.InGuest, s.inner, l.Peer)
	return nil
}

// clean deletes what was made but could not be found.
func (s addVeth) clean(m *plan.Machine) error {
	l, err := m.Host().LinkByName(s.port)
	if err == nil && plan.IsOurs(l) {
		err = deleteLink(m.Host(), l.Index)
	}
	return fault.IgnoreAbsent("delete veth", s.port, err)
}

func (s addVeth) Undo(_ context.Context, m *plan.Machine) error {
	return fault.IgnoreAbsent("delete veth", s.port, deleteLink(m.Host(), m.Index(plan.OnHost, s.port)))
}

func (addVeth) Nature() plan.Nature { return plan.Undoable }

func (s addVeth) String() string {
	master := ""
	if s.bridge != "" {
		master = " master " + s.bridge
	}
	return fmt.Sprintf("ip link add name %s address %s mtu %d group %d%s type veth peer name %s address %s mtu %d group %d netns %s",
		s.port, s.portMAC, s.mtu, plan.Group, master, s.inner, s.mac, s.mtu, plan.Group, s.netns)
}

// addAltName gives the host's end the name that says whose it is.
type addAltName struct{ port, alt string }

func (s addAltName) Do(_ context.Context, m *plan.Machine) error {
	return fault.Explain("name", s.port, m.Host().AddAltName(m.Index(plan.OnHost, s.port), s.alt))
}

func (s addAltName) Undo(_ context.Context, m *plan.Machine) error {
	return fault.IgnoreAbsent("unname", s.port, m.Host().DelAltName(m.Index(plan.OnHost, s.port), s.alt))
}

func (addAltName) Nature() plan.Nature { return plan.Undoable }

func (s addAltName) String() string {
	return "ip link property add dev " + s.port + " altname " + s.alt
}
