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

	"golang.org/x/sys/unix"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/nsfs"
)

// Guest is a network namespace, held open, and what is known of its owner.
// Close it when done.
type Guest struct {
	Runtime string // one of the constants of a Ref; never ""

	// ID is what the runtime itself calls the guest: the 64 hex digits of
	// Docker, podman and the CRI, what containerd was told, the name of an LXC
	// container, an instance of Incus or a machine, the PID, the name of the namespace, or for a path
	// the first 12 hex digits of its SHA-256.
	ID string

	Name string // for people: the container's name, "pid:N", the name, the path

	// PID is a process in the namespace, as this PID namespace counts. It is
	// for printing only: the process may be gone, and the number used again.
	// 0 where none is known; Path is set then.
	PID int

	// Path names the namespace where no PID does ("nsenter --net=PATH").
	// Empty while PID is set.
	Path string

	// Shares is the container whose namespace this is, when the guest was
	// started with it ("--network container:X"), as Docker calls it.
	Shares string

	// Published says that Docker publishes a port of it, on an address of the
	// host that is not loopback alone.
	Published bool

	// Joined says that Docker connects it to networks, and to more of them by
	// "docker network connect", which takes the first ethN that is free.
	Joined bool

	// Doubts are warnings: what about the guest could not be found out, or is
	// not as it should be.
	Doubts []string

	// NetNS is the namespace. From Find on this descriptor is the guest.
	NetNS *os.File

	owner *process // nil without a PID
}

// Alive returns nil while the guest's process lives, and fault.Gone once it has
// ended. A guest without a process is always alive: the open descriptor keeps
// its namespace.
func (g *Guest) Alive() error {
	if g.owner == nil {
		return nil
	}
	err := g.owner.alive()
	if err == nil {
		return nil
	}
	code := fault.Failed
	if errors.Is(err, errEnded) {
		code = fault.Gone
	}
	return fault.New(code, "reach guest", `"`+g.Name+`"`, "process %d: %w", g.PID, err)
}

// Close lets go of the namespace and the process.
func (g *Guest) Close() error {
	return errors.Join(g.NetNS.Close(), g.owner.close())
}

// word names the guest outright.
func (g *Guest) word() string { return g.Runtime + ":" + g.Name }

// Inode returns the namespace's inode number, as in "net:[4026531833]", or 0
// after Close. The kernel uses the numbers again: compare them only while both
// namespaces are held open.
func (g *Guest) Inode() uint64 {
	var st unix.Stat_t
	if unix.Fstat(int(g.NetNS.Fd()), &st) != nil {
		return 0
	}
	return st.Ino
}

// Find looks a guest up and opens its namespace. It changes nothing.
//
// The error is a *fault.Error: NotFound for no such guest, Gone for one that is
// not running, Conflict for an ambiguous ID, for a bare word that two runtimes
// besides Docker know (one of them that fails keeps nobody from being found: see
// Doubts), or for a guest that has the host's own namespace, Timeout
// and Runtime for a runtime that does not answer, answers nonsense or is not
// there, Permission, Unsupported for a kernel before 5.3.
func Find(ctx context.Context, r Ref) (*Guest, error) {
	f := finder{
		bound:    5 * time.Second,
		patience: 3 * time.Second,
		pause:    250 * time.Millisecond,
		settle:   300 * time.Millisecond,
		proc:     "/proc",
		// The second is the first on every current system, by a symbolic link.
		named:  []string{"/run/netns", "/var/run/netns"},
		places: findPlaces(),
	}
	return f.find(ctx, r)
}

// finder holds what Find takes from its surroundings.
type finder struct {
	bound    time.Duration // for everything that is asked of one runtime, together
	patience time.Duration // how long a container may take to come up
	pause    time.Duration // between two looks at a container that comes up
	settle   time.Duration // how long a runtime may take to notice a death
	proc     string        // procfs
	named    []string      // directories of named namespaces, by precedence
	places
}

func (f *finder) find(ctx context.Context, r Ref) (*Guest, error) {
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
	case RuntimePID:
		return f.findProcess(r)
	case RuntimeNetNS:
		return f.findNamed(r)
	case RuntimePath:
		return f.findPath(r)
	}
	return nil, r.fault(fault.Usage, "%q is no runtime", r.Runtime)
}

// findBare asks Docker first, and the others and the named namespaces only when
// it is certain that Docker has no such container: a Docker that hangs might have.
func (f *finder) findBare(ctx context.Context, r Ref) (*Guest, error) {
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
		g.Doubts = append(g.Doubts, fmt.Sprintf("%s is what %q was found to be, but not all could be asked: %v", g.word(), r.Name, failed))
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
	return nil, r.fault(fault.NotFound, "%w in %s%s, and %w", errNoName, f.named[0], among, errors.Unwrap(dockerErr)).
		WithHint("start Docker, or set DOCKER_HOST to where it listens; ip netns list shows the namespaces")
}

