package nsfs

import (
	"os"
	"slices"
	"strconv"
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
