//go:build linux

package host

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/gopipework/gopipework/e2e/program"
)

// holdVariable in the environment makes this program a host's holder; its
// value is the host's directory.
const holdVariable = "GOPIPEWORK_HOLD"

// Main has to come first in every program that starts hosts: the holder is
// the same program, started again in namespaces of its own. So are a [Squatter] and
// what measures memory.
func Main() {
	if words := os.Getenv(squatVariable); words != "" {
		fmt.Fprintln(os.Stderr, squat(words))
		os.Exit(1)
	}
	if len(os.Args) > 2 && os.Args[1] == peakArgument {
		os.Exit(peak(os.Args[2:]))
	}
	dir := os.Getenv(holdVariable)
	if dir == "" {
		return
	}
	if err := hold(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// hold sets the host up, keeps it until standard input closes (which it does
// when the starter ends, in whatever way), and then undoes that.
func hold(dir string) error {
	undo, err := setUp()
	defer undo()
	if err != nil {
		return err
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
	return sweep(dir)
}

func setUp() (undo func(), err error) {
	undo = func() {}
	// Nothing mounted here may appear on the machine.
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_SLAVE, ""); err != nil {
		return undo, fmt.Errorf("make mounts private: %w", err)
	}
	// A /run of its own: named namespaces, locks, sockets of other engines.
	if err := syscall.Mount("tmpfs", "/run", "tmpfs", 0, "mode=755"); err != nil {
		return undo, fmt.Errorf("mount /run: %w", err)
	}
	// dockerd writes a key and reads its settings here, whatever one tells it.
	if os.Mkdir("/etc/docker", 0o755) == nil {
		undo = func() {
			_ = syscall.Unmount("/etc/docker", syscall.MNT_DETACH)
			_ = os.Remove("/etc/docker")
		}
	}
	if err := syscall.Mount("tmpfs", "/etc/docker", "tmpfs", 0, "mode=755"); err != nil {
		return undo, fmt.Errorf("mount /etc/docker: %w", err)
	}
	// The first named namespace leaves a mount: have it now, before anybody looks.
	for _, line := range []string{"link set lo up", "netns add first", "netns delete first"} {
		if out, err := program.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
			return undo, fmt.Errorf("ip %s: %w: %s", line, err, out)
		}
	}
	return undo, nil
}

// sweep ends every process of the host, and removes its mounts, its control
// groups and its directory.
func sweep(dir string) error {
	group := cgroupName(dir)
	left := func() bool {
		thaw(group)
		victims := processes(group)
		for _, pid := range victims {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		return len(victims) == 0
	}
	if !Poll(Patience, left) {
		return fmt.Errorf("processes %v do not end", processes(group))
	}
	for _, m := range slices.Backward(mountsUnder(dir)) {
		_ = syscall.Unmount(m, syscall.MNT_DETACH)
	}
	var err error
	gone := func() bool {
		err = os.RemoveAll(dir)
		for _, d := range slices.Backward(cgroups(group)) {
			err = errors.Join(err, os.Remove(d))
		}
		return err == nil
	}
	Poll(Patience, gone)
	return err
}

// processes finds what runs on this host: what shares our mount or our network namespace,
// and what is in the engine's control groups, which is the containers.
func processes(group string) (pids []int) {
	ours := map[string]string{}
	for _, kind := range []string{"mnt", "net"} {
		ns, err := os.Readlink("/proc/self/ns/" + kind)
		if err != nil {
			return nil
		}
		ours[kind] = ns
	}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		mine := false
		for kind, own := range ours {
			ns, _ := os.Readlink("/proc/" + e.Name() + "/ns/" + kind) // "": ended, or about to
			mine = mine || ns == own
		}
		if mine {
			pids = append(pids, pid)
			continue
		}
		if b, _ := os.ReadFile("/proc/" + e.Name() + "/cgroup"); inGroup(string(b), group) {
			pids = append(pids, pid)
		}
	}
	return pids
}

func cgroupName(dir string) string { return filepath.Base(dir) }

// inGroup says whether a path leads through a host's control group, or through
// the slice of its machines.
func inGroup(path, group string) bool {
	return strings.Contains(path, "/"+group+"/") || strings.Contains(path, "/"+group+".slice/")
}

// cgroups lists the host's control group directories in every hierarchy,
// parents before children.
func cgroups(group string) (dirs []string) {
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && inGroup(path+"/", group) {
			dirs = append(dirs, path)
		}
		return nil
	})
	return dirs
}

// thaw lets paused containers run, because what is frozen cannot die.
func thaw(group string) {
	for _, d := range cgroups(group) {
		for file, word := range map[string]string{"freezer.state": "THAWED", "cgroup.freeze": "0"} {
			if _, err := os.Stat(filepath.Join(d, file)); err == nil {
				_ = os.WriteFile(filepath.Join(d, file), []byte(word), 0)
			}
		}
	}
}

func mountsUnder(dir string) (points []string) {
	b, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], dir+"/") {
			points = append(points, f[4])
		}
	}
	return points
}
