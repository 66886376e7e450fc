package labels

import (
	"context"
	"strings"
	"time"

	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/policy"
	"github.com/gopipework/gopipework/internal/spec"
	"github.com/gopipework/gopipework/internal/watch"
)

// Source is the labels of containers as a source of watch. Refused labels go along with
// what is wanted, so that watch reports them.
type Source struct {
	Policy  string // the file
	Grammar Grammar
	// Containers lists the containers of the engines, those that do not run too. An error:
	// an engine cannot tell.
	Containers func(context.Context) ([]Container, error)
}

var _ watch.Hearer = Source{}

// String implements watch.Source.
func (s Source) String() string { return "labels" }

// Wanted implements watch.Source. A policy that makes no sense changes nothing.
func (s Source) Wanted(ctx context.Context) ([]watch.List, error) {
	p, err := policy.Read(s.Policy)
	if err == nil && p.Missing { // an editor may be replacing it
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(300 * time.Millisecond):
		}
		p, err = policy.Read(s.Policy)
	}
	if err != nil {
		return nil, err
	}
	all, err := s.Containers(ctx)
	if err != nil {
		return nil, err
	}
	entries, refused := Wanted(all, p, s.Grammar)
	return []watch.List{{Origin: spec.OriginLabel, Entries: entries, Refused: refused}}, nil
}

// Follow implements watch.Source: the policy can change.
func (s Source) Follow(ctx context.Context, ring func()) error {
	return watch.FollowFile(ctx, s.Policy, ring)
}

// Heard implements watch.Hearer. Docker tells a container's labels with each event.
func (s Source) Heard(e guests.Event) bool {
	switch e.What {
	case guests.Followed:
		return true
	case guests.Started, guests.Ended, guests.Renamed, guests.Removed:
	default:
		return false
	}
	for key := range e.Labels {
		if strings.HasPrefix(key, Prefix) {
			return true
		}
	}
	return e.Runtime == guests.RuntimePodman // which may leave them out
}
