package watch

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/internal/intent"
	"github.com/gopipework/gopipework/internal/notify"
	"github.com/gopipework/gopipework/internal/topology"
)

// Compose is the source that the services of Docker Compose are which gopipework provides.
type Compose struct {
	Grammar topology.Grammar

	asked []attach.Origin // by the last answer
	gone  []attach.Origin // of what is there, and no service asks for any more
	begun bool
}

// String implements Source.
func (*Compose) String() string { return intent.Dir }

// Wanted implements Source. A service that has been dropped asks for nothing, and so has
// what is there for it detached, also if it was dropped while nobody watched.
func (c *Compose) Wanted(ctx context.Context) (all []List, err error) {
	services, err := intent.Read(c.Grammar)
	if services.Files == nil {
		return nil, err
	}
	var asked []attach.Origin // those that cannot be read too: they may ask for what is there
	for _, s := range services.Broken {
		asked = append(asked, s.Origin())
	}
	for s, f := range services.Files {
		l, wrong := listOf(f, s.Origin())
		if asked = append(asked, s.Origin()); wrong != nil {
			err = errors.Join(err, wrong)
			continue
		}
		all = append(all, l)
	}
	slices.SortFunc(all, func(a, b List) int { return strings.Compare(string(a.Origin), string(b.Origin)) })
	slices.Sort(asked)
	if !c.begun || len(c.gone) > 0 || !slices.Equal(asked, c.asked) {
		there, wrong := attach.List(ctx, nil, attach.Options{})
		if wrong != nil {
			return all, errors.Join(err, wrong)
		}
		c.gone = unasked(there.Attachments, asked)
	}
	c.asked, c.begun = asked, true
	for _, o := range c.gone {
		all = append(all, List{Origin: o})
	}
	return all, err
}

// unasked returns the origins that are services of Compose which ask for nothing.
func unasked(there []attach.Attachment, asked []attach.Origin) (gone []attach.Origin) {
	for _, a := range there {
		if a.Origin.IsService() && !slices.Contains(asked, a.Origin) && !slices.Contains(gone, a.Origin) {
			gone = append(gone, a.Origin)
		}
	}
	return gone
}

// Follow implements Source.
func (*Compose) Follow(ctx context.Context, ring func()) error {
	n, err := notify.NewDirectory(intent.Dir)
	if err != nil {
		return err
	}
	ring()
	n.Follow(ctx, ring)
	return nil
}
