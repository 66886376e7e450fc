package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"github.com/gopipework/gopipework/bridge"
	"github.com/gopipework/gopipework/internal/spec"
	"github.com/gopipework/gopipework/internal/yamlfile"
)

// Path is where the policy is, unless it is said otherwise.
const Path = "/etc/gopipework/policy.yaml"

// Policy is what a file allows. The zero Policy allows nothing.
type Policy struct {
	Path    string
	Missing bool // there is no such file
	Entries []Entry
}

// Entry is what some guests may ask for.
type Entry struct {
	Pos       yamlfile.Pos
	Guests    []string       // patterns: of names, or after a word of groups of GROUP/NAME
	To        []string       // words for host interfaces, as they are on a line
	Addresses []netip.Prefix // in which the addresses are to be
	Words     []string       // what may stand in place of an address: none, dhcp, dhcp6, slaac
	VLANs     []bridge.TagRange
	NoVLAN    bool // with VLANs: a line may also ask for none
	Gateways  bool // it may get a default route
	Options   []string
}

// Request is what is asked for.
type Request struct {
	Spec  spec.Spec
	Flags []string // the flags on the line, by their names without dashes
}

// Decision is what a policy says to a request.
type Decision struct {
	Allowed bool
	Place   yamlfile.Pos // of the entry that decides; the zero Pos: there is none for the guest
	Reason  string       // of a refusal
}

// Decide decides by the first entry for the guest.
func (p Policy) Decide(g Guest, r Request) Decision {
	for _, f := range r.Flags { // whatever the entries say
		if never()[f] == asKey {
			return Decision{Reason: dashed(f) + " cannot be allowed: " + asKey}
		}
	}
	for _, e := range p.Entries {
		if !slices.ContainsFunc(e.Guests, g.is) {
			continue
		}
		d := Decision{Place: e.Pos}
		if why := e.outside(r); why != "" {
			d.Reason = fmt.Sprintf("%s does not allow it: %s", e.Pos, why)
			return d
		}
		d.Allowed = true
		return d
	}
	if p.Missing {
		return Decision{Reason: fmt.Sprintf("there is no %s, so nothing is allowed", p.Path)}
	}
	return Decision{Reason: fmt.Sprintf("%s has no entry for %s", p.Path, g)}
}

// longest is how much of a text that somebody else has chosen is repeated, in bytes.
const longest = 64

// Quote returns a text that somebody else has chosen as a message repeats it: cut short, and
// between quotes, so that nothing in it can forge a line or control a terminal.
func Quote(s string) string {
	if len(s) <= longest {
		return strconv.Quote(s)
	}
	return strconv.Quote(s[:longest]) + "..."
}
