package rtnl

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestPortVLANs(t *testing.T) {
	needRoot(t)
	s := newSpace(t)
	s.sh("ip link add br0 type bridge; ip link add port type veth peer name far; ip link set port master br0")
	br, port := s.link("br0").Index, s.link("port").Index
	err := s.SetVLANFiltering(br, true)
	if err != nil {
		// Such a kernel says so each time, and lists nothing.
		answers(t, "filtering", err, unix.EOPNOTSUPP)
		answers(t, "adding", s.AddPortVLANs(port, []PortVLAN{{First: 10, Last: 10}}), unix.EOPNOTSUPP)
		ok(t, "delete", s.DelPortVLANs(port, []PortVLAN{{First: 10, Last: 10}}))
		vlans, err := s.PortVLANs()
		if err != nil || len(vlans) != 0 {
			t.Errorf("VLANs: %v, %v", vlans, err)
		}
		lacking(t, "vlan_filtering", unix.EOPNOTSUPP)
	}
	if !s.link("br0").VLANFiltering {
		t.Error("vlan_filtering is off")
	}
	want := func(vlans ...PortVLAN) {
		t.Helper()
		got, err := s.PortVLANs()
		ok(t, "list VLANs", err)
		if diff := cmp.Diff(vlans, got[port]); diff != "" {
			t.Errorf("VLANs of the port (-want +got):\n%s", diff)
		}
	}
	want(PortVLAN{First: 1, Last: 1, PVID: true, Untagged: true}) // a bridge's default
	ok(t, "delete", s.DelPortVLANs(port, []PortVLAN{{First: 1, Last: 1}}))
	want()
	ok(t, "add", s.AddPortVLANs(port, []PortVLAN{
		{First: 10, Last: 10, PVID: true, Untagged: true}, {First: 20, Last: 30}, {First: 40, Last: 40}, {First: 50, Last: 60, Untagged: true}}))
	want(PortVLAN{First: 10, Last: 10, PVID: true, Untagged: true}, PortVLAN{First: 20, Last: 30},
		PortVLAN{First: 40, Last: 40}, PortVLAN{First: 50, Last: 60, Untagged: true})
	shown := strings.Join(strings.Fields(s.sh("bridge -compressvlans vlan show dev port")), " ")
	if !strings.HasSuffix(shown, "port 10 PVID Egress Untagged 20-30 40 50-60 Egress Untagged") {
		t.Errorf("bridge vlan show: %s", shown)
	}
	ok(t, "delete some", s.DelPortVLANs(port, []PortVLAN{{First: 22, Last: 24}, {First: 50, Last: 60}}))
	want(PortVLAN{First: 10, Last: 10, PVID: true, Untagged: true}, PortVLAN{First: 20, Last: 21},
		PortVLAN{First: 25, Last: 30}, PortVLAN{First: 40, Last: 40})
	ok(t, "switch off", s.SetVLANFiltering(br, false))
	if s.link("br0").VLANFiltering {
		t.Error("vlan_filtering is on")
	}
}

func TestPortVLANsOutOfRange(t *testing.T) {
	for _, v := range []PortVLAN{{}, {First: 0, Last: 5}, {First: 9, Last: 8}, {First: 4000, Last: 4095}, {First: 10, Last: 12, PVID: true}} {
		_, err := v.entries()
		answers(t, "range", err, unix.EINVAL)
	}
}
