package main

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"

	"github.com/gopipework/gopipework/dockerutil"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
)

// raw are the commands whose words after GUEST belong to another program.
var raw = []string{"exec", "route", "rule", "tc"}

func (o *output) execEntry() *cli.Command {
	return &cli.Command{
		Name: "exec", Usage: "run a program of the host in a guest's network namespace", ArgsUsage: "GUEST -- COMMAND...",
		Action: o.execCommand,
	}
}

// execCommand runs a program of the host in the guest's network namespace.
func (o *output) execCommand(c *cli.Context) error {
	w := c.Args().Slice()
	if len(w) > 1 && w[1] == "--" {
		w = append(w[:1:1], w[2:]...)
	}
	if len(w) < 2 || strings.HasPrefix(w[1], "-") {
		return fault.BadWord("read words", strings.Join(w, " "), "exec takes %s", c.Command.ArgsUsage).
			WithHint("gopipework exec web -- ip address")
	}
	return o.become(c, w[0], w[1:], true)
}

// become replaces this process by the command, which then has the guest's network
// namespace and is otherwise a process of the host, with its terminal, its signals and
// its own exit code. It returns only on an error. With withSys the command sees the /sys
// of the guest's network namespace.
func (o *output) become(c *cli.Context, guest string, command []string, withSys bool) error {
	path, err := exec.LookPath(command[0])
	if err != nil {
		return notFound(command[0], err)
	}
	g, err := dockerutil.Find(c.Context, guest)
	if err != nil {
		return stopped(c.Context, err)
	}
	defer g.Close()
	o.doubt(g)
	runtime.LockOSThread() // never unlocked: on an error the process ends
	if err := unix.Setns(int(g.Namespace.Fd()), unix.CLONE_NEWNET); err != nil {
		return cannot("enter the namespace of", guest, err)
	}
	if withSys {
		if err := mountSys(); err != nil {
			return cannot("mount /sys for", guest, err)
		}
	}
	return cannot("run", path, unix.Exec(path, command, os.Environ()))
}

// notRun is the error for a program that cannot be run. The exit code is that of a shell.
type notRun struct{ error }

func (n notRun) Unwrap() error { return n.error }

func (n notRun) exitCode() int {
	if errors.Is(n.error, os.ErrPermission) {
		return 126
	}
	return 127
}

// notFound returns the error for a program that the host does not have.
func notFound(command string, err error) error {
	e := fault.New(fault.NotFound, "run", command, "%w", errors.Unwrap(err))
	if _, none := os.Stat("/usr"); errors.Is(none, os.ErrNotExist) { // as in our own image
		return notRun{e.WithHint("this container has no programs: run it on the host")}
	}
	if command == "ip" || command == "tc" {
		e.Code = fault.Unsupported
		return e.WithHint("install the package iproute2")
	}
	return notRun{e}
}

// cannot returns the error for a system call that failed. Not every one goes to
// fault.Explain: ENODEV there means a link that has gone, and here a missing file system.
func cannot(op, object string, err error) error {
	if errors.Is(err, os.ErrPermission) {
		return fault.Explain(op, object, err)
	}
	return fault.New(fault.Failed, op, object, "%w", err)
}

// mountSys moves this thread into a mount namespace of its own, and mounts a new sysfs
// there: a sysfs shows the links of the network namespace that it was mounted in
// (sysfs(5)). The cgroups below /sys stay where they are.
func mountSys() error {
	const sys, cgroup = "/sys", "/sys/fs/cgroup"
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return err
	}
	tree, treeErr := unix.OpenTree(unix.AT_FDCWD, cgroup, unix.OPEN_TREE_CLONE|unix.AT_RECURSIVE|unix.OPEN_TREE_CLOEXEC)
	if err := unix.Mount("sysfs", sys, "sysfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return err
	}
	if treeErr != nil {
		return nil // no cgroups here, or a kernel before 5.2
	}
	defer unix.Close(tree)
	err := unix.MoveMount(tree, "", unix.AT_FDCWD, cgroup, unix.MOVE_MOUNT_F_EMPTY_PATH)
	if errors.Is(err, syscall.ENOENT) {
		return nil
	}
	return err
}
