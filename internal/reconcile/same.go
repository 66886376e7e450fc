package reconcile

import (
	"slices"
	"strconv"
	"strings"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/bridge"
	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/spec"
)

// The names of differences that set can end. They are those that attach itself gives.
const (
	address = "address"
	mtu     = "MTU"
	vlan    = "VLAN"
	route   = "route"
)

// originWord is the name of the difference in who asked.
const originWord = "asked for by"

// differ tells how an attachment is not as asked, from what a list tells about it. ask is
// false only if it certainly is as asked; otherwise attach, which sees all of it, decides.
func differ(s spec.Spec, a attach.Attachment) (what []build.Difference, ask bool) {
	if s.HostIF.Kind.FromFile() {
		return nil, true // what its file asks for, attach alone reads
	}
	add := func(name, there, asked string) {
		what = append(what, build.Difference{What: name, There: spec.OrNone(there), Asked: spec.OrNone(asked)})
	}
	// An interface of the host has more names than one, and a word such as br1 says no
	// kind: attach knows whether it is what the attachment is on.
	if s.HostIF.Kind != attach.KindVeth {
		if onHost := string(s.HostIF.Kind); s.HostIF.Name != a.Host.Name && !unnamed(s) || onHost != "" && onHost != a.Host.Kind {
			ask = true
		}
	}
	if s.HostName != "" && s.HostName != a.Host.Port {
		add("host interface", a.Host.Port, s.HostName)
	}
	if s.MAC != nil && s.MAC.String() != a.Interface.MAC {
		add("MAC address", a.Interface.MAC, s.MAC.String())
	}
	if s.MTU != 0 && s.MTU != a.Interface.MTU {
		add(mtu, strconv.Itoa(a.Interface.MTU), strconv.Itoa(s.MTU))
	}
	if s.From.Kind == attach.FromLine && a.Lease == nil {
		if !sameSet(s.Addrs, a.Interface.Addresses) {
			add(address, spec.Join(a.Interface.Addresses), spec.Join(s.Addrs))
		}
		if !sameSet(s.Gateways, a.Interface.Gateway) {
			add("gateway", spec.Join(a.Interface.Gateway), spec.Join(s.Gateways))
		}
	}
	switch word := canonical(s.VLAN); {
	case word == a.Host.VLAN:
	case a.Host.Kind == string(attach.KindBridge) || a.Host.Kind == string(attach.KindOVS):
		add(vlan, a.Host.VLAN, word)
	default:
		ask = true // a tag of a card, or a partition key
	}
	if s.Isolated != a.Host.Isolated {
		add(spec.PortIsolation, spec.OnOff(a.Host.Isolated), spec.OnOff(s.Isolated))
	}
	if s.Uplink != "" && s.Uplink != a.Host.Uplink {
		ask = true // one that is gone is made again
		if a.Host.Uplink != "" {
			add(spec.Uplink, a.Host.Uplink, s.Uplink)
		}
	}
	// One guest has more names than one: attach knows whether it is the one that is asked for.
	if asked := s.Words().Mirrors; !sameSet(asked, a.Mirrors) {
		ask = true
		if len(asked) == 0 || len(a.Mirrors) == 0 {
			add(spec.MirrorOf, strings.Join(a.Mirrors, " "), strings.Join(asked, " "))
		}
	}
	if s.Antispoof != a.Host.Antispoof {
		add(spec.Antispoof, spec.OnOff(a.Host.Antispoof), spec.OnOff(s.Antispoof))
	}
	if a.Interface.Pulled {
		add(spec.CarrierState, spec.Off, spec.On)
	}
	vrf := spec.VRF{}
	if a.Interface.VRF != nil {
		vrf = *a.Interface.VRF
	}
	switch {
	case s.VRF.Fits(vrf):
	case s.VRF.Name == "":
		ask = true // it may be the guest's own
	default:
		add("VRF", vrf.String(), s.VRF.String())
	}
	there := spec.Shaping{}
	if a.Shaping != nil {
		there = *a.Shaping
	}
	is, asked := spec.ShapeFields(there), spec.ShapeFields(s.Shape.Apply(spec.Shaping{}))
	for i, f := range asked {
		if is[i].Word != f.Word {
			add(f.Name, is[i].Word, f.Word)
		}
	}
	return what, ask || len(what) > 0 || s.From.Kind != attach.FromLine || a.Lease != nil || hidden(s) || len(a.Interface.Routes) > 0 || a.Interface.DNS != "" || a.Interface.SourceRouting || len(a.More) > 0 || len(a.Cut) > 0 || a.Unpinned
}

