package rtnl

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestTxChecksum(t *testing.T) {
	needRoot(t)
	s := newSpace(t)
	s.sh("ip link add eth1 type veth peer name far")
	index := s.link("eth1").Index
	for _, want := range []bool{true, false, false, true} { // a veth begins with on
		if !want || s.offload("eth1") != want {
			ok(t, "set", s.SetTxChecksum(index, want))
		}
		got, err := s.TxChecksum(index)
		if err != nil || got != want || s.offload("eth1") != want {
			t.Errorf("TxChecksum: %v, %v, ethtool: %v, want %v", got, err, s.offload("eth1"), want)
		}
	}
	answers(t, "set on lo", s.SetTxChecksum(s.link("lo").Index, false), unix.EOPNOTSUPP)
	answers(t, "set on nothing", s.SetTxChecksum(9999, false), ErrNotFound)
}

// offload is what ethtool says.
func (s space) offload(name string) bool {
	s.t.Helper()
	return strings.Contains(s.sh("ethtool -k "+name), "tx-checksumming: on")
}
