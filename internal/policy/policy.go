package policy

import (
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"

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
	Guests    []string       // patterns: of names, after "compose:" of PROJECT/SERVICE, or after "pod:" of NAMESPACE/NAME
	To        []string       // words for host interfaces, as they are on a line
	Addresses []netip.Prefix // in which the addresses are to be
	Words     []string       // what may stand in place of an address: none, dhcp, dhcp6, slaac
	VLANs     []bridge.TagRange
	NoVLAN    bool // with VLANs: a line may also ask for none
	Gateways  bool // it may get a default route
	Options   []string
}

// Guest is who asks.
type Guest struct {
	Name             string // of the container; "": not known
	Project, Service string // of Compose; "": it is not one of its containers
	Namespace, Pod   string // of Kubernetes; "": it is no pod
}

// What begins a pattern, or a word for a guest, that is about Compose, or about pods.
const (
	composeWord = "compose:"
	podWord     = "pod:"
)

// ParseGuest reads a word for a guest, which need not run: a name, with or without what runs
// it, compose:PROJECT/SERVICE, or pod:NAMESPACE/NAME.
func ParseGuest(word string) Guest {
	if names, ok := strings.CutPrefix(word, composeWord); ok {
		project, service, _ := strings.Cut(names, "/")
		return Guest{Project: project, Service: service}
	}
	if names, ok := strings.CutPrefix(word, podWord); ok {
		namespace, pod, _ := strings.Cut(names, "/")
		return Guest{Namespace: namespace, Pod: pod}
	}
	for _, engine := range []string{"docker:", "podman:"} {
		if name, ok := strings.CutPrefix(word, engine); ok {
			return Guest{Name: name}
		}
	}
	return Guest{Name: word}
}

// is reports whether a pattern means the guest. A pod has its own patterns alone: whoever may
// make pods in one namespace may give them any name.
func (g Guest) is(pattern string) bool {
	name := g.Name
	if p, ok := strings.CutPrefix(pattern, composeWord); ok {
		pattern, name = p, both(g.Project, g.Service)
	} else if p, ok := strings.CutPrefix(pattern, podWord); ok {
		pattern, name = p, both(g.Namespace, g.Pod)
	} else if g.Pod != "" {
		return false
	}
	ok, err := path.Match(pattern, name)
	return ok && err == nil
}

// both joins two names; "" if one of them is missing, which no pattern of two names matches.
func both(a, b string) string {
	if a == "" || b == "" {
		return ""
	}
	return a + "/" + b
}

// String returns the guest as a message names it.
func (g Guest) String() string {
	switch {
	case g.Pod != "":
		return podWord + Quote(g.Namespace+"/"+g.Pod)
	case g.Project == "":
		return Quote(g.Name)
	case g.Name == "":
		return composeWord + Quote(g.Project+"/"+g.Service)
	}
	return Quote(g.Name) + " (" + composeWord + Quote(g.Project+"/"+g.Service) + ")"
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
