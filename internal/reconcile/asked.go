package reconcile

import (
	"net"
	"net/netip"
	"strings"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/internal/spec"
)

// Asked returns what asks for an attachment, as far as a list shows it. rest is what the
// list only hints at.
func Asked(a attach.Attachment) (s attach.Spec, rest []string) {
	s = attach.Spec{
		HostIF: attach.HostIF{Kind: attach.Kind(a.Host.Kind), Name: a.Host.Name}, Guest: a.Guest.Word(),
		IfName: a.Interface.Name, Addrs: a.Interface.Addresses, Gateways: a.Interface.Gateway,
		VLAN: a.Host.VLAN, MTU: a.Interface.MTU, Isolated: a.Host.Isolated, Antispoof: a.Host.Antispoof, Uplink: a.Host.Uplink,
		Routes: a.Interface.Routes, DNS: spec.ListedDNS(a.Interface.DNS), SourceRouting: a.Interface.SourceRouting,
	}
	for _, word := range a.Mirrors {
		if m, err := spec.ParseMirror(word); err == nil {
			s.Mirrors = append(s.Mirrors, m)
		}
	}
	ownMAC := true
	switch s.HostIF.Kind {
	case attach.KindVeth:
		s.HostIF.Name = ""
	case attach.KindDummy:
		s.HostIF.Name = string(attach.KindDummy)
	case attach.KindWireGuard:
		rest = append(rest, "keys in a file")
	case attach.KindBridge, attach.KindOVS:
		s.HostName = a.Host.Port
	case attach.KindPhys, attach.KindIPvlan, attach.KindIPoIB:
		ownMAC = false // it has the card's
	}
	if mac, err := net.ParseMAC(a.Interface.MAC); err == nil && ownMAC {
		s.MAC = mac
	}
	if a.Interface.VRF != nil {
		s.VRF = *a.Interface.VRF
	}
	if a.Lease != nil {
		s.From, s.Addrs, s.Gateways = attach.Source{Kind: a.Lease.Source, DHCP: a.Lease.Options}, nil, nil
		s.Keep, s.Metric, s.ACD = a.Lease.Keep, a.Lease.Metric, a.Lease.ACD
	}
	if there := a.Shaping; there != nil {
		s.Shape = attach.Reshape{RateIn: unlessZero(there.RateIn), RateOut: unlessZero(there.RateOut), Loss: unlessZero(there.Loss), Delay: unlessZero(there.Delay), Jitter: unlessZero(there.Jitter)}
	}
	for _, more := range a.More {
		switch what, value, _ := strings.Cut(more, " "); {
		case what == "mode":
			s.Mode = value
		case what == "--host-addr" && !s.HostAddr.IsValid():
			s.HostAddr, _ = netip.ParsePrefix(value)
		case more == spec.HostAccess:
			s.HostAccess = true
		default:
			rest = append(rest, more)
		}
	}
	return s, rest
}

// unlessZero returns nil for zero, about which nothing has to be said.
func unlessZero[T comparable](v T) *T {
	if v == *new(T) {
		return nil
	}
	return &v
}
