//go:build linux

package host

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/gopipework/gopipework/e2e/program"
)

// peakArgument makes this program run another one and report its memory.
const peakArgument = "gopipework-peak"

// Peak runs a command on the host and also says how much memory it had at
// most, in KiB. What a process reports as its maximum begins with its parent's,
// so a small parent is put in between; that one's own few MB are the least
// that can be seen.
func (h *Host) Peak(name string, args ...string) (Result, int64, error) {
	self, err := os.Executable()
	if err != nil {
		return Result{}, 0, err
	}
	r := h.Run(self, append([]string{peakArgument, name}, args...)...)
	r.Args = append([]string{name}, args...)
	text, last, ok := cutLast(strings.TrimSuffix(r.Stderr, "\n"), peakArgument+" ")
	if !ok {
		return r, 0, fmt.Errorf("measure memory: %v", r)
	}
	r.Stderr = text
	kib, err := strconv.ParseInt(last, 10, 64)
	return r, kib, err
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

func peak(args []string) (code int) {
	cmd := program.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	_ = cmd.Run()
	if cmd.ProcessState == nil {
		return 127
	}
	fmt.Fprintln(os.Stderr, peakArgument, cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss)
	return ExitCode(cmd.ProcessState)
}
