//go:build linux

package e2e

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/gopipework/gopipework/e2e/host"
)

// report is what of the JSON output of iperf3 matters here.
type report struct {
	Error string `json:"error"`
	End   struct {
		Received sum `json:"sum_received"`
	} `json:"end"`
	Server struct { // what the other side has seen
		Intervals []struct {
			Sum sum `json:"sum"`
		} `json:"intervals"`
	} `json:"server_output_json"`
}

type sum struct {
	Bytes   float64 `json:"bytes"`
	Seconds float64 `json:"seconds"`
	Rate    float64 `json:"bits_per_second"`
}

// serve has iperf3 listen in a guest until the test ends.
func (m *machine) serve(g *host.Guest) {
	m.t.Helper()
	cmd := g.Command(context.Background(), "iperf3", "-s", "-J")
	m.check(cmd.Start())
	m.t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	m.listens(g, 5201)
}

// measure runs iperf3 in a guest. Its server is deaf for a moment after each
// client.
func (m *machine) measure(g *host.Guest, args ...string) (r report) {
	m.t.Helper()
	var out host.Result
	var err error
	answers := func() bool {
		r = report{}
		out = g.Run("iperf3", append([]string{"-J", "--get-server-output", "--connect-timeout", "5000", "-c"}, args...)...)
		err = json.Unmarshal([]byte(out.Stdout), &r)
		return err == nil && out.Code == 0 && r.Error == ""
	}
	if !host.Poll(30*time.Second, answers) {
		m.t.Fatalf("iperf3: %v\n%v", err, out)
	}
	return r
}

const mbit = 1e6

// limited measures until the rate is within a tenth of want. A machine that is busy
// with other things may make it less, a few times; or more, where what had come in
// before the server began to count is read in no time.
func (m *machine) limited(what string, want float64, measure func() float64) {
	m.t.Helper()
	const tries = 5
	for n := 1; ; n++ {
		got := measure()
		switch {
		case 0.9*want <= got && got <= 1.1*want:
			return
		case n == tries:
			m.t.Errorf("%s: %.2f Mbit/s, limited to %.0f", what, got/mbit, want/mbit)
			return
		}
		m.t.Logf("%s: %.2f Mbit/s, limited to %.0f; once more", what, got/mbit, want/mbit)
	}
}

// A rate is what TCP gets, in either direction, on each kind; and set changes
// it within a connection.
func TestShaping(t *testing.T) {
	need(t, "iperf3")
	for _, kind := range []struct {
		name, hostIF string
		ready        func(m *machine)
	}{
		{"bridge", "br1", func(*machine) {}},
		{"macvlan", "nic0", func(m *machine) {
			m.check(m.Batch("link add nic0 type veth peer name wire", "link set wire addrgenmode none up", "link set nic0 addrgenmode none up"))
		}},
		{"ovs", "ovs0", func(m *machine) {
			_, err := m.StartOVS()
			m.check(err)
		}},
	} {
		t.Run(kind.name, func(t *testing.T) {
			if kind.name == "ovs" {
				need(t, "ovs")
			}
			m := newMachine(t)
			kind.ready(m)
			web, db := m.guest(), m.guest()
			check := m.unchanged(web, db)
			m.quiet(kind.hostIF, db.Word, "10.0.0.2/24")
			m.quiet(kind.hostIF, web.Word, "10.0.0.1/24", "--rate-out", "10mbit", "--rate-in", "5mbit")
			m.serve(db)
			m.limited("out", 10*mbit, func() float64 { return m.measure(web, "10.0.0.2", "-t", "2").End.Received.Rate })
			m.limited("in", 5*mbit, func() float64 { return m.measure(web, "10.0.0.2", "-t", "2", "-R").End.Received.Rate })

			m.setLive(web)

			if s := m.list(web.Word)[0].Shaping; s == nil || s.RateOut != "20mbit" || s.RateIn != "5mbit" {
				t.Errorf("list: %+v", s)
			}
			m.says("list", m.ok("list", web.Word).Stdout, "SHAPING", "rate-in 5mbit, rate-out 20mbit")
			f := m.fails("conflict", kind.hostIF, web.Word, "10.0.0.1/24", "--rate-out", "10mbit")
			m.says("the conflict", f.Error.Message+f.Error.Hint, "rate-out 20mbit", "gopipework set "+web.Word+" eth1 --rate-out 10mbit")
			m.quiet(kind.hostIF, web.Word, "10.0.0.1/24")
			m.quiet("set", web.Word, "eth1", "--rate-in", "none", "--rate-out", "none")
			if s := m.list(web.Word)[0].Shaping; s != nil {
				t.Errorf("list: %+v", s)
			}
			m.quiet("set", web.Word, "eth1", "--rate-in", "5mbit")
			if kind.name == "ovs" {
				m.quiet("set", web.Word, "eth1", "--vlan", "10,20-30")
				if v := m.list(web.Word)[0].Host.VLAN; v != "10,20-30" {
					t.Errorf("VLAN %v", v)
				}
				m.cut(web, "10.0.0.2")
				m.quiet("set", web.Word, "eth1", "--vlan", "none")
				m.reaches(web, "10.0.0.2")
			}
			m.quiet("detach", web.Word)
			m.quiet("detach", db.Word)
			check("after detach")
		})
	}
}

// setLive raises the rate while a connection runs: it goes on, and faster.
func (m *machine) setLive(web *host.Guest) {
	m.t.Helper()
	m.limited("out, changed in a connection", 20*mbit, func() float64 {
		m.quiet("set", web.Word, "eth1", "--rate-out", "10mbit")
		done := make(chan report, 1)
		// At 10 Mbit/s it takes more than eight seconds.
		go func() {
			defer close(done)
			done <- m.measure(web, "10.0.0.2", "-n", "12M")
		}()
		running := func() bool {
			return strings.Count(web.Run("ss", "-Htn", "state", "established").Stdout, ":5201") == 2 // control and data
		}
		if !host.Poll(30*time.Second, running) {
			m.t.Error("there is no connection")
		}
		time.Sleep(2 * time.Second)
		m.quiet("set", web.Word, "eth1", "--rate-out", "20mbit")
		r := <-done
		if len(r.Server.Intervals) < 5 {
			m.t.Logf("too short: %+v", r)
			return 0
		}
		// So it is one connection that both rates were those of.
		if first := r.Server.Intervals[0].Sum.Rate; first > 11*mbit {
			m.t.Logf("it began with %.2f Mbit/s", first/mbit)
			return 0
		}
		var all sum
		for _, i := range r.Server.Intervals[3 : len(r.Server.Intervals)-1] {
			all.Bytes += i.Sum.Bytes
			all.Seconds += i.Sum.Seconds
		}
		return 8 * all.Bytes / all.Seconds
	})
}
