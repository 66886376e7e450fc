// Package labels reads what containers ask for by their labels, or by their annotations:
//
//	gopipework.eth1: brtest 192.168.1.2/24@192.168.1.1
//	org.gopipework.eth1: brtest 192.168.1.2/24@192.168.1.1
//
// The key names the interface, and the value is the line without its guest and without -i.
// Whoever made the image can have written it, so nothing of it is believed: it is bounded
// before it is read, read by the parser of the command line, and carried out only as far as
// the policy allows.
//
//	labels.go  what the labels of containers ask for
//	source.go  the labels as a source of watch
package labels

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/policy"
	"github.com/gopipework/gopipework/internal/report"
	"github.com/gopipework/gopipework/internal/shell"
	"github.com/gopipework/gopipework/internal/spec"
	"github.com/gopipework/gopipework/internal/topology"
	"github.com/gopipework/gopipework/internal/yamlfile"
)

// What the keys begin with that are read: of labels, and of annotations.
const (
	Prefix           = "gopipework."
	AnnotationPrefix = "org." + Prefix
)

// What a container can ask for.
const (
	maxLabels = 32   // interfaces
	maxValue  = 1024 // bytes of a line
)

// Container is a container of an engine, and its labels.
type Container struct {
	Runtime  string // as guests.GuestInfo has it; "": nothing is known but its pod or job, Member
	ID, Name string
	Running  bool
	Created  time.Time
	Member   policy.Member     // of Compose only if it was Compose that said so, and not the image
	Labels   map[string]string // at least those that begin with Prefix

	Annotated bool // Labels are its annotations, and begin with AnnotationPrefix
}

// Origin is the origin of what the container asks for.
func (c Container) Origin() spec.Origin {
	if c.Annotated {
		return spec.OriginAnnotation
	}
	return spec.OriginLabel
}

func (c Container) prefix() string {
	if c.Annotated {
		return AnnotationPrefix
	}
	return Prefix
}

// Info is what is known of the container as a guest.
func (c Container) Info() guests.GuestInfo {
	return guests.GuestInfo{Runtime: c.Runtime, ID: c.ID, Name: c.Name}
}

// word names the container for people.
func (c Container) word() string {
	if c.Runtime == "" {
		return c.guest().String()
	}
	return c.Info().Word()
}

// Asks returns the words for "policy check" about an interface that the container asks for: who
// it is, and the line; "": they are not to be shown to people.
func (c Container) Asks(ifName string) (guest, line string) {
	guest, line = c.guest().Word(), c.Labels[c.prefix()+ifName]
	if len(line) > maxValue || !utf8.ValidString(guest+line) || strings.ContainsFunc(guest+line, isHidden) {
		return "", ""
	}
	return guest, line
}

func (c Container) guest() policy.Guest { return policy.Guest{Name: c.Name, Member: c.Member} }

// Grammar reads the words of a label for a guest and an interface of it. It also returns the
// whole line, as it would be typed.
type Grammar func(guest, ifName string, words []string) (policy.Request, []string, error)

// Line reads the value of a label.
func (g Grammar) Line(guest, ifName, value string) (policy.Request, []string, error) {
	const op = "read line"
	if len(value) > maxValue {
		return policy.Request{}, nil, fault.New(fault.Usage, op, "", "it has %d bytes, and a line has at most %d", len(value), maxValue)
	}
	if strings.ContainsFunc(value, isHidden) {
		return policy.Request{}, nil, fault.New(fault.Usage, op, "", "it has a control character in it, or another one that is not seen")
	}
	words, err := shell.Words(value)
	if err != nil {
		return policy.Request{}, nil, fault.New(fault.Usage, op, "", "%w", err)
	}
	return g(guest, ifName, words)
}

// isHidden reports whether a character could do something else to a terminal, or to the
// order of what stands there, than to be seen.
func isHidden(r rune) bool { return !unicode.IsPrint(r) }

