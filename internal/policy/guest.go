package policy

import (
	"path"
	"strings"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guests"
)

// Guest is who asks.
type Guest struct {
	Name   string // of the container; "": not known
	Member Member
}

// Member is what a guest is to those that group guests. The zero Member: it is in no group.
type Member struct {
	Of    Groups
	Group string // the project or namespace
	Name  string // of the service, pod or job
}

// Groups begins a pattern, or a word for a guest, that is about such groups.
type Groups string

// The groups that a pattern can name.
const (
	Compose    Groups = "compose:" // projects of Docker Compose, and their services
	Kubernetes Groups = "pod:"     // namespaces of Kubernetes, and their pods
	Nomad      Groups = "nomad:"   // namespaces of Nomad, and their jobs
)

// members say what follows each of them.
var members = []struct {
	groups Groups
	follow string
}{
	{Compose, "PROJECT/SERVICE"},
	{Kubernetes, "NAMESPACE/NAME"},
	{Nomad, "NAMESPACE/JOB"},
}

// cutGroups cuts the word off that a pattern or a word for a guest begins with, and tells what
// has to follow. "": it begins with none.
func cutGroups(word string) (of Groups, rest, follow string) {
	for _, w := range members {
		if rest, is := strings.CutPrefix(word, string(w.groups)); is {
			return w.groups, rest, w.follow
		}
	}
	return "", word, ""
}

// ParseGuest reads a word for a guest, which need not run: a name, with or without what runs
// it, or a member of a group.
func ParseGuest(word string) Guest {
	if of, rest, _ := cutGroups(word); of != "" {
		group, name, _ := strings.Cut(rest, "/")
		return Guest{Member: Member{of, group, name}}
	}
	for _, engine := range []string{guests.RuntimeDocker, guests.RuntimePodman, guests.RuntimeContainerd} {
		if name, ok := strings.CutPrefix(word, engine+":"); ok {
			return Guest{Name: name}
		}
	}
	return Guest{Name: word}
}

// Word is a word that ParseGuest reads as g or, as patterns for a group say more, as its member.
func (g Guest) Word() string {
	if g.Member == (Member{}) {
		return g.Name
	}
	return string(g.Member.Of) + g.Member.path()
}

// is reports whether a pattern means the guest. A pod and a job have their own patterns alone:
// whoever may make them in one namespace may give them any name.
func (g Guest) is(pattern string) bool {
	of, rest, _ := cutGroups(pattern)
	if of == "" {
		return (g.Member.Of == "" || g.Member.Of == Compose) && matches(pattern, g.Name)
	}
	m := g.Member
	return m.Of == of && m.Group != "" && m.Name != "" && matches(rest, m.path())
}

func matches(pattern, name string) bool {
	ok, err := path.Match(pattern, name)
	return ok && err == nil
}

func (m Member) path() string { return m.Group + "/" + m.Name }

// String returns the guest as a message names it.
func (g Guest) String() string {
	if g.Member == (Member{}) {
		return Quote(g.Name)
	}
	member := string(g.Member.Of) + Quote(g.Member.path())
	if g.Name == "" {
		return member
	}
	return Quote(g.Name) + " (" + member + ")"
}

// checkPattern refuses what could match no guest, or others than it seems to.
func checkPattern(pattern string) error {
	bad := func(format string, args ...any) error {
		return fault.New(fault.Invalid, "read pattern", Quote(pattern), format, args...).
			WithHint(`"web-*" for names of containers, "compose:shop/*" for a project and a service of Compose, "pod:shop/*" for a namespace and a pod, "nomad:shop/*" for a namespace and a job`)
	}
	of, names, follow := cutGroups(pattern)
	group, name, slash := strings.Cut(names, "/")
	_, err := path.Match(pattern, "")
	switch {
	case of != "" && (!slash || group == "" || name == "" || strings.Contains(name, "/") || strings.Contains(names, ":")):
		return bad("it is not %s%s", of, follow)
	case of == "" && strings.ContainsAny(names, ":/"):
		return bad("a name has neither a colon nor a slash")
	case strings.Trim(names, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-/*?[]^") != "":
		return bad("a pattern is made of what a name is made of, and of *, ? and [a-z]")
	case err != nil:
		return bad("a bracket is not closed, or there is nothing in it")
	}
	return nil
}
