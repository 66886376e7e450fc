package spec

import (
	"net/netip"
	"reflect"
	"slices"

	"github.com/gopipework/gopipework/internal/fault"
)

// SetWords are the words of a set line after its guest, each as it was typed;
// "" where there was none.
type SetWords struct {
	IfName  string
	Shape   ShapeWords
	MTU     string // --mtu
	VLAN    string // --vlan; "none": none
	Address string // --addr: the whole list; "0/0": none

	Isolated  string // --isolated: "on" or "off"
	Antispoof string // --antispoof: "on" or "off"
	Carrier   string // --carrier: "on" or "off"
	To        string // --to: HOSTIF of another bridge
	ToUplink  string // that To gets if it has none, as --uplink has it; no flag asks for it

	Routes []string // --route, each; "none" alone: none
	DNS    string   // --dns; "none": none

	SourceRouting string // --source-routing: "on" or "off"
	HostAccess    string // --host-access: "on" or "off"

	NoDAD         bool // --nodad
	VLANFiltering bool // --vlan-filtering
	NoFirewall    bool // --no-firewall
}

// SetSpec is what is asked of an attachment that is there. What nothing is said
// of stays.
type SetSpec struct {
	Guest     string // the word that names the guest
	IfName    string
	Shape     Reshape
	MTU       int            // 0: nothing is said
	VLAN      string         // "": nothing is said; "none": none
	HasAddrs  bool           // Addrs are asked for
	Addrs     []netip.Prefix // all that there are to be
	Gateways  []netip.Addr   // that an interface without any gets with Addrs; no word asks for it
	Isolated  *bool          // nil: nothing is said
	Antispoof *bool          // nil: nothing is said
	Carrier   *bool          // false: as if its cable were pulled; nil: nothing is said
	To        HostIF         // the bridge that its port is moved to; the zero HostIF: it stays where it is
	ToUplink  string         // the VXLAN that To gets if it has none, as --uplink has it; no word asks for it

	HasRoutes bool    // Routes are asked for
	Routes    []Route // all that there are to be
	HasDNS    bool    // DNS is asked for
	DNS       DNS     // the zero DNS: the guest's file is to be as it was

	SourceRouting *bool // nil: nothing is said
	HostAccess    *bool // nil: nothing is said

	NoDAD         bool // do not look for duplicate addresses
	VLANFiltering bool // may be turned on on somebody else's bridge
	NoFirewall    bool // leave the host's firewall alone when the port is moved
}

// Moves reports whether its port is to be that of the bridge To.
func (s SetSpec) Moves() bool { return s.To != HostIF{} }

// ParseSet turns the words into a SetSpec, as Parse does.
func ParseSet(guest string, w SetWords, kinds []Kind) (SetSpec, error) {
	s := SetSpec{Guest: guest, HasAddrs: w.Address != "", NoDAD: w.NoDAD, VLANFiltering: w.VLANFiltering, NoFirewall: w.NoFirewall}
	if reflect.DeepEqual(w, SetWords{IfName: w.IfName, NoDAD: w.NoDAD, VLANFiltering: w.VLANFiltering, NoFirewall: w.NoFirewall}) {
		return s, fault.BadWord("read words", w.IfName, "there is nothing to set").WithHint("gopipework help set lists what can be set")
	}
	var err error
	if s.IfName, err = parseAnyName(w.IfName); err != nil {
		return s, err
	}
	if s.Shape, err = w.Shape.Parse(); err != nil {
		return s, err
	}
	if s.HasAddrs {
		if s.Addrs, err = parseList(w.Address); err != nil {
			return s, err
		}
	}
	if w.VLAN != "" && w.VLAN != None && !vlanWord.Get().MatchString(w.VLAN) {
		return s, fault.BadWord("read VLAN", w.VLAN, "a VLAN is a number from 1 to 4094").
			WithHint("10 (untagged), 10,20-30 (untagged 10, tagged 20 to 30), 10t (tagged only), none")
	}
	s.VLAN = w.VLAN
	if err := s.parseSwitches(w); err != nil {
		return s, err
	}
	if s.HasRoutes = len(w.Routes) > 0; s.HasRoutes && !slices.Equal(w.Routes, []string{None}) {
		if s.Routes, err = parseRoutes(w.Routes, &Spec{From: Source{Kind: fromUnknown}}); err != nil {
			return s, err
		}
	}
	if s.HasDNS = w.DNS != ""; s.HasDNS && w.DNS != None {
		if s.DNS, err = parseDNS(w.DNS, Source{Kind: FromDHCP}); err != nil {
			return s, err
		}
	}
	if s.To, err = parseTo(w, kinds); err != nil {
		return s, err
	}
	s.ToUplink = w.ToUplink
	s.MTU, err = ParseMTU(w.MTU, len(Spec{Addrs: s.Addrs}.AddrsOf(true)) > 0)
	return s, err
}

