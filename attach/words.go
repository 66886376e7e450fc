package attach

import (
	"github.com/gopipework/gopipework/internal/hostclient"
	"github.com/gopipework/gopipework/internal/kind"
	"github.com/gopipework/gopipework/internal/lease"
	"github.com/gopipework/gopipework/internal/spec"
)

// What can be asked for, and the words for it. They are internal/spec's; here
// they have the names that an importer writes.
type (
	// Spec is one attachment as the user asked for it.
	Spec = spec.Spec
	// Words are the words of an attach line, each as it was typed.
	Words = spec.Words
	// HostIF is the host's side of an attachment, as asked for.
	HostIF = spec.HostIF
	// Kind is what plugs a guest into the host's side.
	Kind = spec.Kind
	// Source is where addresses come from that are not given on the line.
	Source = spec.Source
	// SourceKind is a kind of Source.
	SourceKind = spec.SourceKind
	// DHCPOptions are what stands after "dhcp:" or "dhcp6:".
	DHCPOptions = lease.Options
	// HostClient is which DHCP client of the host is to be run, and how.
	HostClient = hostclient.Ask
	// SLAAC is what is made of router advertisements, as after "slaac:".
	SLAAC = spec.SLAAC
	// Sysctl is one of an interface's own settings in /proc/sys/net.
	Sysctl = spec.Sysctl
	// Route is one more route by the new interface.
	Route = spec.Route
	// Mirror is an interface of another guest whose frames are copied to the new one.
	Mirror = spec.Mirror
	// DNS is what the guest's resolver is to be told.
	DNS = spec.DNS
	// VRF is the routing domain in the guest that an interface is in.
	VRF = spec.VRF

	// Shaping is by how much a link is slower and worse than it could be.
	Shaping = spec.Shaping
	// Reshape is what is asked of a link's Shaping.
	Reshape = spec.Reshape
	// ShapeWords are the words of the flags for it.
	ShapeWords = spec.ShapeWords
	// Rate is in bits per second; 0 is no limit.
	Rate = spec.Rate
	// Loss is the share of packets that are lost, in millionths.
	Loss = spec.Loss
	// Delay is in whole microseconds.
	Delay = spec.Delay

	// LinkSpec is one link between two guests as the user asked for it.
	LinkSpec = spec.LinkSpec
	// LinkWords are the words of a link line.
	LinkWords = spec.LinkWords
	// EndWords are those of one end.
	EndWords = spec.EndWords

	// SetSpec is what is asked of an attachment that is there.
	SetSpec = spec.SetSpec
	// SetWords are the words of a set line after its guest.
	SetWords = spec.SetWords

	// Origin says who asked for an attachment: "line", "keep", "file:NAME",
	// "compose:PROJECT/SERVICE".
	Origin = spec.Origin

	// Selection is which of a guest's attachments to detach.
	Selection = spec.Selection
	// Ready is an interface that somebody waits for, and what it has to have.
	Ready = spec.Ready
)

// The kinds of host interface. KindAny leaves it to what is found under the name.
const (
	KindAny     = spec.KindAny
	KindBridge  = spec.KindBridge
	KindOVS     = spec.KindOVS
	KindMacvlan = spec.KindMacvlan
	KindMacvtap = spec.KindMacvtap
	KindIPvlan  = spec.KindIPvlan
	KindVLAN    = spec.KindVLAN
	KindPhys    = spec.KindPhys
	KindDummy   = spec.KindDummy
	KindIPoIB   = spec.KindIPoIB
	KindVeth    = spec.KindVeth // between two guests

	KindWireGuard = spec.KindWireGuard
)

// The origins that have no name. "" is OriginLine.
const (
	OriginLine  = spec.OriginLine  // a typed line
	OriginKeep  = spec.OriginKeep  // the kept lines
	OriginLabel = spec.OriginLabel // a label of a container
)

// The sources of addresses. FromLine is none: the addresses, if any, are given.
const (
	FromLine   = spec.FromLine
	FromDHCP   = spec.FromDHCP
	FromDHCP6  = spec.FromDHCP6
	FromSLAAC  = spec.FromSLAAC
	FromClient = spec.FromClient // DHCPv4, by a client of the host
)

// Parse turns the words into a Spec. It looks at nothing but the words. Every
// error is a usage error that names the word and, where there is one, a way
// out.
func Parse(w Words) (Spec, error) { return spec.Parse(w, kind.Words()) }

// ParseLink turns the words into a LinkSpec, as Parse does.
func ParseLink(w LinkWords) (LinkSpec, error) { return spec.ParseLink(w) }

// ParseSet turns the words into a SetSpec, as Parse does.
func ParseSet(guest string, w SetWords) (SetSpec, error) {
	return spec.ParseSet(guest, w, kind.Words())
}

// ParseSelection reads the words of a detach after its guest.
func ParseSelection(ifName string, all bool) (Selection, error) {
	return spec.ParseSelection(ifName, all)
}

// ParseReady checks the interface's name; "" is eth1, as in an attach.
func ParseReady(ifName string, addr, route bool) (Ready, error) {
	return spec.ParseReady(ifName, addr, route)
}
