//go:build linux

package e2e

import "testing"

// A duplicate IPv4 address is refused with --acd, on each kind of network: the
// error has the holder's MAC address, and nothing is left.
func TestDuplicateIPv4(t *testing.T) {
	e := newEngine(t)
	e.container("web", "--network", "none")
	e.container("db", "--network", "none")
	t.Run("bridge", func(t *testing.T) { e.in(t).duplicate("brtest") })
	t.Run("macvlan", func(t *testing.T) {
		e := e.in(t)
		e.check(e.Batch("link add nic0 type veth peer name wire", "link set nic0 up", "link set wire up"))
		e.duplicate("nic0")
	})
	t.Run("ovs", func(t *testing.T) {
		need(t, "ovs")
		_, err := e.StartOVS()
		e.in(t).check(err)
		e.in(t).duplicate("ovsbr0")
	})
}

func (e *engine) duplicate(hostIF string) {
	e.t.Helper()
	web, db := e.guestOf("web"), e.guestOf("db")
	e.quiet(hostIF, "--acd", "web", "192.168.1.2/24", "02:00:00:00:77:01")
	check := e.unchanged(web, db)
	f := e.fails("conflict", "--acd", hostIF, "db", "192.168.1.2/24")
	e.says("the error", f.Error.Object+" "+f.Error.Message, "192.168.1.2", "02:00:00:00:77:01")
	check("after the refusal")
	e.quiet(hostIF, "--acd", "db", "192.168.1.3/24")
	e.quiet(hostIF, "--acd", "db", "192.168.1.3/24")
	e.reaches(db, "192.168.1.2")
	e.quiet("detach", "db")
	e.quiet("detach", "web")
}
