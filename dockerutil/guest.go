package dockerutil

import (
	"errors"
	"os"

	"github.com/gopipework/gopipework/internal/fault"
	"golang.org/x/sys/unix"
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
