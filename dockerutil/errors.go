package dockerutil

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/shell"
	"golang.org/x/sys/unix"
)

// OpFind is the Op of the errors about a guest that was not found.
const OpFind = "find guest"

// fault returns an error about the search for r.
func (r wordRef) fault(code fault.Code, format string, args ...any) *fault.Error {
	return fault.New(code, OpFind, `"`+r.String()+`"`, format, args...)
}

// explain returns the error for a system call on a process or a namespace.
func (r wordRef) explain(err error) error {
	switch {
	case errors.Is(err, errEnded):
		return r.fault(fault.Gone, "%w", err)
	case errors.Is(err, fs.ErrPermission):
		return r.fault(fault.Permission, "%w", err).WithHint("root is needed, and for a process CAP_SYS_PTRACE")
	case errors.Is(err, unix.ENOSYS):
		return r.fault(fault.Unsupported, "%w", err).WithHint("pidfd_open(2) needs Linux 5.3")
	}
	return r.fault(fault.Failed, "%w", err)
}

// wrap explains err unless it has been explained already.
func (r wordRef) wrap(err error) error {
	var done *fault.Error
	if errors.As(err, &done) {
		return err
	}
	return r.explain(err)
}

// stopped returns an error if ctx is done: the time for questions to whom is over, or the
// search was cancelled. Otherwise it returns nil.
func (r wordRef) stopped(ctx context.Context, whom, hint string) error {
	switch {
	case ctx.Err() == nil:
		return nil
	case errors.Is(ctx.Err(), context.Canceled):
		return r.fault(fault.Interrupted, "%w", context.Cause(ctx))
	}
	return r.fault(fault.Timeout, "%s: %w", whom, context.Cause(ctx)).WithHint("%s", hint)
}

// unreachable returns the error for a failed connection. It wraps none if the runtime is
// not there at all, in which case a bare word is looked for elsewhere.
func (r wordRef) unreachable(err error, title, address string, none error, start, instead string) error {
	var errno unix.Errno
	if errors.As(err, &errno) {
		err = errno // without the address, which is in the message already
	}
	switch {
	case errors.Is(err, fs.ErrPermission):
		return r.fault(fault.Permission, "%s at %s: %w", title, address, err).WithHint("%s", denied(address))
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ECONNREFUSED), errors.Is(err, unix.ENOTDIR):
		return r.fault(fault.Runtime, "%w at %s: %w", none, address, err).WithHint("%s", start)
	}
	return r.fault(fault.Runtime, "%s at %s: %w", title, address, err).WithHint("%s", instead)
}

// denied says what to do about a socket that must not be opened.
func denied(address string) string {
	if os.Geteuid() != 0 {
		return "run it as root"
	}
	path := strings.TrimPrefix(address, "unix://")
	if !strings.HasPrefix(path, "/") {
		return "root must not do so without CAP_DAC_OVERRIDE"
	}
	for i := 1; i < len(path); i++ {
		if path[i] != '/' {
			continue
		}
		if _, err := os.Lstat(path[:i] + "/."); errors.Is(err, fs.ErrPermission) {
			return "the directory " + path[:i] + " is closed to root, who has no CAP_DAC_OVERRIDE here: chmod 755 " + shell.Quote(path[:i])
		}
	}
	return "root must not open " + path + " without CAP_DAC_OVERRIDE"
}

func (r wordRef) refuseHost() error {
	return r.fault(fault.Conflict, "it shares the host's network namespace").
		WithHint("a guest without a namespace of its own (in Docker: --network host) already has every interface of the host")
}

// hintPID adds a hint about what the user probably meant. A bare number is never read as
// a PID, because it is also a valid name and a valid prefix of a container's ID.
func (r wordRef) hintPID(err *fault.Error) *fault.Error {
	if n, e := strconv.Atoi(r.Name); e == nil && n > 0 && n <= maxPID {
		return err.WithHint("to name a process, write pid:%d", n)
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

var errAmbiguous = errors.New("several containers have an ID that starts like that")

func (r wordRef) refuseAmbiguous() error {
	return r.fault(fault.Conflict, "%w", errAmbiguous).
		WithHint("give more of the ID, or the name")
}

// noName is the error for a word that is too short to stand for an ID; c is a container whose
// ID begins so, or nil if several do.
func (r wordRef) noName(c *found, prefix int) error {
	err := r.noContainer()
	if c != nil {
		err.Hint = fmt.Sprintf("the ID of %s starts with it: write its name, or %d characters of the ID; ", c.name, prefix) + err.Hint
	}
	return err
}

// ambiguous reports whether an ID prefix fits several containers. Only the text of the
// error tells this from other failures: the status is 500 from Docker 20.10, 400 from
// newer ones and 404 from podman.
func ambiguous(err error) bool {
	if err == nil {
		return false
	}
	text := strings.ToLower(err.Error())
	return strings.Contains(text, "multiple ids found with provided prefix") ||
		strings.Contains(text, "more than one result for container")
}

// clipped is an error of a daemon, cut to a length that people will read.
type clipped struct{ error }

func (c clipped) Error() string {
	const most = 300
	s := strings.TrimPrefix(c.error.Error(), "Error response from daemon: ")
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "..."
	}
	return s
}

func (c clipped) Unwrap() error { return c.error }
