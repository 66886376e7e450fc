package main

import (
	"errors"
	"os"
	"runtime"
	"strconv"
	"strings"

	"github.com/gopipework/gopipework/internal/fault"
	"golang.org/x/sys/unix"
)

// onHostFlag is the first word of a line that is to be carried out on the host, and not in
// the container that this process is in. The image of gopipework begins every line so.
const onHostFlag = "--on-host"

// onHost makes this process one of the host's, and carries out the line there. Process 1 is
// the host's if the container shares the host's processes. Its mount namespace has the
// sockets of engines, /run and the host's programs; its network namespace the bridges and
// cards; and in its control groups, what maintains a lease outlives the container.
//
//	nsenter --target 1 --mount --net --cgroup gopipework ARGS...
func onHost(args []string) error {
	const first, hint = "/proc/1", "start the container with --privileged --pid=host"
	if here, there := namespaceOf("self"), namespaceOf("1"); there != "" && here == there {
		return fault.New(fault.Usage, "enter", "the host", "process 1 is in this mount namespace, too").
			WithHint("%s; on the host itself, leave %s out", hint, onHostFlag)
	}
	self, err := unix.Open("/proc/self/exe", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return cannot("open", "/proc/self/exe", err)
	}
	runtime.LockOSThread() // never unlocked: on an error the process ends
	err = unix.Unshare(unix.CLONE_FS)
	for _, ns := range []struct {
		name string
		kind int
	}{{"cgroup", unix.CLONE_NEWCGROUP}, {"net", unix.CLONE_NEWNET}, {"mnt", unix.CLONE_NEWNS}} {
		if err == nil {
			err = join(first+"/ns/"+ns.name, ns.kind)
		}
	}
	if err == nil {
		err = joinGroups(first + "/cgroup")
	}
	if err != nil {
		code, more := fault.Failed, ""
		if errors.Is(err, os.ErrPermission) {
			code, more = fault.Permission, "; if it has both, AppArmor or SELinux keeps it out of process 1, or that belongs to a user namespace above"
		}
		return fault.New(code, "enter", "the host", "%w", err).WithHint("%s%s", hint, more)
	}
	return cannot("run", "gopipework", unix.Exec("/proc/self/fd/"+strconv.Itoa(self), append([]string{"gopipework"}, args...), os.Environ()))
}

// namespaceOf is what the mount namespace of a process is called.
func namespaceOf(process string) string {
	name, _ := os.Readlink("/proc/" + process + "/ns/mnt")
	return name
}

// join enters a namespace.
func join(path string, kind int) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	return os.NewSyscallError("setns "+path, unix.Setns(fd, kind))
}

// joinGroups moves this process into the control groups that a file such as /proc/1/cgroup
// lists. The hierarchies are where systemd mounts them (cgroups(7)); those that are not
// mounted cannot be asked to end us.
func joinGroups(list string) error {
	text, err := os.ReadFile(list)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3) // hierarchy:controllers:path
		if len(fields) < 3 {
			continue
		}
		roots := []string{"/sys/fs/cgroup/" + strings.TrimPrefix(fields[1], "name=")}
		if fields[1] == "" {
			roots = []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"}
		}
		for _, root := range roots {
			f, err := os.OpenFile(root+fields[2]+"/cgroup.procs", os.O_WRONLY, 0)
			if errors.Is(err, os.ErrNotExist) {
				continue
			}
			if err == nil {
				_, err = f.WriteString("0") // the process that writes
				f.Close()
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}
