package dockerutil

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"

	"github.com/gopipework/gopipework/internal/fault"
)

// places is where the runtimes besides Docker are found. Empty means nowhere.
type places struct {
	podmanHost  string   // CONTAINER_HOST: the one podman there is, if set
	podmanOwn   string   // this user's podman's socket; its command stands in
	podmanOther string   // another podman's socket
	containerd  string   // containerd's socket
	lxc         string   // directory of LXC's containers
	incus       []string // sockets of Incus, by precedence
	machines    string   // directory in which machined has a file per machine
	cri         []string // sockets of the CRI, by precedence
	commands    []string // directories of commands, by precedence
}

// findPlaces reads where the runtimes are from the environment that their own
// commands read, and otherwise takes where they are by default.
func findPlaces() places {
	p := places{
		podmanHost: os.Getenv("CONTAINER_HOST"),
		containerd: strings.TrimPrefix(os.Getenv("CONTAINERD_ADDRESS"), "unix://"),
		lxc:        lxcDir(),
		machines:   "/run/systemd/machines",
		commands:   commandDirs(),
	}
	p.podmanOwn, p.podmanOther = podmanSockets()
	if p.containerd == "" {
		p.containerd = "/run/containerd/containerd.sock"
	}
	p.cri = criSockets(p.containerd)
	p.incus = incusSockets()
	return p
}

// absence is a runtime that is not there. That is no obstacle for a bare word.
type absence string

func (a absence) Error() string { return string(a) }

// unknown says that a runtime is certain not to have the container.
func unknown(err error) bool {
	return errors.Is(err, errNoContainer) || errors.Is(err, errNoDocker) || absent(err)
}

func absent(err error) bool {
	var a absence
	return errors.As(err, &a)
}

// other is a runtime that is asked for a bare word when Docker does not know it.
type other struct {
	runtime string
	// here looks whether it is worth asking for that name. It reads directories
	// and no more: a runtime that is not there must cost nothing.
	here func(f *finder, name string) bool
	find func(f *finder, ctx context.Context, r wordRef) (*Guest, error)
}

// others are in the order in which they are named, and win for one namespace.
var others = []other{
	{RuntimePodman, (*finder).podmanHere, (*finder).findPodman},
	{RuntimeCRI, (*finder).criHere, (*finder).findCRI},
	{RuntimeContainerd, (*finder).containerdHere, (*finder).findContainerdBare},
	{RuntimeLXC, (*finder).lxcHere, (*finder).findLXC},
	{RuntimeIncus, (*finder).incusHere, (*finder).findIncus},
	{RuntimeMachine, (*finder).machineHere, (*finder).findMachine},
}

// title is what a message calls a runtime.
func title(runtime string) string {
	switch runtime {
	case RuntimeDocker:
		return "Docker"
	case RuntimeLXC:
		return "LXC"
	case RuntimeIncus:
		return "Incus"
	case RuntimeMachine:
		return "systemd-machined"
	case RuntimeCRI:
		return "the kubelet's runtime"
	}
	return runtime
}

// reply is what one runtime says to a bare word.
type reply struct {
	ref   wordRef // the word, with the runtime said outright
	guest *Guest
	err   error
}

// askOthers asks every other runtime that is here for a bare word, all at once.
// The error wraps errNoContainer when none of those that answered has it. failed
// is one that did not answer, and might have it. asked are those that were asked.
func (f *finder) askOthers(ctx context.Context, r wordRef) (g *Guest, asked []string, failed, err error) {
	var replies []*reply
	var wg sync.WaitGroup
	for _, o := range others {
		if !o.here(f, r.Name) {
			continue
		}
		a := &reply{ref: wordRef{Runtime: o.runtime, Name: r.Name}}
		replies = append(replies, a)
		asked = append(asked, title(o.runtime))
		wg.Go(func() { a.guest, a.err = o.find(f, ctx, a.ref) })
	}
	wg.Wait()
	g, failed, err = r.decide(replies)
	return g, asked, failed, err
}

// decide picks the one reply that counts, and the first failure. It closes the
// guests it does not return.
func (r wordRef) decide(replies []*reply) (g *Guest, failed, err error) {
	var known []*reply
	for _, a := range replies {
		switch code := fault.CodeOf(a.err); {
		case unknown(a.err):
		case a.err == nil && len(known) > 0 && known[0].sameAs(a):
			a.guest.Close() // one guest, known to two runtimes
		case a.err == nil, code == fault.Gone, code == fault.Conflict:
			known = append(known, a)
		case failed == nil:
			failed = a.err
		}
	}
	if len(known) == 1 {
		return known[0].guest, failed, known[0].err
	}
	var words []string
	for _, a := range known {
		words = append(words, a.ref.String())
		if a.guest != nil {
			a.guest.Close()
		}
	}
	if len(known) == 0 {
		return nil, failed, r.fault(fault.NotFound, "%w", errNoContainer)
	}
	return nil, failed, r.fault(fault.Conflict, "it can be %s", strings.Join(words, " or ")).
		WithHint("write %s", strings.Join(words, " or "))
}

// sameAs says whether two runtimes mean one namespace, and so one guest.
func (a *reply) sameAs(b *reply) bool {
	if a.guest == nil || b.guest == nil {
		return false
	}
	x, errX := a.guest.Namespace.Stat()
	y, errY := b.guest.Namespace.Stat()
	return errX == nil && errY == nil && os.SameFile(x, y)
}

// outright adds the way round a runtime that fails for a bare word.
func outright(err error, name string) error {
	var e *fault.Error
	if errors.As(err, &e) && e.Hint != "" {
		e.Hint += "; to ask only one of them, write docker:" + name + " or netns:" + name
	}
	return err
}

// exists says whether there is a file at path.
func exists(path string) bool {
	if path == "" {
		return false
	}
	_, err := os.Stat(path)
	return err == nil
}