// Wanted returns what the labels of containers ask for, as far as the policy allows it, and
// an event for each label that is refused. Containers that do not run are among them: what
// they ask for, and what is refused to them, stays the same over a restart.
func Wanted(all []Container, p policy.Policy, g Grammar) (entries []topology.Entry, refused []report.Event) {
	all = slices.Clone(all)
	slices.SortFunc(all, func(a, b Container) int { // the first one has the address
		if a.Running != b.Running {
			return map[bool]int{true: -1, false: 1}[a.Running]
		}
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
	})
	taken := map[wire]string{}
	for _, c := range all {
		keys := c.Keys()
		if len(keys) > maxLabels {
			refused = append(refused, c.refusal("", c.word()+" "+c.prefix()+"*", fmt.Errorf("it has %d %ss that begin with %s, and at most %d are read", len(keys), c.Origin(), c.prefix(), maxLabels)))
			continue
		}
		for _, key := range keys {
			e, event := c.entry(key, p, g)
			if event == nil {
				event = c.clash(e, taken)
			}
			if event != nil {
				refused = append(refused, *event)
				continue
			}
			entries = append(entries, e)
		}
	}
	return entries, refused
}

// Keys returns the keys by which the container asks for something, in order.
func (c Container) Keys() (keys []string) {
	for key := range c.Labels {
		if strings.HasPrefix(key, c.prefix()) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// entry reads one label, and asks the policy about it.
func (c Container) entry(key string, p policy.Policy, g Grammar) (topology.Entry, *report.Event) {
	ifName, value := strings.TrimPrefix(key, c.prefix()), c.Labels[key]
	unread := c.word() + " " + policy.Quote(key) + "=" + policy.Quote(value)
	refuse := func(ifName, line string, err error) (topology.Entry, *report.Event) {
		e := c.refusal(ifName, line, err)
		return topology.Entry{}, &e
	}
	if why := checkIfName(ifName); why != "" {
		return refuse("", unread, fault.New(fault.Usage, "read "+string(c.Origin()), policy.Quote(key), "%s is no name for an interface: %s", policy.Quote(ifName), why))
	}
	r, words, err := g.Line(c.word(), ifName, value)
	if err != nil {
		return refuse(ifName, unread, err)
	}
	e := topology.Entry{Pos: yamlfile.Pos{File: string(c.Origin()) + " " + key + " of " + c.word()}, Words: words, Attach: &r.Spec}
	if d := p.Decide(c.guest(), r); !d.Allowed {
		return refuse(ifName, shell.Line(words), fmt.Errorf("%s", d.Reason))
	}
	e.Attach.Guest = c.Runtime + ":" + c.ID // another container can have the name in a moment
	return e, nil
}

func checkIfName(name string) string {
	if name == "lo" {
		return "it is the loopback interface"
	}
	return spec.CheckName(name)
}

// wire is what an address has to be alone on.
type wire struct {
	hostIF, vlan string
	addr         netip.Addr
}

// clash refuses an address that another container has on the same wire: the older one, of
// those that run.
func (c Container) clash(e topology.Entry, taken map[wire]string) *report.Event {
	s := e.Attach
	if s.HostIF.Alone() {
		return nil
	}
	for _, a := range s.Addrs {
		if by, is := taken[wire{s.HostIF.Name, s.VLAN, a.Addr()}]; is {
			r := c.refusal(s.IfName, shell.Line(e.Words), fmt.Errorf("%s has %s on %s already", by, a.Addr(), s.HostIF.Name))
			return &r
		}
	}
	for _, a := range s.Addrs {
		taken[wire{s.HostIF.Name, s.VLAN, a.Addr()}] = c.word()
	}
	return nil
}

// longest bounds the reason of a refusal, in bytes: an error can repeat a word of the line.
const longest = 300

func (c Container) refusal(ifName, line string, err error) report.Event {
	reason := err.Error()
	if len(reason) > longest {
		reason = strings.ToValidUTF8(reason[:longest], "") + "..."
	}
	hint := fault.HintOf(err)
	if len(hint) > longest {
		hint = ""
	}
	return report.Event{Kind: report.Refused, Guest: c.word(), IfName: ifName, Origin: string(c.Origin()), Line: line, Reason: reason, Hint: hint}
}