// OnlyCarrier reports whether nothing but the carrier is to be set.
func (s SetSpec) OnlyCarrier() bool {
	only := SetSpec{Guest: s.Guest, IfName: s.IfName, Carrier: s.Carrier, NoDAD: s.NoDAD, VLANFiltering: s.VLANFiltering}
	return s.Carrier != nil && reflect.DeepEqual(s, only)
}

// parseList reads addresses without a gateway.
func parseList(word string) ([]netip.Prefix, error) {
	if _, isSource, _ := parseSource(word); isSource {
		return nil, fault.BadWord("read address", word, "set accepts no addresses from the network").
			WithHint("detach it, and attach it with %s", word)
	}
	addrs, gateways, err := parseAddress(word)
	if err == nil && len(gateways) > 0 {
		err = fault.BadWord("read address", word, "set cannot change the gateway").
			WithHint("leave it out, or detach and attach again")
	}
	return addrs, err
}

// parseTo reads the bridge to move to.
func parseTo(w SetWords, kinds []Kind) (HostIF, error) {
	switch {
	case w.To != "":
		return ParseHostIF(w.To, false, kinds)
	case w.NoFirewall:
		return HostIF{}, fault.BadWord("read flag", "--no-firewall", "only a move to another bridge concerns the firewall").
			WithHint("leave it out, or name the bridge: --to BRIDGE")
	}
	return HostIF{}, nil
}

// parseSwitches reads what is turned on or off.
func (s *SetSpec) parseSwitches(w SetWords) (err error) {
	for _, f := range []struct {
		flag, word string
		to         **bool
	}{
		{"--isolated", w.Isolated, &s.Isolated}, {"--source-routing", w.SourceRouting, &s.SourceRouting},
		{"--host-access", w.HostAccess, &s.HostAccess}, {"--antispoof", w.Antispoof, &s.Antispoof},
		{"--carrier", w.Carrier, &s.Carrier},
	} {
		if *f.to, err = parseSwitch(f.flag, f.word); err != nil {
			return err
		}
	}
	return nil
}

// parseSwitch reads the word after a flag that turns something on or off; nil for "".
func parseSwitch(flag, word string) (*bool, error) {
	on := word == On
	switch word {
	case "":
		return nil, nil
	case On, Off:
		return &on, nil
	}
	return nil, fault.BadWord("read "+flag, word, "it is neither %s nor %s", On, Off).WithHint("%s %s, or %s %s", flag, On, flag, Off)
}

// The names of differences that set ends.
const (
	PortIsolation = "port isolation" // --isolated
	SourceRouting = "source routing" // --source-routing
	HostAccess    = "host access"    // --host-access
	Antispoof     = "antispoof"      // --antispoof
	CarrierState  = "carrier"        // --carrier
	OnBridge      = "bridge"         // --to
)

// The words for what is turned on or off.
const (
	On  = "on"
	Off = "off"
)

// OnOff is the word for it.
func OnOff(on bool) string {
	if on {
		return On
	}
	return Off
}
