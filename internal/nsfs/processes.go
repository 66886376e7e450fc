package nsfs

import (
	"os"
	"slices"
	"strconv"
)

// Processes returns the process IDs that /proc shows, in their order: a
// container's first process comes before its children, unless the numbers have
// wrapped around.
func Processes() []int {
	entries, _ := os.ReadDir("/proc")
	var pids []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids
}