// unnamed reports whether an attachment of the kind is on nothing of the host.
func unnamed(s spec.Spec) bool { return s.HostIF.Kind == attach.KindDummy }

// hidden reports whether s asks for something that a list does not show.
func hidden(s spec.Spec) bool {
	return s.NamedMAC || len(s.Sysctls) > 0 || s.Keep || s.Metric != 0 || len(s.Routes) > 0 || s.SourceRouting || s.DNS.String() != "" ||
		s.HostAddr.IsValid() || s.HostAccess || s.Mode != "" || strings.HasPrefix(s.HostIF.Name, spec.MACWord)
}

// canonical is the word after @ as a list has it.
func canonical(word string) string {
	if v, err := bridge.ParseVLAN(word); err == nil {
		return v.String()
	}
	return word
}

func sameSet[T comparable](a, b []T) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(v T) bool { return !slices.Contains(b, v) })
}

// shapeWord reports whether a difference is in what shapes a link.
func shapeWord(name string) bool {
	return slices.ContainsFunc(spec.ShapeFields(spec.Shaping{}), func(f spec.ShapeField) bool { return f.Name == name })
}

// setFor returns what is to be set so that the differences end; ok is false if there are
// some that set does not end.
func setFor(s spec.Spec, a attach.Attachment, what []build.Difference) (set attach.SetSpec, ok bool) {
	if s.HostIF.Kind.FromFile() {
		return set, false // its file is not read here
	}
	set = attach.SetSpec{Guest: s.Guest, IfName: a.Interface.Name, NoDAD: s.NoDAD, VLANFiltering: s.VLANFiltering}
	var shape spec.ShapeWords
	words := map[string]*string{"rate-in": &shape.RateIn, "rate-out": &shape.RateOut, "loss": &shape.Loss, "delay": &shape.Delay, "jitter": &shape.Jitter}
	for _, d := range what {
		switch {
		case d.What == address && s.ACD:
			return set, false // set does not ask the network about it
		case d.What == address && s.From.Kind == attach.FromLine:
			set.HasAddrs, set.Addrs = true, s.Addrs
			if s.HostAccess { // where it is missing, that is no difference
				set.HostAccess = &s.HostAccess
			}
		case d.What == mtu:
			set.MTU = s.MTU
		case d.What == vlan:
			set.VLAN = spec.OrNone(s.VLAN)
		case d.What == spec.PortIsolation:
			set.Isolated = &s.Isolated
		case d.What == spec.Antispoof:
			set.Antispoof = &s.Antispoof
		case d.What == route:
			set.HasRoutes, set.Routes = true, s.Routes
		case d.What == spec.NameServers:
			set.HasDNS, set.DNS = true, s.DNS
		case d.What == spec.SourceRouting:
			set.SourceRouting = &s.SourceRouting
		case d.What == spec.HostAccess:
			set.HostAccess = &s.HostAccess
		case d.What == spec.CarrierState:
			on := true
			set.Carrier = &on
		case words[d.What] != nil:
			*words[d.What] = d.Asked
		default:
			return set, false
		}
	}
	if s.Antispoof && ours.OnlyFilterHalf(a) {
		set.HasAddrs, set.Addrs = true, s.Addrs // from which the filter is made again
	}
	var err error
	set.Shape, err = shape.Parse()
	return set, err == nil
}
