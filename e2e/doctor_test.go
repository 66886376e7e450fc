//go:build linux

package e2e

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	findings "github.com/gopipework/gopipework/internal/finding"
)

// fault is something that keeps packets from flowing, made alone on a way that is
// otherwise well.
type fault struct {
	name    string               // of the finding, such as forward-drop
	what    string               // distinguishes several rows of one finding
	set     func(*machine)       // sets up the way; nil: twoOnBridge
	doctor  string               // words of doctor; "": netns:web --to netns:db
	do      string               // commands on the host that make the fault
	mend    string               // commands that mend it where doctor prints none
	printed bool                 // doctor prints some, which take a program that is not here
	doubt   bool                 // packets flow all the same: exit code 0, and the finding is a doubt
	healed  func(*machine) error // what must hold after the mend; nil: nothing more
	kernels bool                 // this kernel lacks it: see kernels.sh
}

// faults are the rows of each place on the way.
var faults = [][]fault{guestFaults, bridgeFaults, cardFaults, ovsFaults, firewallFaults, farFaults, uplinkFaults}

// diagnosis is the document of doctor --json.
type diagnosis struct {
	Guest   json.RawMessage `json:"guest"`
	Verdict string          `json:"verdict"`
	Hops    []struct {
		Interface string   `json:"interface"`
		Name      string   `json:"name"`
		Kind      string   `json:"kind"`
		Facts     []string `json:"facts"`
		Verdict   string   `json:"verdict"`
		finding
		More []finding `json:"more"`
	} `json:"hops"`
}

type finding struct {
	ID       string   `json:"id"`
	Finding  string   `json:"finding"`
	Reason   string   `json:"reason"`
	Evidence []string `json:"evidence"`
	Mend     []string `json:"mend"`
}

// found returns the names of what was found.
func (d diagnosis) found() (names []string) {
	for _, h := range d.Hops {
		if h.Finding != "" {
			names = append(names, h.Finding)
		}
		for _, f := range h.More {
			names = append(names, f.Finding)
		}
	}
	return names
}

// mend returns the commands that are printed.
func (d diagnosis) mend() (commands []string) {
	for _, h := range d.Hops {
		commands = append(commands, h.Mend...)
	}
	return commands
}

// doctor runs it, and returns its document.
func (m *machine) doctor(words string) (d diagnosis, code int, text string) {
	m.t.Helper()
	r := m.gopipework(append([]string{"doctor", "--json"}, strings.Fields(words)...)...)
	return decode[diagnosis](m.t, r), r.Code, r.String()
}

// well fails the test unless doctor finds nothing.
func (m *machine) well(when, words string) {
	m.t.Helper()
	if d, code, text := m.doctor(words); code != 0 || d.found() != nil {
		m.t.Errorf("%s doctor exits with %d and finds %v:\n%s", when, code, d.found(), text)
	}
}

// twoOnBridge attaches web and db to brtest.
func twoOnBridge(m *machine) {
	for name, address := range map[string]string{"web": "10.0.0.2/24", "db": "10.0.0.3/24"} {
		m.named(name)
		m.ok("brtest", "netns:"+name, address, "-l", name+"0")
	}
}

// TestFaults: doctor names what was done, and nothing else; the commands that it prints
// mend it, and then it finds nothing.
func TestFaults(t *testing.T) {
	for _, rows := range faults {
		for _, f := range rows {
			if f.kernels {
				continue
			}
			t.Run(strings.TrimSpace(f.name+" "+f.what), func(t *testing.T) { f.try(newMachine(t)) })
		}
	}
}

// TestFaultsKernels: the same of what only the other kernel has.
func TestFaultsKernels(t *testing.T) {
	need(t, "root", "kernels")
	for _, rows := range faults {
		for _, f := range rows {
			if f.kernels {
				t.Run(strings.TrimSpace(f.name+" "+f.what), func(t *testing.T) { f.try(newMachine(t)) })
			}
		}
	}
}

// elsewhere are the findings that have no row: the test that has them, or why there is none.
var elsewhere = map[string]string{
	"firewall-unseen": "a machine that has the rules of iptables-legacy has its programs; see TestFirewallLiveNoTools of bridge/firewall",
	"no-carrier":      "TestNoCarrier",
	"table-full":      "takes Linux 6.8 and ip of iproute2 6.6",
	"ovs-silent":      "TestOVSSilent",
	"parent-wireless": "takes a radio",
	"far-silent":      "takes a host whose namespace cannot be entered",
	"unseen":          "is about whatever cannot be read",
	"lost":            "is about what is not known",
}

// TestEveryFinding: each has a row, or is accounted for.
func TestEveryFinding(t *testing.T) {
	tried := map[string]bool{}
	for _, rows := range faults {
		for _, f := range rows {
			tried[f.name] = true
			if findings.Named(f.name) == nil {
				t.Errorf("there is no finding %s", f.name)
			}
		}
	}
	for _, k := range findings.All {
		if _, is := elsewhere[k.Name]; is == tried[k.Name] {
			t.Errorf("%s: row %t, elsewhere %t", k, tried[k.Name], is)
		}
	}
}

func (f fault) try(m *machine) {
	set, words := f.set, f.doctor
	if set == nil {
		set = twoOnBridge
	}
	if words == "" {
		words = "netns:web --to netns:db"
	}
	set(m)
	m.well("before the fault", words)
	m.sh(strings.ReplaceAll(f.do, "@firewalld@", firewalldRules(m)))
	d, code, text := m.doctor(words)
	want := 1
	if f.doubt {
		want = 0
	}
	if found := d.found(); !slices.Equal(found, []string{f.name}) || code != want {
		m.t.Fatalf("doctor exits with %d and finds %v, want %d and %s:\n%s", code, found, want, f.name, text)
	}
	mend := strings.Join(d.mend(), "\n")
	if (mend == "") != (f.mend != "") && !f.printed {
		m.t.Fatalf("doctor prints %q to mend it", mend)
	}
	if f.mend != "" {
		mend = f.mend
	}
	m.sh(mend)
	m.well("after the mend", words)
	if f.healed != nil {
		m.check(f.healed(m))
	}
}
