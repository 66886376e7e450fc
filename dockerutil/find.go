package dockerutil

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/nsfs"
	"golang.org/x/sys/unix"
)

// CheckWord returns the error of Find for a word that can name no guest. It looks at nothing
// but the word.
func CheckWord(word string) error {
	_, err := parseWord(word)
	return err
}

// Find looks up the guest that a word of the command line names, and opens its
// namespace. It changes nothing.
//
// The error is an *attach.Error with one of these codes:
//
//	NotFound     there is no such guest
//	Gone         it is not running
//	Conflict     the ID is ambiguous, two runtimes other than Docker know the bare word,
//	             or the guest has the host's own namespace
//	Timeout      a runtime did not answer in time
//	Runtime      a runtime is not there, or its answer makes no sense
//	Permission   root is needed
//	Unsupported  the kernel is older than 5.3
//
// If one of the other runtimes fails, a guest that another one knows is found all the
// same, with a warning in its Doubts.
func Find(ctx context.Context, word string) (*Guest, error) {
	r, err := parseWord(word)
	if err != nil {
		return nil, err
	}
	return newFinder().find(ctx, r)
}

// A word shorter than this is a name, never a part of an ID, in bytes: one ID in 256 starts
// with db, which is the name of many containers that do not run just now. Where nobody sees
// which container was found, it takes as much of the ID as docker ps prints.
const (
	typedPrefix   = 4
	printedPrefix = 12
)

func newFinder() *finder {
	return &finder{
		bound:    5 * time.Second,
		patience: 3 * time.Second,
		pause:    250 * time.Millisecond,
		settle:   300 * time.Millisecond,
		prefix:   typedPrefix,
		proc:     "/proc",
		// On every current system the second is a symbolic link to the first.
		named:  []string{"/run/netns", "/var/run/netns"},
		places: findPlaces(),
	}
}

// finder holds what Find depends on: time limits and places, which tests change.
type finder struct {
	bound    time.Duration // for all questions to one runtime together
	patience time.Duration // how long a container may take to start
	pause    time.Duration // between two questions about a container that is starting
	settle   time.Duration // how long a runtime may take to notice that a process ended
	prefix   int           // how much of an ID stands for a container, in bytes
	proc     string        // where procfs is mounted
	named    []string      // directories of named namespaces, the first one first
	places

	containers func() *census // of all containers of Docker; nil: each is asked for by itself
}

func (f *finder) find(ctx context.Context, r wordRef) (*Guest, error) {
	switch r.Runtime {
	case "":
		return f.findBare(ctx, r)
	case RuntimeDocker:
		return f.findContainer(ctx, r)
	case RuntimePodman:
		return f.findPodman(ctx, r)
	case RuntimeContainerd:
		return f.findContainerd(ctx, r)
	case RuntimeLXC:
		return f.findLXC(ctx, r)
	case RuntimeMachine:
		return f.findMachine(ctx, r)
	case RuntimeCRI:
		return f.findCRI(ctx, r)
	case RuntimeIncus:
		return f.findIncus(ctx, r)
	case RuntimeCompose:
		return f.findCompose(ctx, r)
	case RuntimePID:
		return f.findProcess(r)
	case RuntimeNetNS:
		return f.findNamed(r)
	case RuntimePath:
		return f.findPath(r)
	}
	return nil, r.fault(fault.Usage, "%q is no runtime", r.Runtime)
}

// findBare asks Docker first. It tries the other runtimes and then the named namespaces
// only when it is certain that Docker has no such container. A Docker that does not
// answer might have it.
func (f *finder) findBare(ctx context.Context, r wordRef) (*Guest, error) {
	g, dockerErr := f.findContainer(ctx, r)
	if dockerErr == nil || !unknown(dockerErr) {
		return g, dockerErr
	}
	g, asked, failed, err := f.askOthers(ctx, r)
	if err != nil && unknown(err) && ctx.Err() == nil {
		g, err = f.findNamed(r)
	}
	switch {
	case err == nil && failed != nil:
		g.Doubts = append(g.Doubts, fmt.Sprintf("%s was found for %q, but not every engine could be asked: %v", g.Word(), r.Name, failed))
		return g, nil
	case failed != nil && (unknown(err) || errors.Is(err, errNoName)):
		return nil, outright(failed, r.Name)
	case !errors.Is(err, errNoName):
		return g, err
	}
	among := ""
	if len(asked) > 0 {
		among = " of " + strings.Join(asked, ", ")
	}
	if errors.Is(dockerErr, errNoContainer) {
		if among != "" {
			among = " of Docker, " + strings.TrimPrefix(among, " of ")
		}
		return nil, r.hintPID(r.fault(fault.NotFound, "%w%s, and %w in %s", errNoContainer, among, errNoName, f.named[0]))
	}
	if among != "" {
		among = ", " + errNoContainer.Error() + among
	}
	return nil, r.fault(fault.NotFound, "%w in %s%s, and %w", errNoName, f.named[0], among, guests.Unasked{Runtime: RuntimeDocker, Err: errors.Unwrap(dockerErr)}).
		WithHint("start Docker, or set DOCKER_HOST to where it listens; ip netns list shows the namespaces")
}