func (f *finder) findProcess(r Ref) (*Guest, error) {
	p, err := openProcess(r.PID)
	switch {
	case errors.Is(err, errNoProcess), errors.Is(err, errThread):
		return nil, r.fault(fault.NotFound, "%w", err)
	case err != nil:
		return nil, r.explain(err)
	}
	return r.hold(p, Guest{Runtime: RuntimePID, ID: strconv.Itoa(r.PID), Name: r.String()})
}

func (f *finder) findNamed(r Ref) (*Guest, error) {
	var firstErr error
	for _, dir := range f.named {
		path := dir + "/" + r.Name
		// A name is what "ip netns add" made, so a link there is not followed:
		// whoever wants what it points to can give the path.
		ns, err := nsfs.Open(path, unix.O_NOFOLLOW)
		if err == nil {
			return r.admit(&Guest{Runtime: RuntimeNetNS, ID: r.Name, Name: r.Name, Path: path, NetNS: ns})
		}
		if firstErr == nil || errors.Is(firstErr, fs.ErrNotExist) {
			firstErr = err
		}
	}
	switch {
	case errors.Is(firstErr, errNoNamespace):
		return nil, r.fault(fault.NotFound, "%w", firstErr).
			WithHint("nothing is mounted there: a namespace that was deleted, or a link, which only a path follows")
	case errors.Is(firstErr, fs.ErrNotExist):
		return nil, r.fault(fault.NotFound, "%w in %s", errNoName, f.named[0]).
			WithHint("ip netns list shows the names")
	}
	return nil, r.explain(firstErr)
}

func (f *finder) findPath(r Ref) (*Guest, error) {
	ns, err := nsfs.Open(r.Name, 0)
	switch {
	case errors.Is(err, errNoNamespace), errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOTDIR):
		return nil, r.fault(fault.NotFound, "%w", err).
			WithHint("a namespace is a file like /proc/PID/ns/net, or one that is mounted from it")
	case err != nil:
		return nil, r.explain(err)
	}
	sum := sha256.Sum256([]byte(r.Name))
	return r.admit(&Guest{Runtime: RuntimePath, ID: hex.EncodeToString(sum[:6]), Name: r.Name, Path: r.Name, NetNS: ns})
}

// hold completes g with p and p's namespace. It owns p.
func (r Ref) hold(p *process, g Guest) (*Guest, error) {
	ns, err := p.netns()
	if err != nil {
		p.close()
		return nil, r.explain(err)
	}
	g.PID, g.owner, g.NetNS = p.pid, p, ns
	return r.admit(&g)
}

// admit returns g unless its namespace is the host's. It closes what it refuses.
func (r Ref) admit(g *Guest) (*Guest, error) {
	shared, err := isHost(g.NetNS)
	if err == nil && !shared {
		return g, nil
	}
	g.Close()
	if err != nil {
		return nil, r.explain(err)
	}
	return nil, r.refuseHost()
}

func (r Ref) refuseHost() error {
	return r.fault(fault.Conflict, "it shares the host's network namespace").
		WithHint("a guest without a namespace of its own (in Docker: --network host) already has every interface of the host")
}

func (r Ref) fault(code fault.Code, format string, args ...any) *fault.Error {
	return fault.New(code, "find guest", `"`+r.String()+`"`, format, args...)
}

// explain gives what the kernel said of a process or a namespace its code.
func (r Ref) explain(err error) error {
	switch {
	case errors.Is(err, errEnded):
		return r.fault(fault.Gone, "%w", err)
	case errors.Is(err, fs.ErrPermission):
		return r.fault(fault.Permission, "%w", err).WithHint("root is needed, and for a process CAP_SYS_PTRACE")
	case errors.Is(err, unix.ENOSYS):
		return r.fault(fault.Unsupported, "%w", err).WithHint("pidfd_open(2) needs kernel 5.3")
	}
	return r.fault(fault.Failed, "%w", err)
}

// hintPID adds what a bare number was probably meant to be. A number is never
// taken for a PID: it is a valid name, and a valid prefix of a container's ID.
func (r Ref) hintPID(err *fault.Error) *fault.Error {
	if n, e := strconv.Atoi(r.Name); e == nil && n > 0 && n <= maxPID {
		return err.WithHint("a process is written pid:%d", n)
	}
	switch r.Runtime {
	case RuntimeDocker, RuntimePodman:
		return err.WithHint("%s ps lists the running containers", r.Runtime)
	case RuntimeContainerd:
		return err.WithHint("ctr -n NAMESPACE tasks ls lists the running containers")
	case RuntimeIncus:
		return err.WithHint("incus list lists the instances")
	case RuntimeCRI:
		return err.WithHint("crictl ps lists the running containers, crictl pods the pods")
	}
	return err.WithHint("docker ps lists the running containers, ip netns list the namespaces")
}
