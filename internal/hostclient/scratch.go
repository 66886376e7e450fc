package hostclient

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ScriptName is the name by which a client runs this program as its script.
const ScriptName = "gopipework-client-event"

// The files of a client, as it sees them.
const (
	scratch    = "/run/gopipework-client"
	scriptPath = scratch + "/" + ScriptName
	socketPath = scratch + "/socket"
	leasesPath = scratch + "/leases"
	configPath = scratch + "/config"
)

// hidden are the directories in whose place a client sees empty ones of its
// own.
var hidden = []string{"/run", "/var/lib/dhcp", "/var/lib/dhcpcd", "/tmp"}

// hideHost gives this thread a mount namespace in which nothing of the host can
// be written (mount_setattr(2), Linux 5.12), with what a client needs.
func hideHost(self, config string) error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return os.NewSyscallError("mount", err)
	}
	program, err := unix.OpenTree(unix.AT_FDCWD, self, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return fmt.Errorf("open %s: %w", self, err)
	}
	defer unix.Close(program)
	readOnly := &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
	err = unix.MountSetattr(unix.AT_FDCWD, "/", unix.AT_RECURSIVE, readOnly)
	if errors.Is(err, unix.ENOSYS) {
		err = fmt.Errorf("this kernel cannot make all mounts read-only, which needs Linux 5.12: %w", errors.ErrUnsupported)
	}
	if err != nil {
		return err
	}
	if err := openSysctls(); err != nil {
		return err
	}
	for _, dir := range hidden {
		if real, err := filepath.EvalSymlinks(dir); err != nil || real != dir {
			continue
		}
		if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "size=4m,mode=0755"); err != nil {
			return fmt.Errorf("mount on %s: %w", dir, err)
		}
	}
	if err := os.Mkdir(scratch, 0o700); err != nil {
		return err
	}
	for path, text := range map[string]string{leasesPath: "", configPath: config, scriptPath: ""} {
		if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
			return err
		}
	}
	return os.NewSyscallError("move_mount", unix.MoveMount(program, "", unix.AT_FDCWD, scriptPath, unix.MOVE_MOUNT_F_EMPTY_PATH))
}

// openSysctls leaves those of the network writable, which are the guest's:
// dhcpcd does not run without.
func openSysctls() error {
	const dir = "/proc/sys/net"
	if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount %s: %w", dir, err)
	}
	return unix.MountSetattr(unix.AT_FDCWD, dir, 0, &unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY})
}
