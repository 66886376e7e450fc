package spec

import (
	"crypto/md5"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/lazyregexp"
	"github.com/gopipework/gopipework/internal/plainname"
)

// Words are the words of an attach line, each as it was typed; "" where there
// was none.
type Words struct {
	HostIF  string // br1, eth0, bridge:lan, ...
	Guest   string
	Address string // 192.168.1.2/24@192.168.1.1
	MAC     string // the last word: [MAC][@VLAN]

	IfName   string // -i
	HostName string // -l
	HostAddr string // --host-addr
	Family   string // -a
	MTU      string // --mtu
	Mode     string // --mode
	Default  string // --default
	Metric   string // --metric
	DNS      string // --dns
	VRF      string // --vrf
	Uplink   string // --uplink
	Shape    ShapeWords

	Routes  []string // --route, each
	Sysctls []string // --sysctl, each
	Mirrors []string // --mirror, each

	DirectPhys    bool // --direct-phys
	ForcePhys     bool // --force-phys
	HostAccess    bool // --host-access
	ACD           bool // --acd
	NoDAD         bool // --nodad
	Verify        bool // --verify
	VLANFiltering bool // --vlan-filtering
	NoFirewall    bool // --no-firewall
	SourceRouting bool // --source-routing
	Isolated      bool // --isolated
	Antispoof     bool // --antispoof
}

// Parse turns the words into a Spec; kinds are those of host interface that there are.
// It looks at nothing but the words. Every error is a usage error that names the word
// and, where there is one, a hint.
func Parse(w Words, kinds []Kind) (Spec, error) {
	s := Spec{Guest: w.Guest, HostAccess: w.HostAccess, ACD: w.ACD, Verify: w.Verify, NoDAD: w.NoDAD, ForcePhys: w.ForcePhys, VLANFiltering: w.VLANFiltering, NoFirewall: w.NoFirewall, Isolated: w.Isolated, Antispoof: w.Antispoof}
	var err error
	if s.HostIF, err = ParseHostIF(w.HostIF, w.DirectPhys, kinds); err != nil {
		return Spec{}, err
	}
	if w.Guest == "" {
		return Spec{}, fault.BadWord("read guest", "", "it is empty")
	}
	var isSource bool
	if s.From, isSource, err = parseSource(w.Address); err == nil && !isSource && !(s.HostIF.Kind.FromFile() && w.Address == "") {
		s.Addrs, s.Gateways, err = parseAddress(w.Address)
	}
	if err == nil {
		err = s.checkTunnel(w)
	}
	if err != nil {
		return Spec{}, err
	}
	if s.ACD && s.From.Kind == FromClient {
		return Spec{}, fault.BadWord("read flag", "--acd", "%s decides for itself whether to look for duplicates", s.From.Ask.Client).
			WithHint("use dhcp instead: it works with --acd")
	}
	if err := s.checkACD(); err != nil {
		return Spec{}, err
	}
	if err := s.CheckHostAccess(); err != nil {
		return Spec{}, err
	}
	if s.HostAddr, err = parseHostAddr(w.HostAddr, s.Addrs); err != nil {
		return Spec{}, err
	}
	if err = s.parseMACVLAN(w.MAC); err != nil {
		return Spec{}, s.belongs(w, err)
	}
	if s.IfName, err = parseIfName("interface name", w.IfName); err != nil {
		return Spec{}, err
	}
	if s.HostName, err = parseIfName("host interface name", w.HostName); err != nil {
		return Spec{}, err
	}
	if s.MTU, err = ParseMTU(w.MTU, s.Has(true)); err != nil {
		return Spec{}, err
	}
	if s.Mode, err = parseMode(w.Mode); err != nil {
		return Spec{}, err
	}
	if s.Shape, err = w.Shape.Parse(); err != nil {
		return Spec{}, err
	}
	if s.DNS, err = s.parseDNS(w.DNS); err != nil {
		return Spec{}, err
	}
	if s.Sysctls, err = parseSysctls(w.Sysctls); err != nil {
		return Spec{}, err
	}
	if s.Mirrors, err = parseMirrors(w.Mirrors, w.Guest); err != nil {
		return Spec{}, err
	}
	if err := onceEach(s.AllSysctls()); err != nil {
		return Spec{}, err
	}
	if err := s.checkIPv6Off(); err != nil {
		return Spec{}, err
	}
	if err := parseRouting(w, &s); err != nil {
		return Spec{}, err
	}
	if s.VRF, err = parseVRF(w.VRF, &s); err != nil {
		return Spec{}, err
	}
	if err := s.parseUplink(w.Uplink); err != nil {
		return Spec{}, err
	}
	if err := s.checkFamily(w.Family); err != nil {
		return Spec{}, err
	}
	if s.inFile() {
		s.Family = w.Family
	}
	return s, nil
}

