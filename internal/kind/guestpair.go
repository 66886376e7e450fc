package kind

import (
	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/spec"
)

// guestPairKind is one end of a link between two guests: the host has nothing to do
// with it.
type guestPairKind struct{ plain }

var GuestPair = guestPairKind{plain{build.Traits{Word: spec.KindVeth}}}

func (guestPairKind) settle(*build.Job, *build.Draft) error { return nil }

func (guestPairKind) Join(*build.Job, *build.Draft) {}

func (guestPairKind) Differ(*build.Job, build.Differ) {}