func (f *finder) findProcess(r wordRef) (*Guest, error) {
	p, err := openProcess(r.PID)
	switch {
	case errors.Is(err, errNoProcess), errors.Is(err, errThread):
		return nil, r.fault(fault.NotFound, "%w", err)
	case err != nil:
		return nil, r.explain(err)
	}
	return r.hold(p, guests.GuestInfo{Runtime: RuntimePID, ID: strconv.Itoa(r.PID), Name: r.String()})
}

// OpenProcess opens the namespace of a process that is known to be the guest's, such as the one
// that an OCI runtime tells a hook. info says whose it is. Its errors are those of Find.
func OpenProcess(pid int, info guests.GuestInfo) (*Guest, error) {
	r := wordRef{Name: info.Word()}
	p, err := openProcess(pid)
	switch {
	case errors.Is(err, errNoProcess), errors.Is(err, errThread):
		return nil, r.fault(fault.Gone, "process %d: %w", pid, err)
	case err != nil:
		return nil, r.explain(err)
	}
	return r.hold(p, info)
}

func (f *finder) findNamed(r wordRef) (*Guest, error) {
	var firstErr error
	for _, dir := range f.named {
		path := dir + "/" + r.Name
		// "ip netns add" makes no symbolic links, so none is followed here. A user
		// who wants what one points to can give the path.
		ns, err := nsfs.Open(path, unix.O_NOFOLLOW)
		if err == nil {
			return r.admit(guests.GuestInfo{Runtime: RuntimeNetNS, ID: r.Name, Name: r.Name, Path: path}, ns, nil)
		}
		if firstErr == nil || errors.Is(firstErr, fs.ErrNotExist) {
			firstErr = err
		}
	}
	switch {
	case errors.Is(firstErr, errNoNamespace):
		return nil, r.fault(fault.NotFound, "%w", firstErr).
			WithHint("nothing is mounted there: the namespace was deleted, or it is a symbolic link, which is followed only in a path")
	case errors.Is(firstErr, fs.ErrNotExist):
		return nil, r.fault(fault.NotFound, "%w in %s", errNoName, f.named[0]).
			WithHint("ip netns list shows the names")
	}
	return nil, r.explain(firstErr)
}

func (f *finder) findPath(r wordRef) (*Guest, error) {
	ns, err := nsfs.Open(r.Name, 0)
	switch {
	case errors.Is(err, errNoNamespace), errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOTDIR):
		return nil, r.fault(fault.NotFound, "%w", err).
			WithHint("a namespace is a file like /proc/PID/ns/net, or one that is mounted from it")
	case err != nil:
		return nil, r.explain(err)
	}
	sum := sha256.Sum256([]byte(r.Name))
	return r.admit(guests.GuestInfo{Runtime: RuntimePath, ID: hex.EncodeToString(sum[:6]), Name: r.Name, Path: r.Name}, ns, nil)
}

// hold returns the guest whose process is p. It takes over p, and closes it on an error.
func (r wordRef) hold(p *process, g guests.GuestInfo) (*Guest, error) {
	ns, err := p.netns()
	if err != nil {
		p.close()
		return nil, r.explain(err)
	}
	g.PID = p.pid
	return r.admit(g, ns, owner{p, g.Name})
}

// admit returns the guest with that namespace, unless it is the host's. On an error it
// closes the namespace and the owner.
func (r wordRef) admit(info guests.GuestInfo, ns *os.File, of guests.Owner) (*Guest, error) {
	shared, err := isHost(ns)
	if err == nil && !shared {
		return guests.New(info, ns, of), nil
	}
	ns.Close()
	if of != nil {
		of.Close()
	}
	if err != nil {
		return nil, r.explain(err)
	}
	return nil, r.refuseHost()
}
