package rtnl

import (
	"maps"
	"testing"

	"golang.org/x/sys/unix"
)

// TestSysctls: many are read at once, in the namespace of the Conn, and one that there
// is not is left out. One that cannot be read is an error, and no gap.
func TestSysctls(t *testing.T) {
	needRoot(t)
	s := newSpace(t)
	const forward, ignore = "ipv4/conf/lo/forwarding", "ipv4/conf/lo/arp_ignore"
	ok(t, "set", s.SetSysctl(forward, "1"))
	ok(t, "set", s.SetSysctl(ignore, "8"))
	values, err := s.Sysctls(forward, "ipv4/conf/nosuch/forwarding", ignore)
	ok(t, "read", err)
	if want := map[string]string{forward: "1", ignore: "8"}; !maps.Equal(values, want) {
		t.Errorf("read %v, want %v", values, want)
	}
	_, err = s.Sysctls(forward, "ipv4/conf/lo")
	answers(t, "read a directory", err, unix.EISDIR)
}
