package nsfs

import (
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Processes returns the process IDs that /proc shows, in their order: a
// container's first process comes before its children, unless the numbers have
// wrapped around. Without a /proc there are none.
func Processes() ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if Starved(err) {
		return nil, err
	}
	var pids []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids, nil
}

// Command returns the name of a process (proc_pid_comm(5)); "" if there is none.
func Command(pid int) string {
	text, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm")
	return strings.TrimSuffix(string(text), "\n")
}

// PIDs returns the inode number of our PID namespace, by which process IDs that are noted
// down can be read later: in another one they mean other processes, or none. 0 if /proc is
// not that of this process.
func PIDs() uint64 {
	var st unix.Stat_t
	if unix.Stat("/proc/self/ns/pid", &st) != nil {
		return 0
	}
	return st.Ino
}

// Counts reports whether a process ID that was noted down in the PID namespace of an inode
// number means the same process here; 0: it is not known where.
func Counts(inode uint64) bool { return inode == 0 || inode == PIDs() }
