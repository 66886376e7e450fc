package spec

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/gopipework/gopipework/internal/fault"
)

// VXLAN is the uplink by which a bridge reaches the same bridge of other hosts; the zero
// VXLAN is none.
type VXLAN struct {
	VNI   int          // the number of the network, 1 to 16777215
	Local netip.Addr   // this host's address, which the others send to
	Port  int          // UDP
	Peers []netip.Addr // hosts that every frame for an unknown station is sent to; none: a routing daemon enters them
}

// VXLANPort is the UDP port that IANA has assigned.
const VXLANPort = 4789

const (
	vxlanWord = "vxlan:"
	maxVNI    = 1<<24 - 1
)

// IsVXLAN reports whether the word for an uplink asks for a VXLAN.
func IsVXLAN(word string) bool { return strings.HasPrefix(word, vxlanWord) }

// Asked reports whether there is one.
func (v VXLAN) Asked() bool { return v.VNI != 0 }

// String returns the word that parses to it; "" for none.
func (v VXLAN) String() string {
	if !v.Asked() {
		return ""
	}
	word := vxlanWord + strconv.Itoa(v.VNI) + ",local=" + v.Local.String()
	if v.Port != VXLANPort {
		word += ",port=" + strconv.Itoa(v.Port)
	}
	for _, p := range v.Peers {
		word += ",peer=" + p.String()
	}
	return word
}

// Device is the VXLAN without its peers, which can come and go.
func (v VXLAN) Device() string {
	v.Peers = nil
	return v.String()
}

// Overhead is what each frame grows by on its way to another host, in bytes: the headers of
// Ethernet, VXLAN, UDP and IP.
func (v VXLAN) Overhead() int {
	if v.Local.Is6() {
		return 70
	}
	return 50
}

// ParseVXLAN reads the word for a VXLAN uplink: vxlan:VNI,local=A[,port=N][,peer=B]...
func ParseVXLAN(word string) (v VXLAN, err error) {
	const op = "read uplink"
	hint := func(e *fault.Error) error {
		return e.WithHint("vxlan:100,local=10.9.0.1, and with peers vxlan:100,local=10.9.0.1,peer=10.9.0.2")
	}
	if ends, has := withoutVNI(word); has {
		return v, fault.BadWord(op, word, "the VNI is missing").WithHint("%s100,%s", vxlanWord, ends)
	}
	rest, is := strings.CutPrefix(word, vxlanWord)
	if !is {
		return v, fault.BadWord(op, word, "an uplink begins with %s", vxlanWord).
			WithHint("vxlan:100,local=10.9.0.1; a card is an uplink in a topology file: bridges: brtest: {uplink: %s}", word)
	}
	number, rest, _ := strings.Cut(rest, ",")
	if v.VNI, err = strconv.Atoi(number); err != nil || v.VNI < 1 || v.VNI > maxVNI {
		return v, hint(fault.BadWord(op, word, "the VNI is a number from 1 to %d", maxVNI))
	}
	v.Port = VXLANPort
	given := map[string]bool{}
	for part := range strings.SplitSeq(rest, ",") {
		key, value, _ := strings.Cut(part, "=")
		switch {
		case part == "":
		case given[key] && key != "peer":
			return v, hint(fault.BadWord(op, word, "%s= is given twice", key))
		case key == "local":
			v.Local, err = parseEnd(value)
		case key == "peer":
			var p netip.Addr
			p, err = parseEnd(value)
			v.Peers = append(v.Peers, p)
		case key == "port":
			if v.Port, err = strconv.Atoi(value); err != nil || v.Port < 1 || v.Port > 65535 {
				return v, hint(fault.BadWord(op, word, "a UDP port is a number from 1 to 65535"))
			}
		default:
			return v, hint(fault.BadWord(op, word, "%q is none of local=, port= and peer=", part))
		}
		if err != nil {
			return v, hint(fault.BadWord(op, word, "%q is not the IP address of one host", part))
		}
		given[key] = true
	}
	if why := v.check(); why != "" {
		return v, hint(fault.BadWord(op, word, "%s", why))
	}
	slices.SortFunc(v.Peers, netip.Addr.Compare)
	return v, nil
}

// withoutVNI returns what follows the number in the word for a VXLAN that has none.
func withoutVNI(word string) (rest string, is bool) {
	rest, is = strings.CutPrefix(word, "vxlan,")
	if !is {
		rest, is = strings.CutPrefix(word, vxlanWord)
		is = is && strings.HasPrefix(rest, "local=")
	}
	return rest, is
}

// parseEnd reads the address of a host.
func parseEnd(word string) (netip.Addr, error) {
	a, err := netip.ParseAddr(word)
	if err == nil && (a.Zone() != "" || a.IsUnspecified() || a.IsLoopback() || a.IsMulticast() || a.Is4In6() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255})) {
		err = strconv.ErrSyntax
	}
	return a, err
}

// check says what is wrong with the addresses; "": nothing.
func (v VXLAN) check() string {
	if !v.Local.IsValid() {
		return "it needs local=, the address of this host that the others send to: nobody can reach a VNI without one"
	}
	for i, p := range v.Peers {
		switch {
		case p.Is6() != v.Local.Is6():
			return "local= and peer= have to be of one family, IPv4 or IPv6"
		case p == v.Local:
			return "peer=" + p.String() + " is this host itself"
		case slices.Contains(v.Peers[:i], p):
			return "peer=" + p.String() + " is given twice"
		}
	}
	return ""
}

// parseUplink reads the word after --uplink.
func (s *Spec) parseUplink(word string) error {
	if word == "" {
		return nil
	}
	v, err := ParseVXLAN(word)
	if s.Uplink = v.String(); err == nil && s.VLAN != "" {
		err = fault.BadWord("read flag", "--uplink", "a VXLAN carries the untagged frames of one bridge, and the line asks for the VLAN %s", s.VLAN).
			WithHint("use a bridge of its own, with a VNI of its own, for each VLAN")
	}
	return err
}

// Uplink is the name of a difference in the uplink.
const Uplink = "uplink"
