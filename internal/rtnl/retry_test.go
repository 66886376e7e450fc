package rtnl

import (
	"testing"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// TestRetry: a dump that is interrupted many times over comes to its end, and
// another error is told at once.
func TestRetry(t *testing.T) {
	asked := 0
	got, err := retry(func() ([]int, error) {
		if asked++; asked < 20 {
			return []int{1}, nl.ErrDumpInterrupted
		}
		return []int{1, 2}, nil
	})
	if err != nil || len(got) != 2 {
		t.Errorf("%v, %v", got, err)
	}
	asked = 0
	if got, err := retry(func() ([]int, error) { asked++; return []int{1}, unix.ENODEV }); err != unix.ENODEV || got != nil || asked != 1 {
		t.Errorf("%v, %v after %d", got, err, asked)
	}
}
