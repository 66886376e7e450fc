package kind

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/guestnet"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/passage"

	mathrand "math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/nsfs"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/witness"
	"golang.org/x/sys/unix"
)

// The proof that packets flow (--verify). The probe port is a link of our own that
// joins the switch or card as the guest did; internal/witness sends packets from the
// guest to its far end, and back. The far end is in a network namespace that only an
// open file of this process holds: however the process ends, the kernel then deletes
// the namespace, and the link with it.

// checkVerify refuses --verify for a host interface that no second link can join.
func checkVerify(j *build.Job) error {
	if !j.Verify {
		return nil
	}
	if _, why := KindOf(j.Kind).prober(j); why != "" {
		return j.Refuse(fault.Usage, "--verify: %s", why).WithHint("leave --verify out")
	}
	return nil
}

// A prober joins the switch or card as the guest did.
type prober interface {
	// join makes the link and waits until frames pass. Its far end, in the namespace
	// ns, is to be called s.probe and to be up; inner is the guest's link.
	join(ctx context.Context, m *plan.Machine, s Verify, inner *rtnl.Link, k *rtnl.Conn, ns *os.File) error
	// leave undoes what the end of the link does not.
	leave(ctx context.Context, m *plan.Machine, s Verify) error
}

// quietly is how a link of a probe is set up: it is to say nothing by itself.
var quietly = rtnl.Change{AddrGenNone: true, Up: true}

// PlanVerify plans the proof that packets flow.
func PlanVerify(j *build.Job, d *build.Draft) {
	if !j.Verify {
		return
	}
	s := Verify{Place: j.Place, inner: j.Names.Inner, on: j.HostIF.Name, mac: [2]net.HardwareAddr{j.There.New.ProbePort, j.There.New.Probe}, drops: d.Drops}
	sum := sha256.Sum256([]byte(plan.MarkOf(j.There.Guest, j.Names.Inner).String()))
	s.probe = "gpv" + hex.EncodeToString(sum[:])[:8]
	s.prober, _ = KindOf(j.Kind).prober(j)
	if j.SubInterface { // Join or Repair has planned it
		s.on = j.TaggedName()
	}
	if j.Traits.Child {
		d.Warn("--verify tries the way to another %s on %s, but nothing beyond the card", j.Kind, s.on)
	}
	d.Add(s)
}

// Verify sends packets from the guest to a probe port on the same switch or card, and
// back.
type Verify struct {
	plan.Place
	prober
	inner string
	on    string              // the bridge or card
	probe string              // name of the probe port
	mac   [2]net.HardwareAddr // of its two ends
	drops []string            // what is known of the host's firewall, which is the first suspect
}

func (s Verify) Do(ctx context.Context, m *plan.Machine) (err error) {
	ns, err := nsfs.New()
	if err != nil {
		return fault.Explain("make", "a network namespace", err)
	}
	defer ns.Close()
	k, err := rtnl.Open(ns)
	if err != nil {
		return fault.Explain("enter", "a network namespace of our own", err)
	}
	defer k.Close()
	defer func() {
		cleaning, cancel := context.WithTimeout(context.Background(), plan.UndoTimeout)
		defer cancel()
		if left := s.clean(cleaning, m, k); left != nil {
			err = plan.Half(errors.Join(err, errProbeLeft), left, s)
		}
	}()
	if err := s.plugIn(ctx, m, k, ns); err != nil {
		return err
	}
	from, to, addrs, err := s.ends(m, k)
	if err != nil {
		return err
	}
	defer from.Close()
	defer to.Close()
	ctx, stop := m.WhileAlive(ctx)
	defer stop()
	err = witness.Prove(ctx, from, to, addrs)
	var broken *witness.Broken
	if errors.As(err, &broken) {
		if dead := m.WithoutCarrier(); dead != "" {
			return fault.New(fault.Failed, "verify", s.inner+" of "+m.Guests[s.Side].Name, "%s %w: %w", dead, plan.ErrNoCarrier, broken)
		}
		return fault.New(fault.Failed, "verify", s.inner+" of "+m.Guests[s.Side].Name, "over %s, %w", s.on, broken).
			WithHint("%s", s.suspects())
	}
	for _, p := range addrs {
		if err == nil {
			err = s.talk(ctx, m, to, p)
		}
	}
	if len(addrs) == 0 && err == nil {
		m.Warn(s.inner + " has no address: --verify tried only an ARP packet, and no IP packet")
	}
	return fault.Explain("verify", s.inner, err)
}

