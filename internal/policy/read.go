package policy

import (
	"cmp"
	"errors"
	"io/fs"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/gopipework/gopipework/bridge"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/kind"
	"github.com/gopipework/gopipework/internal/plainfile"
	"github.com/gopipework/gopipework/internal/spec"
	"github.com/gopipework/gopipework/internal/typo"
	"github.com/gopipework/gopipework/internal/yamlfile"
)

// MaxFile bounds a file, in bytes.
const MaxFile = 1 << 20

// Read reads the policy in a file. If there is no such file, nothing is allowed.
func Read(name string) (Policy, error) {
	text, err := readTrusted(name)
	switch {
	case err == nil:
		return Parse(name, text)
	case errors.Is(err, fs.ErrNotExist):
		return Policy{Path: name, Missing: true}, nil
	case errors.Is(err, plainfile.ErrTooLarge):
		err = plainfile.ErrTooLarge
	}
	if inner := errors.Unwrap(err); inner != nil {
		err = inner // the path is in the message already
	}
	return Policy{}, fault.New(fault.Invalid, "read", name, "%w", err)
}

// Parse reads what a file holds; name is for the places of errors.
func Parse(name string, text []byte) (Policy, error) {
	r := reader{Reader: yamlfile.Reader{Path: name}}
	p := Policy{Path: name}
	if root := r.Syntax(text); root != nil && !yamlfile.IsNull(root) {
		for _, pair := range r.Pairs(root, "a policy", []string{keyAllow}) {
			r.List(pair, func(n *yamlfile.Node) { p.Entries = append(p.Entries, r.entry(n)) })
		}
	}
	return p, yamlfile.Invalid(name, r.Found)
}

type reader struct{ yamlfile.Reader }

// The keys of a file, and those of an entry.
const (
	keyAllow     = "allow"
	keyGuests    = "guests"
	keyTo        = "to"
	keyAddresses = "addresses"
	keyVLANs     = "vlans"
	keyGateways  = "gateways"
	keyOptions   = "options"
)

var (
	entryKeys = []string{keyGuests, keyTo, keyAddresses, keyVLANs, keyGateways, keyOptions}
	needed    = []string{keyGuests, keyTo, keyAddresses}
)

// wordNone stands for no address, or no VLAN.
const wordNone = "none"

// addressWords may stand in place of an address.
var addressWords = []string{wordNone, string(spec.FromDHCP), string(spec.FromDHCP6), string(spec.FromSLAAC)}

func (r *reader) entry(n *yamlfile.Node) Entry {
	e := Entry{Pos: r.At(n)}
	before := len(r.Found)
	has := map[string]bool{}
	for _, p := range r.Pairs(n, "an entry", entryKeys) {
		key := p.Key.Value
		has[key] = true
		if key == keyGateways {
			e.Gateways = r.Flag(key, p.Value)
			continue
		}
		for _, n := range r.Words(key, p.Value) {
			if err := e.add(key, n.Value); err != nil {
				r.Wrong(r.At(n), err)
			}
		}
	}
	for _, key := range needed {
		if !has[key] && len(r.Found) == before {
			r.Wrong(e.Pos, fault.New(fault.Invalid, "read", "an entry", "it has no key %q, so it would allow nothing", key))
		}
	}
	e.VLANs = joined(e.VLANs)
	return e
}

// add adds a word to the list that a key has.
func (e *Entry) add(key, word string) error {
	switch key {
	case keyGuests:
		e.Guests = append(e.Guests, word)
		return checkPattern(word)
	case keyTo:
		h, err := parseTo(word)
		e.To = append(e.To, h.String())
		return err
	case keyAddresses:
		return e.addAddress(word)
	case keyVLANs:
		return e.addVLAN(word)
	default:
		e.Options = append(e.Options, word)
		return checkOption(word)
	}
}

// refusedKinds are what no entry can grant, and why.
var refusedKinds = sync.OnceValue(func() map[spec.Kind]string {
	return map[spec.Kind]string{
		spec.KindPhys: "it takes a card from the host",
		spec.KindHost: "it makes an interface of the host",
	}
})