// checkIPv6Off refuses an IPv6 address where IPv6 is to be off.
func (s *Spec) checkIPv6Off() error {
	off := Sysctl{"ipv6/conf", "disable_ipv6", "1"}
	if !s.Has(true) || !slices.Contains(s.Sysctls, off) {
		return nil
	}
	return fault.BadWord("read --sysctl", off.String(), "it contradicts the address %s", s.AddressWord()).WithHint("leave out one of the two")
}

func (s *Spec) checkACD() error {
	if !s.ACD || s.inFile() || s.Has(false) {
		return nil
	}
	return fault.BadWord("read flag", "--acd", "there is no IPv4 address to ask about").
		WithHint("leave it out: IPv6 looks for duplicates by itself")
}

// CheckHostAccess refuses the host's way to an address that it has no route to, or
// whose changes no route of ours would follow.
func (s *Spec) CheckHostAccess() error {
	const flag = "--host-access"
	switch {
	case !s.HostAccess || s.From.Kind == FromDHCP || s.inFile():
		return nil
	case s.From.Kind == FromClient:
		return fault.BadWord("read flag", flag, "%s changes the address without us, and the host's route would not follow it", s.From.Ask.Client).
			WithHint("use dhcp instead: the route follows its lease")
	case len(s.AddrsOf(false)) == 0:
		return fault.BadWord("read flag", flag, "it needs an IPv4 address on the line, or dhcp, for the host's route")
	}
	return nil
}

// parseHostAddr reads the address of the host's end; addrs are the guest's.
func parseHostAddr(word string, addrs []netip.Prefix) (netip.Prefix, error) {
	if word == "" {
		return netip.Prefix{}, nil
	}
	p, err := ParsePrefix(word)
	if err == nil && slices.ContainsFunc(addrs, func(q netip.Prefix) bool { return q.Addr() == p.Addr() }) {
		err = fault.BadWord("read address", word, "the guest is to have it, and both ends cannot")
	}
	return p, err
}

// UsualIfName is what an interface is called inside the guest without -i, except on IPoIB.
const UsualIfName = "eth1"

// MaxLinkName is IFNAMSIZ without its terminating zero.
const MaxLinkName = 15

// CheckName returns the reason why name cannot be that of an interface. The
// kernel takes more than plain names (escape sequences, "%d" templates, shell
// words); nobody needs it.
func CheckName(name string) string {
	switch {
	case name == "":
		return "it is empty"
	case len(name) > MaxLinkName:
		return "it is longer than the kernel's " + strconv.Itoa(MaxLinkName) + " bytes"
	case name == "all" || name == "default":
		return "it is a reserved word of the kernel's sysctls"
	case !plainname.Is(name):
		return "an interface name is made of letters, digits, '_', '.' and '-', and begins with a letter, a digit or '_'"
	}
	return ""
}

// parseIfName accepts "" as "not given".
func parseIfName(what, name string) (string, error) {
	if name == "" {
		return "", nil
	}
	if why := CheckName(name); why != "" {
		return "", fault.BadWord("read "+what, name, "%s", why)
	}
	return name, nil
}

// parseAnyName reads the name of an interface that is there, which can be an
// alternative one.
func parseAnyName(name string) (string, error) {
	if isAltName(name) {
		return name, nil
	}
	return parseIfName("interface name", name)
}

// isAltName reports whether a name is too long for an interface's own, and can be
// an alternative one.
func isAltName(name string) bool {
	return len(name) > MaxLinkName && len(name) <= MaxAltName && plainname.Is(name)
}