// suspects returns the hint for a lost packet.
func (s Verify) suspects() string {
	if len(s.drops) > 0 {
		return strings.Join(s.drops, "; and ")
	}
	return "something drops it: nft list ruleset; iptables-save; ebtables-save; bridge -d link"
}

// talk has the guest's own network stack speak to the probe port, which plays a
// neighbour at an address that the guest knows nothing of.
func (s Verify) talk(ctx context.Context, m *plan.Machine, probe *witness.End, own netip.Prefix) error {
	k, guest := s.Kernel(m), m.Guests[s.Side]
	inner, err := s.link(m)
	if err != nil || own.IsSingleIP() {
		return err
	}
	all, err := k.Addrs()
	if err != nil {
		return fault.Explain("read addresses of", guest.Name, err)
	}
	if passage.SharesSubnet(all, inner.Index, own) {
		m.Warn(guest.Name + " has another interface in " + own.Masked().String() + " and may answer by that: --verify did not try its own network stack")
		return nil
	}
	stack := witness.Stack{MAC: inner.MAC, Own: own.Addr(), Run: k.Run}
	if inner.Slave == "vrf" {
		vrf, err := k.LinkByIndex(inner.Master)
		if err != nil {
			return fault.Explain("find the VRF of", s.inner, err)
		}
		stack.VRF = vrf.Name
	}
	peer, err := freePeer(k, inner.Index, own)
	if err != nil {
		return fault.Explain("look for a free address beside", own.String(), err)
	}
	if !peer.IsValid() {
		m.Warn("--verify found no address in " + own.Masked().String() + " that " + guest.Name + " does not use: its own network stack was not tried")
		return nil
	}
	stack.Resolved = func(a netip.Addr, mac net.HardwareAddr) error {
		return fault.Explain("enter the neighbour", a.String(), k.SetNeighbour(inner.Index, a, mac))
	}
	defer func() { _ = k.DelNeighbour(inner.Index, peer) }() // it may not have got one
	greeted, err := witness.Talk(ctx, stack, probe, peer)
	var mute *witness.Mute
	if errors.As(err, &mute) {
		return fault.New(fault.Failed, "verify", s.inner+" of "+guest.Name, "frames pass, but %w", mute).
			WithHint("something in the guest drops it: %s; %s",
				guests.Command(guest.GuestInfo, fmt.Sprintf("ip route get %s from %s", peer, own.Addr())), guests.Command(guest.GuestInfo, "nft list ruleset"))
	}
	if err == nil && !greeted {
		m.Warn(guest.Name + " answers neither a ping to " + own.Addr().String() + " nor a new TCP connection; connections that it opens itself work")
	}
	return fault.Explain("verify", s.inner, err)
}

// freePeer returns an address of a subnet that the guest neither has nor has spoken
// to, nor has a route by; the zero Addr if there is none among those that were tried.
func freePeer(k plan.Kernel, index int, own netip.Prefix) (netip.Addr, error) {
	used, err := k.Neighbours(index)
	addrs, err2 := k.Addrs()
	routes, err3 := k.AllRoutes()
	if err := errors.Join(err, err2, err3); err != nil {
		return netip.Addr{}, err
	}
	for _, a := range addrs {
		used = append(used, a.Prefix.Addr())
	}
	for _, r := range routes {
		used = append(used, r.Gateway)
	}
	ends := passage.PeersOf(own)
	const tries = 64
	for i := range tries {
		a := ends[0]
		if a.BitLen()-own.Bits() >= 8 { // those at the beginning of a subnet are most often in use
			b := ends[len(ends)-1].AsSlice()
			b[len(b)-1] = byte(2 + mathrand.IntN(252))
			a, _ = netip.AddrFromSlice(b)
		} else {
			for range i {
				a = a.Next()
			}
		}
		if own.Contains(a) && !slices.Contains(used, a) && a.Compare(ends[len(ends)-1]) <= 0 {
			return a, nil
		}
	}
	return netip.Addr{}, nil
}

var errProbeLeft = errors.New("the link that --verify made could not be deleted")

