package dockerutil

import (
	"context"
	"strings"
	"sync"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/moby/moby/client"
)

// Found is what FindAll came to for one word: a Guest to close, or an error of Find.
type Found struct {
	Guest *Guest
	Err   error
}

// FindAll finds the guests of several words, as Find does for each. It asks Docker once
// for all containers, and about one alone only if a word can mean it. Close every guest
// when done.
//
// A part of an ID stands for it only from 12 bytes on: a word of a file that names nobody
// now is the name of a container to come.
func FindAll(ctx context.Context, words []string) map[string]Found {
	f := newFinder()
	f.prefix = printedPrefix
	return f.findAll(ctx, words)
}

func (f *finder) findAll(ctx context.Context, words []string) map[string]Found {
	f.containers = sync.OnceValue(func() *census { return f.count(ctx) })
	all := make(map[string]Found, len(words))
	var mu sync.Mutex
	var finding sync.WaitGroup
	slots := make(chan struct{}, 8)
	for _, word := range words {
		finding.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			var one Found
			if r, err := parseWord(word); err != nil {
				one.Err = err
			} else {
				one.Guest, one.Err = f.find(ctx, r)
			}
			mu.Lock()
			defer mu.Unlock()
			all[word] = one
		})
	}
	finding.Wait()
	return all
}

// census is the names and IDs of all of Docker's containers.
type census struct {
	names     map[string]bool
	ids       []string
	services  map[wordRef][]replica // those of services of Compose, by the word without a number
	forgeries forgeries             // whether an image carries Compose's labels, by its ID
	hangs     bool                  // Docker did not answer in time
}

// count asks Docker for them. It returns nil if there is no answer that can be relied on:
// each container is then asked for by itself, and the error is what comes of that.
func (f *finder) count(ctx context.Context) *census {
	ctx, cancel := f.bounded(ctx)
	defer cancel()
	d, err := openDaemon(ctx, wordRef{})
	if err != nil {
		return nil
	}
	defer d.close()
	answer, err := d.client.ContainerList(ctx, client.ContainerListOptions{All: true})
	switch {
	case ctx.Err() != nil:
		return &census{hangs: true}
	case err != nil:
		return nil
	}
	c := &census{names: map[string]bool{}, services: map[wordRef][]replica{}}
	for _, one := range answer.Items {
		c.ids = append(c.ids, one.ID)
		if s, ok := replicaOf(one); ok {
			c.services[s.ref.service()] = append(c.services[s.ref.service()], s)
		}
		for _, n := range one.Names {
			c.names[strings.TrimPrefix(n, "/")] = true
		}
	}
	return c
}

// lacks reports whether no container has that name, or an ID that starts with at least prefix bytes of it.
func (c *census) lacks(name string, prefix int) bool {
	if c == nil || c.hangs || c.names[name] {
		return false
	}
	if len(name) < prefix {
		return true
	}
	for _, id := range c.ids {
		if strings.HasPrefix(id, name) {
			return false
		}
	}
	return true
}

// noContainer is the error for a word that no container has.
func (r wordRef) noContainer() *fault.Error {
	return r.hintPID(r.fault(fault.NotFound, "%w", errNoContainer))
}
