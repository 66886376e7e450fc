package rtnl

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// What of a link could not be restored is named, with the command for it.
func TestRestoreNames(t *testing.T) {
	needRoot(t)
	t.Parallel()
	s := newSpace(t)
	s.sh(`ip link add nic type veth peer name wire; ip link set nic up; ip link property add dev nic altname uplink`)
	nic := s.link("nic").Index
	k, err := s.Keep(nic)
	ok(t, "keep", err)

	s.sh(`ip link property del dev nic altname uplink; ip link property add dev wire altname uplink`)
	k.Sysctls = map[string]string{"ipv4/forwarding": "many"}
	err = restore(s, nic, k)
	answers(t, "a name that another link has", err, unix.EEXIST)
	answers(t, "a sysctl that takes no word", err, unix.EINVAL)
	for _, want := range []string{"ip link property add dev nic altname uplink: ", "sysctl -w net/ipv4/conf/nic/forwarding=many: "} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the message lacks %q: %v", want, err)
		}
	}

	k.MTU = 1 << 20
	err = restore(s, nic, k)
	answers(t, "an MTU that is too big", err, unix.EINVAL)
	if want := "ip link set dev nic mtu 1048576 "; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("the message lacks %q: %v", want, err)
	}
}