// plugIn makes the probe port.
func (s Verify) plugIn(ctx context.Context, m *plan.Machine, k *rtnl.Conn, ns *os.File) error {
	for _, which := range []string{"all", "default"} {
		_ = k.SetSysctl("ipv6/conf/"+which+"/disable_ipv6", "1") // it is to say nothing by itself
	}
	inner, err := s.link(m)
	if err != nil {
		return err
	}
	return s.join(ctx, m, s, inner, k, ns)
}

// pair makes a veth pair as the probe port, whose end on the host is born into the
// bridge master; 0: none.
func (s Verify) pair(m *plan.Machine, inner *rtnl.Link, ns *os.File, master int) (*rtnl.Link, error) {
	err := m.Host().AddVeth(rtnl.Veth{
		Name: s.probe, MAC: s.mac[0], PeerName: s.probe, PeerNS: ns, PeerMAC: s.mac[1], MTU: inner.MTU, Group: plan.Group, Master: master,
	})
	if err != nil {
		return nil, fault.Explain("make veth", s.probe, err)
	}
	l, err := m.Host().LinkByName(s.probe)
	if err != nil {
		return nil, fault.Explain("find", s.probe, err)
	}
	m.Know(plan.OnHost, s.probe, l.Index)
	return l, nil
}

// raise sets both ends of such a pair up.
func (s Verify) raise(m *plan.Machine, port *rtnl.Link, k *rtnl.Conn) error {
	return fault.Explain("set up", s.probe, errors.Join(m.Host().SetLink(port.Index, quietly), s.up(k, s.probe, quietly)))
}

// up sets a link up by its name.
func (s Verify) up(k *rtnl.Conn, name string, ch rtnl.Change) error {
	l, err := k.LinkByName(name)
	if err == nil {
		err = k.SetLink(l.Index, ch)
		if errors.Is(err, unix.EAFNOSUPPORT) { // no IPv6
			err = k.SetLink(l.Index, rtnl.Change{Up: true})
		}
	}
	return err
}

// link returns the guest's link.
func (s Verify) link(m *plan.Machine) (*rtnl.Link, error) {
	i, err := m.Find(s.Side, s.inner)
	if err != nil {
		return nil, fault.Explain("find", s.inner, err)
	}
	l, err := s.Kernel(m).LinkByIndex(i)
	return l, fault.Explain("find", s.inner, err)
}

// ends opens both ends, and returns one address of each family that the guest has.
func (s Verify) ends(m *plan.Machine, k *rtnl.Conn) (from, to *witness.End, addrs []netip.Prefix, err error) {
	inner, err := s.link(m)
	if err != nil {
		return nil, nil, nil, err
	}
	all, err := s.Kernel(m).Addrs()
	if err != nil {
		return nil, nil, nil, fault.Explain("read addresses of", s.inner, err)
	}
	has := map[bool]bool{}
	for _, a := range all {
		ip := a.Prefix.Addr()
		if a.Index == inner.Index && !ip.IsLinkLocalUnicast() && !a.Tentative() && !a.Duplicate() && !has[ip.Is6()] {
			has[ip.Is6()] = true
			addrs = append(addrs, a.Prefix)
		}
	}
	probe, err := k.LinkByName(s.probe)
	if err == nil {
		err = s.Kernel(m).Run(func() (err error) { from, err = witness.Open(inner.Index, inner.MAC); return err })
	}
	if err == nil {
		if err = k.Run(func() (err error) { to, err = witness.Open(probe.Index, probe.MAC); return err }); err != nil {
			from.Close()
		}
	}
	return from, to, addrs, guestnet.ExplainRaw("open packet sockets for", s.inner, err)
}

// clean deletes the probe port.
func (s Verify) clean(ctx context.Context, m *plan.Machine, k *rtnl.Conn) error {
	left := s.leave(ctx, m, s)
	m.Forget(plan.OnHost, s.probe)
	l, err := k.LinkByName(s.probe)
	if err == nil {
		err = ours.DeleteLink(k, l.Index) // and its other end
	}
	return errors.Join(left, fault.IgnoreAbsent("delete", s.probe, err))
}

func (s Verify) Undo(context.Context, *plan.Machine) error { return nil }

func (s Verify) Left() string {
	return "the interface " + s.probe + ", if it is there: ip link del " + s.probe
}

func (Verify) Nature() plan.Nature { return plan.Passive }

func (s Verify) String() string {
	return "# send packets from " + s.inner + " over " + s.on + " to a probe port of our own, and back"
}
