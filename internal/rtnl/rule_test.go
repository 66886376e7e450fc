package rtnl

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestRules(t *testing.T) {
	needRoot(t)
	s := newSpace(t)
	s.sh("ip rule add from 10.0.0.0/8 lookup 7 priority 5; ip rule add fwmark 1 lookup 8 priority 6; ip rule add from 10.0.0.3 suppress_prefixlength 0 lookup main priority 7")
	wanted := []Rule{
		{From: netip.MustParseAddr("10.0.0.2"), Table: 264801, Priority: 26480, Protocol: 103},
		{From: netip.MustParseAddr("2001:db8::2"), Table: 9, Priority: 26481, Protocol: 103},
	}
	for _, r := range wanted {
		ok(t, "add", s.AddRule(r))
		answers(t, "add again", s.AddRule(r), unix.EEXIST)
	}
	if text := s.sh("ip rule; ip -6 rule"); !strings.Contains(text, "26480:\tfrom 10.0.0.2 lookup 264801 proto 103") ||
		!strings.Contains(text, "26481:\tfrom 2001:db8::2 lookup 9 proto 103") {
		t.Errorf("ip rule says:\n%s", text)
	}
	rules, err := s.Rules()
	ok(t, "list", err)
	for _, r := range wanted {
		if !slices.Contains(rules, r) {
			t.Errorf("%+v is not listed: %+v", r, rules)
		}
	}
	for _, r := range rules {
		if r.Table != 0 && !slices.Contains(wanted, r) {
			t.Errorf("%+v is listed as one of a plain source address", r)
		}
	}
	for _, r := range wanted {
		ok(t, "delete", s.DelRule(r))
		answers(t, "delete again", s.DelRule(r), unix.ENOENT)
	}
}

func has(routes []Route, r Route) bool {
	return slices.ContainsFunc(routes, func(o Route) bool { return reflect.DeepEqual(o, r) })
}

func TestRoutesOfTables(t *testing.T) {
	needRoot(t)
	s := newSpace(t)
	s.sh("ip link add v0 type veth peer name v1; ip link set v0 up; ip link set v1 up; ip address add 10.0.0.2/24 dev v0")
	index := s.link("v0").Index
	for _, r := range []Route{
		{Dst: netip.MustParsePrefix("10.1.0.0/16"), Gateway: netip.MustParseAddr("10.0.0.1"), Index: index, Table: 264801, Protocol: 103},
		{Dst: netip.MustParsePrefix("10.2.0.0/16"), Index: index, Metric: 5, Protocol: 103},
		{Dst: netip.MustParsePrefix("2001:db8:1::/64"), Index: index, Metric: 7, Table: 9, Protocol: 103},
	} {
		ok(t, "add", s.AddRoute(r, false))
		all, err := s.AllRoutes()
		ok(t, "list", err)
		if !has(all, r) {
			t.Errorf("%+v is not listed: %+v", r, all)
		}
		main, err := s.Routes()
		ok(t, "list main", err)
		if has(main, r) != (r.Table == 0) {
			t.Errorf("main table %+v; %+v is of table %d", main, r, r.Table)
		}
		ok(t, "delete", s.DelRoute(r))
		if all, _ = s.AllRoutes(); has(all, r) {
			t.Errorf("%+v is still there", r)
		}
	}
}
