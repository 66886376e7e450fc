package spawn

import (
	"bytes"
	"fmt"
	"os"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// Rest lets go of the memory that only the start of this process took: garbage, and pages
// of the program's own file. Those that are still needed come back as they are used, from
// the page cache.
func Rest() {
	debug.FreeOSMemory()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return
	}
	self, err := os.Executable()
	if err != nil {
		return
	}
	for line := range bytes.Lines(maps) {
		var from, to uintptr
		var mode string
		_, err := fmt.Sscanf(string(line), "%x-%x %s", &from, &to, &mode)
		line = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte(" (deleted)")) // by an upgrade
		// What cannot be written to is as it is in the file.
		if err == nil && mode[1] == '-' && bytes.HasSuffix(line, []byte(" "+self)) {
			_, _, _ = unix.Syscall(unix.SYS_MADVISE, from, to-from, unix.MADV_DONTNEED)
		}
	}
}
