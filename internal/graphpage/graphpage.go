// Package graphpage shows in a browser what is connected to what on a host, and how that
// changes: a page that needs nothing from elsewhere, and a stream of events that it
// follows.
//
// How the host is read comes in as functions. Nothing is read while nobody looks.
package graphpage

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/graph"
)

// Page is a page about one host.
type Page struct {
	Host    string // its name
	Version string // of gopipework

	// Look returns what is connected to what.
	Look func(context.Context) (Seen, error)

	// Traffic returns counters by the IDs of nodes of what was seen last. They are of the
	// node itself, so what a port has sent is what its guest has received.
	Traffic func(context.Context, graph.Graph) (map[string]graph.Counters, error)

	// Follow are where changes are told. Each returns at once, and calls told until its
	// context is done.
	Follow []func(ctx context.Context, told func()) error
}

// Seen is what a look has found.
type Seen struct {
	graph.Graph

	// Findings are what is wrong, a sentence each, by the IDs of nodes.
	Findings map[string][]string `json:"findings"`
}

// Serve serves the page to whoever connects to l, until ctx is done, and closes l.
func (p Page) Serve(ctx context.Context, l net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	s := newStream(p)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	for _, follow := range p.Follow {
		if err := follow(ctx, s.change); err != nil {
			l.Close()
			return err
		}
	}
	running.Go(func() { s.run(ctx) })
	const patience = 10 * time.Second
	server := http.Server{
		Handler:           p.handler(s),
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ReadHeaderTimeout: patience, WriteTimeout: patience, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 1 << 14,
	}
	end := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer end()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fault.Explain("serve", l.Addr().String(), err)
	}
	return nil
}
