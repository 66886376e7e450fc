package dockerutil

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/plainfile"
	"golang.org/x/sys/unix"
)

// lxcDir returns the directory of LXC's containers: lxc.lxcpath of lxc.system.conf(5), or
// else LXC's own default.
func lxcDir() string {
	text, _ := plainfile.ReadFile("/etc/lxc/lxc.conf", maxConfig)
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(line, "=")
		if value = strings.TrimSpace(value); strings.TrimSpace(key) == "lxc.lxcpath" && filepath.IsAbs(value) {
			return filepath.Clean(value)
		}
	}
	return "/var/lib/lxc"
}

func (f *finder) lxcHere(name string) bool {
	return f.lxc != "" && exists(filepath.Join(f.lxc, name))
}

// findLXC asks the monitor process of the container, which listens on a socket of its own.
// The cgroups, whatever their version, are not used.
func (f *finder) findLXC(ctx context.Context, r wordRef) (*Guest, error) {
	ctx, cancel := f.bounded(ctx)
	defer cancel()
	l := lxc{ref: r, dir: f.lxc}
	return f.take(ctx, r, source{inspect: l.inspect, stopped: l.stopped}, RuntimeLXC)
}

// lxc asks the monitor of an LXC container for one guest word.
type lxc struct {
	ref wordRef
	dir string
}

// The commands and states of LXC (src/lxc/commands.h, state.h). The numbers have not
// changed since LXC 1.0; new ones are added at the end.
const (
	lxcGetState   = 3
	lxcGetInitPID = 4

	lxcStopped  = 0
	lxcStarting = 1
	lxcAborting = 4
)

// inspect implements a source.
func (l lxc) inspect(ctx context.Context, name string) (*found, error) {
	c := &found{id: name, name: name, local: true}
	state, err := l.ask(ctx, name, lxcGetState, c)
	if errors.Is(err, unix.ECONNREFUSED) {
		return l.silent(name)
	}
	if err != nil {
		return nil, l.explain(ctx, err)
	}
	switch state {
	case lxcStarting:
		// Until it runs it may not be in its own namespace yet.
		c.idle, c.comingUp = "it does not come up", true
		c.hint = "lxc-start -n " + name + " -F shows why"
		return c, nil
	case lxcStopped, lxcAborting:
		return l.stoppedContainer(name), nil
	}
	pid, err := l.ask(ctx, name, lxcGetInitPID, c)
	switch {
	case errors.Is(err, unix.ECONNREFUSED):
		return l.stoppedContainer(name), nil
	case err != nil:
		return nil, l.explain(ctx, err)
	case pid <= 0:
		return l.stoppedContainer(name), nil
	case pid > maxPID:
		return nil, l.broken(fmt.Errorf("%d is no process ID", pid))
	}
	c.pid = int(pid)
	return c, nil
}

func (l lxc) stoppedContainer(name string) *found {
	return &found{id: name, name: name, idle: "it is not running", hint: "lxc-start -n " + name}
}

// silent finds out why nobody listens: there is no such container, it is not running, or
// there is no LXC.
func (l lxc) silent(name string) (*found, error) {
	_, err := os.Stat(filepath.Join(l.dir, name))
	switch {
	case err == nil:
		return l.stoppedContainer(name), nil
	case !errors.Is(err, fs.ErrNotExist):
		return nil, l.ref.explain(err)
	case !exists(l.dir):
		return nil, l.ref.fault(fault.Runtime, "%w: there is no %s", absence("LXC is not here"), l.dir).
			WithHint("install lxc, or start the container")
	}
	return nil, l.ref.fault(fault.NotFound, "%w in %s", errNoContainer, l.dir).
		WithHint("lxc-ls -f lists the containers")
}

// errForeign is the error for a listener that is not LXC.
var errForeign = errors.New("another user's process listens in its place")

// ask sends one command to the container's monitor and returns the answer. Its socket has
// an abstract name, which anybody can take while the container does not run, so ask
// trusts only a listener that belongs to root, to us or to the owner of the container.
func (l lxc) ask(ctx context.Context, name string, command int32, c *found) (int64, error) {
	socket := "@" + lxcSocket(l.dir, name)
	conn, err := (&net.Dialer{Control: passCredentials}).DialContext(ctx, "unix", socket)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	defer endWith(ctx, conn)()
	peer, err := peerOf(conn)
	if err != nil {
		return 0, err
	}
	if uid := int(peer.Uid); uid != 0 && uid != os.Geteuid() && uid != ownerOf(filepath.Join(l.dir, name)) {
		return 0, errForeign
	}

	// struct lxc_cmd_req, answered by struct lxc_cmd_rsp: an int, the length of what
	// follows as another int, and a pointer, which here is the value itself.
	const pointer = strconv.IntSize / 8
	request := binary.NativeEndian.AppendUint32(nil, uint32(command))
	request = append(request, make([]byte, 4+pointer)...)
	// The monitor requires credentials, which the kernel vouches for (unix(7)).
	who := unix.UnixCredentials(&unix.Ucred{Pid: int32(os.Getpid()), Uid: uint32(os.Geteuid()), Gid: uint32(os.Getegid())})
	if _, _, err := conn.(*net.UnixConn).WriteMsgUnix(request, who, nil); err != nil {
		return 0, err
	}
	// Another process began to listen and handed the socket to the monitor, so not
	// peerOf but the sender of the answer shows whether the monitor is in our PID
	// namespace.
	answer, control := make([]byte, 8+pointer), make([]byte, unix.CmsgSpace(unix.SizeofUcred))
	n, controlled, _, _, err := conn.(*net.UnixConn).ReadMsgUnix(answer, control)
	if err == nil {
		c.local = c.local && sameProcesses(senderOf(control[:controlled]))
		_, err = io.ReadFull(conn, answer[n:])
	}
	if err != nil {
		return 0, err
	}
	if code := int32(binary.NativeEndian.Uint32(answer)); code < 0 {
		return 0, unix.Errno(-code)
	}
	if pointer == 4 {
		return int64(int32(binary.NativeEndian.Uint32(answer[8:]))), nil
	}
	return int64(binary.NativeEndian.Uint64(answer[8:])), nil
}

// lxcSocket returns the abstract name of a container's command socket. A name that is too
// long for an address is hashed (lxc_make_abstract_socket_name).
func lxcSocket(dir, name string) string {
	const longest = 108 - 2 // sun_path, without the zero bytes at both ends
	socket := dir + "/" + name + "/command"
	if len(socket) < longest {
		return socket
	}
	sum := fnv.New64a()
	sum.Write([]byte(dir + "/" + name))
	return fmt.Sprintf("lxc/%016x/command", sum.Sum64())
}

// ownerOf returns the user who owns a directory, or -1 if it does not exist.
func ownerOf(path string) int {
	var st unix.Stat_t
	if unix.Lstat(path, &st) != nil {
		return -1
	}
	return int(st.Uid)
}

func (l lxc) explain(ctx context.Context, err error) error {
	if stopped := l.stopped(ctx); stopped != nil {
		return stopped
	}
	if errors.Is(err, fs.ErrPermission) {
		return l.ref.fault(fault.Permission, "its monitor: %w", err).WithHint("run it as root")
	}
	return l.broken(err)
}

// stopped implements a source.
func (l lxc) stopped(ctx context.Context) error {
	return l.ref.stopped(ctx, "its monitor", l.instead())
}

func (l lxc) broken(err error) error {
	return l.ref.fault(fault.Runtime, "its monitor: %w", clipped{err}).WithHint("%s", l.instead())
}

func (l lxc) instead() string { return "see whether lxc-info -n " + l.ref.Name + " works" }
