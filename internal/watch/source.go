package watch

import (
	"context"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/report"
	"github.com/gopipework/gopipework/internal/topology"
)

// Source is a place where it stands what is wanted, such as a file.
type Source interface {
	// Wanted returns what is asked for now. With an error, something of that cannot be
	// told: an origin that is not in the answer asks for what it asked for before.
	// Without one, such an origin asks for nothing any more, and what is there for it stays.
	// It is called from one goroutine at a time.
	Wanted(ctx context.Context) ([]List, error)

	// Follow calls ring when the answer may have changed, until ctx is done, and once when
	// it begins to listen. ring returns at once, and may be called from any goroutine. An
	// error says why changes cannot be followed; the source is then asked again every few
	// minutes all the same.
	Follow(ctx context.Context, ring func()) error

	// String names the source for people, such as by the path of its file.
	String() string
}

// Hearer is a Source whose answer depends on what becomes of guests, as that of the labels
// of containers does.
type Hearer interface {
	Source

	// Heard reports whether the answer may be another one after an event. It returns at
	// once.
	Heard(guests.Event) bool
}

// List is what one origin asks for. Watch makes it so, and detaches what the origin no
// longer asks for.
type List struct {
	Origin  attach.Origin
	Path    string // of the file in which it stands; "": the source alone has a name
	Entries []topology.Entry
	// Refused are what else is asked for and is not made, each with its line.
	Refused []report.Event
}