// ParseHostIF reads the word for a host interface, with phys if --direct-phys is given;
// kinds are those that there are.
func ParseHostIF(word string, phys bool, kinds []Kind) (HostIF, error) {
	const op = "read host interface"
	h := HostIF{Name: word}
	if prefix, name, ok := strings.Cut(word, ":"); ok && !strings.HasPrefix(word, MACWord) {
		if !slices.Contains(kinds, Kind(prefix)) {
			e := fault.BadWord(op, word, "there is no kind %q", prefix)
			if _, err := strconv.ParseUint(name, 10, 16); err == nil {
				return HostIF{}, e.WithHint("%s is a label of an address of %s: name the interface itself", word, prefix)
			}
			return HostIF{}, e.WithHint("the kinds are %s", kindWords(kinds))
		}
		h = HostIF{Kind: Kind(prefix), Name: name}
	}
	if h.Kind.FromFile() && !phys {
		return h, checkTunnelFile(word, h.Name)
	}
	if phys {
		if h.Kind != KindAny && h.Kind != KindPhys {
			return HostIF{}, fault.BadWord(op, word, "--direct-phys asks for phys, but the word asks for %s", h.Kind)
		}
		h.Kind = KindPhys
	}
	if word, ok := strings.CutPrefix(h.Name, MACWord); ok {
		mac, err := parseMAC(word)
		if err != nil {
			return HostIF{}, err
		}
		h.Name = MACWord + mac.String()
		return h, nil
	}
	if isAltName(h.Name) {
		return h, nil
	}
	if why := CheckName(h.Name); why != "" {
		return HostIF{}, fault.BadWord(op, word, "%s", why)
	}
	return h, nil
}

func kindWords(kinds []Kind) string {
	words := make([]string, len(kinds))
	for i, k := range kinds {
		words[i] = string(k) + ":"
	}
	return strings.Join(append(words, MACWord), " ")
}

// vlanWord is what any kind's grammar of the word after @ is made of: tags,
// ranges and "t" on Ethernet, a partition key in hex on IPoIB. Which it is,
// and whether it makes sense, is known when the host interface is.
var vlanWord = lazyregexp.Regexp{Expr: `^[0-9A-Fa-fx][0-9A-Fa-fxt,-]*$`}

func (s *Spec) parseMACVLAN(word string) (err error) {
	macWord, vlan, tagged := strings.Cut(word, "@")
	if tagged && !vlanWord.Get().MatchString(vlan) {
		return fault.BadWord("read VLAN", vlan, "a VLAN is a number from 1 to 4094").
			WithHint("@10 (untagged), @10,20-30 (untagged 10, tagged 20 to 30), @10t (tagged only)")
	}
	s.VLAN = vlan
	switch macWord {
	case "":
	case fromText:
		s.NamedMAC = true
	default:
		s.MAC, err = parseMAC(macWord)
	}
	return err
}

// belongs is the error for a last word that is no MAC address and no VLAN; where
// it is what belongs to the address, with that address as the hint.
func (s Spec) belongs(w Words, err error) error {
	var e *fault.Error
	if !errors.As(err, &e) {
		return err
	}
	word := strings.TrimPrefix(w.MAC, "@")
	if gw, err := netip.ParseAddr(word); err == nil && gw.Zone() == "" && len(s.Addrs) > 0 && !strings.Contains(w.Address, "@") {
		return e.WithHint("if it is the gateway, write it without a space: %s@%s", w.Address, word)
	}
	if _, err := netip.ParsePrefix(word); err == nil && len(s.Addrs) > 0 && word == w.MAC {
		addrs, gateways, has := strings.Cut(w.Address, "@")
		if has {
			gateways = "@" + gateways
		}
		return e.WithHint("several addresses are one word: %s,%s%s", strings.TrimSuffix(addrs, ","), word, gateways)
	}
	if word == w.MAC && vlanWord.Get().MatchString(word) {
		return e.WithHint("if it is the VLAN, write it as @%s", word)
	}
	if name, options, _ := strings.Cut(w.Address, ":"); s.From.Leased() && strings.Contains(word, "=") {
		return e.WithHint("options are a part of the word: %s:%s", name, strings.TrimPrefix(options+","+word, ","))
	}
	return err
}

