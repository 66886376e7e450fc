package kind

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/hostaddr"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/shell"
	"github.com/gopipework/gopipework/internal/spec"
	"github.com/gopipework/gopipework/internal/wireguard"
	"golang.org/x/sys/unix"
)

// wireGuardKind is a tunnel, as a file of wg-quick's describes it. HOSTIF is the file.
//
// The link is made from the host and in the guest, by one message. Its UDP socket is where
// the message came from (wg_newlink, creating_net): the host sends what is encrypted, and
// the guest needs no other interface.
type wireGuardKind struct{ childKind }

var wireGuard = wireGuardKind{childKind{plain: plain{build.Traits{
	Word: spec.KindWireGuard, Child: true, UpLate: true,
	MTU:     1420, // ETH_DATA_LEN without what a tunnel adds (wg_setup)
	NoProbe: "nobody in a tunnel answers ARP",
	Taken:   plan.Taken{Why: "another tunnel, or a program of the host, has its ListenPort", Hint: "choose another ListenPort, or leave it out"},
}}}}

// ReadTunnel reads the file of a WireGuard link. The Spec that it returns asks for what the
// file does, except where the line says something else. One of another kind stays as it is.
func ReadTunnel(ctx context.Context, s spec.Spec) (spec.Spec, wireguard.Config, error) {
	if s.HostIF.Kind != spec.KindWireGuard {
		return s, wireguard.Config{}, nil
	}
	c, err := wireguard.ReadFile(ctx, s.HostIF.Name)
	if err != nil {
		return s, c, err
	}
	s, err = WithTunnel(s, c)
	return s, c, err
}

// WithTunnel adds to the Spec of a WireGuard link what a file asks for and the line says
// nothing about, and refuses what the line asks for and the file cannot have.
func WithTunnel(s spec.Spec, c wireguard.Config) (spec.Spec, error) {
	if s.HostIF.Kind != spec.KindWireGuard {
		return s, nil
	}
	if len(s.Addrs) == 0 {
		s.Addrs = c.Addrs
	}
	if len(s.Addrs) == 0 {
		return s, fault.New(fault.Invalid, "read", s.HostIF.Name, "there is no Address in it").
			WithHint("give one after the guest, or add it to [Interface]: Address = 10.8.0.2/24")
	}
	if s.MTU == 0 {
		s.MTU = c.MTU
	}
	switch {
	case s.DNS.None:
		s.DNS = spec.DNS{}
	case s.DNS.IsZero():
		s.DNS.Servers = c.DNS
	}
	if !c.NoRoutes {
		s.Routes = tunnelRoutes(s, c)
	}
	return s, s.CheckFileAddrs()
}

// tunnelRoutes returns the routes that AllowedIPs make: those of a family that the link has
// an address of, and that no address brings with it. Where no host can be, no route leads.
func tunnelRoutes(s spec.Spec, c wireguard.Config) (routes []spec.Route) {
	for _, p := range c.Peers {
		for _, to := range p.AllowedIPs {
			brings := func(a netip.Prefix) bool { return a.Bits() <= to.Bits() && a.Contains(to.Addr()) }
			if s.Has(to.Addr().Is6()) && !hostaddr.Hostless(to) && !slices.ContainsFunc(s.Addrs, brings) {
				routes = append(routes, spec.Route{Dst: to, Metric: s.Metric})
			}
		}
	}
	return routes
}

// Look reads how a WireGuard link that is there is set up.
func (k wireGuardKind) Look(_ context.Context, o *build.Observer, _ *plan.Machine, _ spec.Spec, f *build.Facts) {
	if f.Inner == nil || f.Inner.Kind != string(k.Word) {
		return
	}
	o.Look("the tunnel of "+f.Inner.Name, func() error {
		d, err := o.Guest.WireGuard(f.Inner.Index)
		f.TunnelThere = &d
		return err
	})
}

func (wireGuardKind) settle(j *build.Job, d *build.Draft) error {
	switch {
	case j.VLAN != "":
		return j.Refuse(fault.Usage, "a tunnel has no VLAN").WithHint("leave @%s out", j.VLAN)
	case j.Mode != "":
		return j.Refuse(fault.Usage, "--mode is for macvlan and ipvlan")
	case j.MAC != nil:
		return j.Refuse(fault.Usage, "a tunnel has no MAC address").WithHint("leave it out")
	}
	for _, w := range j.There.Tunnel.Warnings {
		d.Warn("%s", w)
	}
	for _, family := range []string{"IPv4", "IPv6"} {
		ipv6 := family == "IPv6"
		if all := spec.DefaultRoute(ipv6); allows(j.There.Tunnel, all) && !j.Has(ipv6) && hasDefault(j, all) {
			d.Warn("the tunnel has no %s address, so what the guest sends by %[1]s does not go through it", family)
		}
	}
	return nil
}

