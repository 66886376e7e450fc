// Package guests holds what is known of a guest: whose network namespace it is, and
// the open descriptor that stands for it.
package guests

import (
	"cmp"
	"errors"
	"os"
	"strconv"

	"github.com/gopipework/gopipework/internal/shell"
	"golang.org/x/sys/unix"
)

// GuestInfo is what is known of a guest. Its JSON names are part of the
// command's contract.
type GuestInfo struct {
	Runtime string `json:"runtime"` // RuntimeDocker and so on

	// ID is what the runtime itself calls the guest: the 64 hex digits of
	// Docker, podman and the CRI, what containerd was told, the name of an LXC
	// container, an instance of Incus or a machine, the PID, the name of the namespace,
	// for a path the first 12 hex digits of its SHA-256, or for CNI those of what the
	// caller named: network, container and interface.
	ID string `json:"id"`

	LongID string `json:"-"` // the whole of it, where ID is only a part

	Name string `json:"name"` // for people: the container's name, "pid:N", the name, the path

	// PID is a process in the namespace, as this PID namespace counts. It is
	// for printing only: the process may be gone, and the number used again.
	// 0 where none is known; Path is set then.
	PID int `json:"pid"`

	NetNS uint64 `json:"netns"` // inode number of its network namespace

	// Path names the namespace where no PID does ("nsenter --net=PATH").
	// Empty while PID is set.
	Path string `json:"-"`

	// Shares is the container whose namespace this is, when the guest was
	// started with it ("--network container:X"), as Docker calls it.
	Shares string `json:"-"`

	// Published: its engine sends it what comes to ports of the host, on an
	// address that is not loopback alone.
	Published bool `json:"-"`

	// Joined: its engine may give it further interfaces ("docker network
	// connect"), under the first ethN that it has not used itself.
	Joined bool `json:"-"`
}

// What Runtime can be.
const (
	RuntimeDocker     = "docker"
	RuntimePodman     = "podman"
	RuntimeContainerd = "containerd"
	RuntimeLXC        = "lxc"
	RuntimeMachine    = "machine" // systemd-machined, which knows those of systemd-nspawn
	RuntimeCRI        = "cri"     // the runtime of a kubelet
	RuntimeIncus      = "incus"
	RuntimePID        = "pid"
	RuntimeNetNS      = "netns"
	RuntimePath       = "path"
	RuntimeCNI        = "cni" // a caller of CNI named it, by the path of its namespace
)

// ByPath reports whether the guest is named by the path of its namespace.
func (g GuestInfo) ByPath() bool { return g.Runtime == RuntimePath || g.Runtime == RuntimeCNI }

// IsContainer reports whether an engine started it, so that it has a process, seen or not.
func (g GuestInfo) IsContainer() bool {
	switch g.Runtime {
	case "", RuntimePID, RuntimeNetNS, RuntimePath, RuntimeCNI:
		return false
	}
	return true
}

// Word is a word of the command line that names the guest outright.
func (g GuestInfo) Word() string {
	switch g.Runtime {
	case "", RuntimePath, RuntimeCNI:
		return g.Name
	case RuntimePID:
		return RuntimePID + ":" + g.ID
	}
	return g.Runtime + ":" + g.Name
}

// idLength is how much of an ID "docker ps" shows.
const idLength = 12

// ShortID returns the part of a generated ID that "docker ps" shows, or a name as it is.
func ShortID(id string) string {
	const whole = 64
	if len(id) == whole {
		return id[:idLength]
	}
	return id
}

// Short is g with its ID as a mark has it.
func Short(g GuestInfo) GuestInfo {
	g.LongID = cmp.Or(g.LongID, g.ID)
	g.ID = g.ID[:min(len(g.ID), idLength)]
	return g
}

// Command returns the line that runs a command in the guest's network.
func Command(g GuestInfo, words string) string {
	return "gopipework exec " + shell.Quote(g.Word()) + " -- " + words
}

// Enter is the command prefix that runs a command in the guest's namespace.
func Enter(g GuestInfo) string {
	if g.PID != 0 {
		return "nsenter -t " + strconv.Itoa(g.PID) + " -n "
	}
	return "nsenter --net=" + shell.Quote(g.Path) + " "
}

// NetNSWord is the guest as "ip link add ... netns" takes it.
func NetNSWord(g GuestInfo) string {
	if g.PID != 0 {
		return strconv.Itoa(g.PID)
	}
	return shell.Quote(g.Path)
}

// Unasked is in the error for a guest that was not found where a runtime could not be asked:
// the guest may well be one of its, and run.
type Unasked struct {
	Runtime string
	Err     error // why not
}

func (u Unasked) Error() string { return u.Err.Error() }

// Unwrap returns why it could not be asked.
func (u Unasked) Unwrap() error { return u.Err }

// Owner is the process whose namespace it is.
type Owner interface {
	Alive() error // nil while it lives
	Close() error
}

// Guest is a network namespace, held open. From here on the descriptor is the
// guest: a PID that is used again redirects nothing. Close it when done.
type Guest struct {
	GuestInfo
	Namespace *os.File

	// Doubts are warnings: what about the guest could not be found out, or is
	// not as it should be.
	Doubts []string

	owner Owner // nil: none is known
}

// New returns the guest that has the namespace. It owns ns and owner; with nil for
// owner it is alive as long as ns is open.
func New(info GuestInfo, ns *os.File, owner Owner) *Guest {
	var st unix.Stat_t
	if unix.Fstat(int(ns.Fd()), &st) == nil { // it fails only where ns is not open
		info.NetNS = st.Ino
	}
	return &Guest{GuestInfo: info, Namespace: ns, owner: owner}
}

// Alive returns nil while the guest's process lives, and an error of the code
// "gone" once it has ended. A guest without a process is always alive: the open
// descriptor keeps its namespace.
func (g *Guest) Alive() error {
	if g.owner == nil {
		return nil
	}
	return g.owner.Alive()
}

// Close lets go of the namespace and the process.
func (g *Guest) Close() error {
	err := g.Namespace.Close()
	if g.owner != nil {
		err = errors.Join(err, g.owner.Close())
	}
	return err
}

// OwnerOf returns the process whose namespace it is; nil: none is known.
func OwnerOf(g *Guest) Owner { return g.owner }