// fromText begins a MAC address that is derived from a text; alone, from the machine and
// the names of the guest and the interface.
const fromText = "U:"

// whole writes the groups of a MAC address with two digits each, as ip(8) reads aa:2:b:1.
func whole(word string) string {
	groups := strings.Split(word, ":")
	for i, g := range groups {
		if len(g) == 1 {
			groups[i] = "0" + g
		}
	}
	return strings.Join(groups, ":")
}

// parseMAC reads a MAC address, or U:string: 02: and the first five bytes of
// the MD5 sum of the string and a newline, as pipework computes it with
// "echo string | md5sum", so that a name always gets the same address.
func parseMAC(word string) (net.HardwareAddr, error) {
	const op = "read MAC address"
	if name, ok := strings.CutPrefix(word, fromText); ok && name != "" {
		sum := md5.Sum([]byte(name + "\n"))
		return append(net.HardwareAddr{0x02}, sum[:5]...), nil
	}
	full := whole(word)
	mac, err := net.ParseMAC(full)
	switch {
	case err != nil || len(mac) != 6 || len(full) != len("00:00:00:00:00:00"):
		return nil, fault.BadWord(op, word, "it is not six pairs of hex digits").
			WithHint("26:2e:71:98:60:8f, or U:TEXT to derive one from the text")
	case mac[0]&1 != 0: // the broadcast address too
		return nil, fault.BadWord(op, word, "it is a multicast address: the last bit of its first byte is set").
			WithHint("make the first byte even, for example 02")
	case slices.Max(mac) == 0:
		return nil, fault.BadWord(op, word, "it is all zeros")
	}
	return mac, nil
}

// MinMTU is the least an IPv4 link may have (RFC 791), MinMTU6 the least an
// IPv6 link may have (RFC 8200): below it the kernel turns IPv6 off. MaxMTU is the most that any may have.
const (
	MinMTU  = 68
	MinMTU6 = 1280
	MaxMTU  = 65535
)

// ParseMTU reads an MTU in bytes, "" as 0; with ipv6, of a link that IPv6 is to work on.
func ParseMTU(word string, ipv6 bool) (int, error) {
	if word == "" {
		return 0, nil
	}
	mtu, err := strconv.Atoi(word)
	if err != nil || mtu < MinMTU || mtu > MaxMTU {
		return 0, fault.BadWord("read MTU", word, "it is not a number from %d to %d", MinMTU, MaxMTU)
	}
	return mtu, checkMTU(mtu, ipv6)
}

// checkMTU refuses an MTU with which the kernel turns IPv6 off. 0 is none.
func checkMTU(mtu int, ipv6 bool) error {
	if ipv6 && mtu != 0 && mtu < MinMTU6 {
		return fault.BadWord("read MTU", strconv.Itoa(mtu), "IPv6 needs at least %d", MinMTU6)
	}
	return nil
}

var modes = []string{"bridge", "private", "vepa", "passthru", "l2", "l3", "l3s"}

func parseMode(word string) (string, error) {
	if word != "" && !slices.Contains(modes, word) {
		return "", fault.BadWord("read mode", word, "there is no such mode").
			WithHint("macvlan: bridge, private, vepa, passthru; ipvlan: l2, l3, l3s")
	}
	return word, nil
}

// checkFamily holds -a against the addresses, from which the family comes.
func (s *Spec) checkFamily(word string) error {
	var ipv6 bool
	switch word {
	case "":
		return nil
	case "4", "inet":
	case "6", "inet6":
		ipv6 = true
	default:
		return fault.BadWord("read address family", word, "there is no such family").WithHint("-a 4, 6, inet or inet6")
	}
	for _, p := range s.Addrs {
		if p.Addr().Is6() != ipv6 {
			return fault.BadWord("read address", p.String(), "it is not of the family that -a %s asks for", word).
				WithHint("leave -a out: the family comes from the address")
		}
	}
	return nil
}

// MaxAltName is ALTIFNAMSIZ without its terminating zero.
const MaxAltName = 127