func allows(c wireguard.Config, to netip.Prefix) bool {
	return slices.ContainsFunc(c.Peers, func(p wireguard.Peer) bool { return slices.Contains(p.AllowedIPs, to) })
}

func hasDefault(j *build.Job, to netip.Prefix) bool {
	for _, r := range j.There.Routes {
		if r.Dst == to && !j.Own(r.Index) {
			return true
		}
	}
	return false
}

func (wireGuardKind) mac(*build.Job) (net.HardwareAddr, bool) { return nil, true }

func (k wireGuardKind) Join(j *build.Job, d *build.Draft) {
	PlanClearing(j, d)
	k.make(j, d, AddChild{})
	d.Add(SetUpTunnel{Place: j.Place, inner: j.Names.Inner, file: j.HostIF.Name, device: j.There.Tunnel.Device})
}

func (wireGuardKind) Repair(*build.Job, *build.Draft) {}

func (wireGuardKind) prober(*build.Job) (prober, string) {
	return nil, "the other end of a tunnel cannot be tried from this host"
}

// Differ names what differs and no key. Peers are counted, in the order of the file.
func (k wireGuardKind) Differ(j *build.Job, differ build.Differ) {
	there, asked := j.There.TunnelThere, j.There.Tunnel.Device
	if is := spec.Kind(j.There.Inner.Kind); is != k.Word || there == nil {
		differ("kind", is, k.Word)
		return
	}
	if there.PrivateKey != asked.PrivateKey {
		differ("private key", "another", "the file's")
	}
	if asked.Port != 0 && there.Port != asked.Port {
		differ("listen port", there.Port, asked.Port)
	}
	if there.Mark != asked.Mark {
		differ("fwmark", there.Mark, asked.Mark)
	}
	for n, p := range asked.Peers {
		name := fmt.Sprintf("peer %d of the file", n+1)
		i := slices.IndexFunc(there.Peers, func(o wireguard.Peer) bool { return o.PublicKey == p.PublicKey })
		if i < 0 {
			differ(name, "none", "one")
			continue
		}
		peerDiffers(there.Peers[i], p, func(what string, there, asked any) { differ(what+" of "+name, there, asked) })
	}
	if len(there.Peers) > len(asked.Peers) {
		differ("peers", len(there.Peers), len(asked.Peers))
	}
}

// peerDiffers compares a peer that is there with the one that is asked for. Once it has
// answered, its endpoint is where it sends from, whatever the file says.
func peerDiffers(there, asked wireguard.Peer, differ build.Differ) {
	if there.PresharedKey != asked.PresharedKey {
		differ("preshared key", "another", "the file's")
	}
	if there.Keepalive != asked.Keepalive {
		differ("keepalive", there.Keepalive, asked.Keepalive)
	}
	if asked.Endpoint.IsValid() && !asked.Named && !there.Heard && there.Endpoint != asked.Endpoint {
		differ("endpoint", there.Endpoint, asked.Endpoint)
	}
	if !ours.SameSet(there.AllowedIPs, asked.AllowedIPs) {
		differ("allowed IPs", spec.OrNone(spec.Join(there.AllowedIPs)), spec.OrNone(spec.Join(asked.AllowedIPs)))
	}
}

// SetUpTunnel gives a WireGuard link its keys and its peers. They go with the link.
type SetUpTunnel struct {
	plan.Place
	inner, file string
	device      wireguard.Device
}

func (s SetUpTunnel) Do(_ context.Context, m *plan.Machine) error {
	err := s.Kernel(m).SetWireGuard(s.Index(m, s.inner), s.device)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return fault.New(fault.Unsupported, "set up wireguard", s.inner, "%w", err).WithHint("%s", ours.Missing(string(spec.KindWireGuard)))
	}
	return fault.Explain("set up wireguard", s.inner, err)
}

func (SetUpTunnel) Undo(context.Context, *plan.Machine) error { return nil }

func (SetUpTunnel) Nature() plan.Nature { return plan.Undoable }

// String has no keys: wg reads them from the file.
func (s SetUpTunnel) String() string {
	comment := ""
	if slices.ContainsFunc(s.device.Peers, func(p wireguard.Peer) bool { return p.Named }) {
		comment = "# names of endpoints are resolved on the host:\n"
	}
	return comment + s.Enter + "wg setconf " + s.inner + " <(wg-quick strip " + shell.Quote(s.file) + ")"
}
