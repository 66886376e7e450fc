package source

import (
	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/spec"
)

// An addressSource is all that is known of one way to get addresses from elsewhere than
// the line. Each has a file of its own and a place in the registry. What another source
// has given before is found as well: each looks for itself.
type addressSource interface {
	kind() spec.SourceKind
	// Sysctls are those of the interface that it needs, by path.
	Sysctls() []build.Needed
	// Get plans for the addresses, and for what follows from them.
	Get(*build.Job, *build.Draft) error
	// Differ tells how what it gives an interface that is there differs from what is
	// asked for.
	Differ(*build.Job, build.Differ)
	// Repair plans for what has ended that an interface needs which is there.
	Repair(*build.Job, *build.Draft) error
	// keeps says how it keeps the addresses of the interface that is there; "": it
	// does not.
	keeps(build.Inside) string
	// Clear plans for what a killed run has left.
	Clear(*build.Job, *build.Draft)
	// Detach plans for an end of what it does for an attachment.
	Detach(build.Departure, build.Pair, *build.Removal)
}

// AddressSources is the registry.
var AddressSources = []addressSource{hostClient{}, dhcp{}, dhcp6{}, slaac{}}

// SourceFrom returns the source that is asked for; nil: the addresses are on the line.
func SourceFrom(s spec.Source) addressSource {
	for _, source := range AddressSources {
		if source.kind() == s.Kind {
			return source
		}
	}
	return nil
}

// There returns where the addresses of the interface that is there come from.
func There(in build.Inside) spec.Source {
	switch {
	case in.Client != nil:
		return spec.Source{Kind: spec.FromClient, Ask: in.Client.Ask}
	case in.Lease != nil:
		return spec.Source{Kind: sourceOf(in.Lease.Ask)}
	case in.RA:
		return spec.Source{Kind: spec.FromSLAAC}
	}
	return spec.Source{}
}

// Kept says what keeps the addresses of the interface that is there; "": nothing does.
func Kept(in build.Inside) string {
	for _, s := range AddressSources {
		if why := s.keeps(in); why != "" {
			return why
		}
	}
	return ""
}

// passively is for a source that has nothing to mend or to end: the kernel, or another
// source, looks after what it gives.
type passively struct{}

func (passively) Repair(*build.Job, *build.Draft) error              { return nil }
func (passively) Clear(*build.Job, *build.Draft)                     {}
func (passively) Detach(build.Departure, build.Pair, *build.Removal) {}
