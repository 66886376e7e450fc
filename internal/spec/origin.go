package spec

import (
	"strings"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/plainname"
)

// Origin says who asked for an attachment: WORD or WORD:NAME, such as "line", "keep",
// "file:lab" or "compose:shop/net". It is part of the mark on the kernel's object, so that
// what one origin made can be told from what others made. "" is OriginLine.
type Origin string

// The origins without a name.
const (
	OriginLine  Origin = "line"  // a typed line
	OriginKeep  Origin = "keep"  // the kept lines
	OriginLabel Origin = "label" // a label of a container

	OriginAnnotation Origin = "annotation" // an annotation of a container, read as it starts
)

// The longest parts of an origin, in bytes. A mark has 255 for everything.
const (
	maxOriginWord = 16
	MaxOriginName = 63
)

// originCompose is the word of the origins whose name has two parts: a project of Compose,
// and the service of it that asks.
const originCompose = "compose"

// originCNI is the word of the origins that are networks of CNI.
const originCNI = "cni"

// OriginOfNetwork returns the origin of what a caller of CNI asks for in a network.
func OriginOfNetwork(name string) (Origin, error) { return ParseOrigin(originCNI + ":" + name) }

// IsNetwork reports whether it is the origin of a network of CNI.
func (o Origin) IsNetwork() bool { return strings.HasPrefix(string(o), originCNI+":") }

// OriginOfService returns the origin of what a service of a project of Compose asks for.
func OriginOfService(project, service string) (Origin, error) {
	return ParseOrigin(originCompose + ":" + project + "/" + service)
}

// ParseOrigin checks a word for an origin. Any word of lower-case letters will do: a mark
// that a later version has written must not look half made to this one.
func ParseOrigin(word string) (Origin, error) {
	if word == "" {
		return OriginLine, nil
	}
	if why := checkOrigin(word); why != "" {
		return "", fault.BadWord("read origin", word, "%s", why).WithHint("line, keep, label, annotation, file:NAME, cni:NETWORK, or compose:PROJECT/SERVICE")
	}
	return Origin(word), nil
}

// checkOrigin returns the reason why a word cannot be an origin.
func checkOrigin(word string) string {
	kind, name, named := strings.Cut(word, ":")
	first, rest, parts := name, "", kind == originCompose
	if parts {
		first, rest, parts = strings.Cut(name, "/")
	}
	switch {
	case kind == "" || strings.Trim(kind, "abcdefghijklmnopqrstuvwxyz") != "":
		return "it does not begin with a word of lower-case letters"
	case len(kind) > maxOriginWord:
		return "its word is too long"
	case kind == originCompose && !parts:
		return "it does not name a project and a service of it"
	case named && !plainname.Is(first), parts && !plainname.Is(rest):
		return "its name is not made of letters, digits, \"_\", \".\" and \"-\""
	case len(name) > MaxOriginName:
		return "its name is too long"
	}
	return ""
}

// Claims reports whether an attachment of this origin belongs to something that may delete
// it again.
func (o Origin) Claims() bool { return o != "" && o != OriginLine }

// IsService reports whether it is the origin of a service of Compose.
func (o Origin) IsService() bool { return strings.HasPrefix(string(o), originCompose+":") }

// OfContainer reports whether a container itself asks, whose image may have been made by
// anybody.
func (o Origin) OfContainer() bool { return o == OriginLabel || o == OriginAnnotation }

// Takes reports whether this origin may take over an attachment of another one. Root's word
// stands above a container's: the kept lines and the files take over what a person has typed,
// which belongs to nobody, and what a label or an annotation has asked for. Those take over
// nothing, and a typed line leaves an attachment to whoever asked for it.
func (o Origin) Takes(from Origin) bool {
	return o.Claims() && !o.OfContainer() && (!from.Claims() || from.OfContainer())
}