// parseTo reads a word for a host interface. There are no patterns: a name that somebody
// else chooses, such as that of a container's port, could match one.
func parseTo(word string) (spec.HostIF, error) {
	h, err := spec.ParseHostIF(word, false, kind.Words())
	if strings.ContainsAny(word, "*?[") {
		return h, fault.New(fault.Invalid, "read host interface", strconv.Quote(word), "there are no patterns of host interfaces").
			WithHint("name each: [brlan, macvlan:eth0]")
	}
	if err != nil {
		return h, err
	}
	if why, refused := refusedKinds()[h.Kind]; refused {
		return h, fault.New(fault.Invalid, "read host interface", strconv.Quote(word), "%s, which a policy cannot allow", why)
	}
	if strings.HasPrefix(h.Name, spec.MACWord) {
		return h, fault.New(fault.Invalid, "read host interface", strconv.Quote(word), "which interface has the address can change").WithHint("name the interface")
	}
	return h, nil
}

func (e *Entry) addAddress(word string) error {
	const op = "read address"
	if slices.Contains(addressWords, word) {
		e.Words = append(e.Words, word)
		return nil
	}
	p, err := netip.ParsePrefix(word)
	switch {
	case word == "0/0":
		return fault.New(fault.Invalid, op, word, "it could be every address, or none").WithHint("none for an interface without an address, 0.0.0.0/0 for any IPv4 address")
	case err != nil:
		bad := fault.New(fault.Invalid, op, strconv.Quote(word), "it is not a network such as 192.168.1.0/24, and none of %s", strings.Join(addressWords, ", "))
		if a, err := netip.ParseAddr(word); err == nil {
			return bad.WithHint("%s/%d", a, a.BitLen())
		}
		if best := typo.Nearest(word, addressWords); best != "" {
			return bad.WithHint("%s", best)
		}
		return bad
	case p.Addr().Is4In6():
		return fault.New(fault.Invalid, op, strconv.Quote(word), "it is an IPv4 address written as IPv6")
	case p != p.Masked():
		return fault.New(fault.Invalid, op, strconv.Quote(word), "its address has bits beyond its prefix length").WithHint("%s, or %s/%d", p.Masked(), p.Addr(), p.Addr().BitLen())
	}
	e.Addresses = append(e.Addresses, p)
	return nil
}

func (e *Entry) addVLAN(word string) error {
	if word == wordNone {
		e.NoVLAN = true
		return nil
	}
	v, err := bridge.ParseVLAN(word)
	if err != nil || strings.ContainsAny(word, "t,") {
		return fault.New(fault.Invalid, "read VLAN", strconv.Quote(word), "it is not a number from 1 to 4094, or a range of them").WithHint("vlans: [10, 20-30]; with none, a line may also ask for no VLAN")
	}
	if v.PVID != 0 {
		v.Tagged = []bridge.TagRange{{First: v.PVID, Last: v.PVID}}
	}
	e.VLANs = append(e.VLANs, v.Tagged...)
	return nil
}

// joined makes one range of those that touch or overlap.
func joined(ranges []bridge.TagRange) (out []bridge.TagRange) {
	slices.SortFunc(ranges, func(a, b bridge.TagRange) int { return cmp.Compare(a.First, b.First) })
	for _, r := range ranges {
		if last := len(out) - 1; last >= 0 && r.First <= out[last].Last+1 {
			out[last].Last = max(out[last].Last, r.Last)
			continue
		}
		out = append(out, r)
	}
	return out
}

func checkOption(name string) error {
	bad := func(format string, args ...any) *fault.Error {
		return fault.New(fault.Invalid, "read option", strconv.Quote(name), format, args...)
	}
	bare := strings.TrimLeft(name, "-")
	switch why, refused := never()[bare]; {
	case refused:
		return bad("a policy cannot allow it: %s", why)
	case slices.Contains(free, name):
		return bad("it needs no entry").WithHint("leave it out")
	case slices.Contains(grantable, name):
		return nil
	}
	if best := typo.Nearest(bare, grantable); best != "" {
		return bad("there is no such option").WithHint("%s", best)
	}
	return bad("there is no such option").WithHint("the options are %s", strings.Join(grantable, ", "))
}
