package dockerutil

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"

	"github.com/gopipework/gopipework/internal/fault"
)

// places are where the runtimes other than Docker are found. An empty one means nowhere.
type places struct {
	podmanHost  string   // CONTAINER_HOST: if set, no other podman is asked
	podmanOwn   string   // socket of this user's podman; without it the command is run
	podmanOther string   // socket of another user's podman
	containerd  string   // containerd's socket
	lxc         string   // directory of LXC's containers
	incus       []string // sockets of Incus, in the order they are tried
	machines    string   // directory in which machined has a file for each machine
	cri         []string // sockets of the CRI, in the order they are tried
	commands    []string // directories of commands, in the order they are searched
}

// findPlaces reads the environment variables that the runtimes' own commands use, and takes
// the default places for what they do not set.
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

// absence is the error for a runtime that is not there. A bare word is then looked for
// elsewhere.
type absence string

func (a absence) Error() string { return string(a) }

// unknown reports whether it is certain that the runtime does not have the container.
func unknown(err error) bool {
	return errors.Is(err, errNoContainer) || errors.Is(err, errNoDocker) || absent(err)
}

// absent reports whether the runtime is not there.
func absent(err error) bool {
	var a absence
	return errors.As(err, &a)
}

// other is a runtime that is asked for a bare word that Docker does not know.
type other struct {
	runtime string
	// here reports whether to ask it for that name. It only looks at directories, so
	// that a runtime that is not there costs nothing.
	here func(f *finder, name string) bool
	find func(f *finder, ctx context.Context, r wordRef) (*Guest, error)
}

// others are in the order in which messages name them. If two of them know the same
// namespace, the guest is that of the first.
var others = []other{
	{RuntimePodman, (*finder).podmanHere, (*finder).findPodman},
	{RuntimeCRI, (*finder).criHere, (*finder).findCRI},
	{RuntimeContainerd, (*finder).containerdHere, (*finder).findContainerdBare},
	{RuntimeLXC, (*finder).lxcHere, (*finder).findLXC},
	{RuntimeIncus, (*finder).incusHere, (*finder).findIncus},
	{RuntimeMachine, (*finder).machineHere, (*finder).findMachine},
}

// title returns the name of a runtime in messages.
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

// reply is what one runtime answers about a bare word.
type reply struct {
	ref   wordRef // the word with the runtime's prefix
	guest *Guest
	err   error
}

// askOthers asks every other runtime on this machine for a bare word, all at once. asked
// are the names of these runtimes. failed is the error of one that did not answer, and so
// might have the guest. err wraps errNoContainer if none of the others has it.
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

// decide returns the guest of the only runtime that knows it, and the first failure. It
// closes the guests that it does not return.
func (r wordRef) decide(replies []*reply) (g *Guest, failed, err error) {
	var known []*reply
	for _, a := range replies {
		switch code := fault.CodeOf(a.err); {
		case unknown(a.err):
		case a.err == nil && len(known) > 0 && known[0].sameAs(a):
			a.guest.Close() // two runtimes know the same guest
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

// sameAs reports whether two replies are about the same namespace, and so the same guest.
func (a *reply) sameAs(b *reply) bool {
	return a.guest != nil && b.guest != nil && sameNamespace(a.guest.Namespace, b.guest.Namespace)
}

// outright adds a hint to the error of a runtime that failed for a bare word: how to ask
// another runtime alone.
func outright(err error, name string) error {
	var e *fault.Error
	if errors.As(err, &e) && e.Hint != "" {
		e.Hint += "; to ask only one of them, write docker:" + name + " or netns:" + name
	}
	return err
}

// exists reports whether there is a file at path.
func exists(path string) bool {
	if path == "" {
		return false
	}
	_, err := os.Stat(path)
	return err == nil
}
