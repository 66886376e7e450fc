//go:build linux

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gopipework/gopipework/e2e/host"
)

// appliedResult is the document of apply, diff and destroy.
type appliedResult struct {
	Name     string     `json:"name"`
	Changes  []applied  `json:"changes"`
	Changed  bool       `json:"changed"`
	Same     int        `json:"same"`
	Pending  int        `json:"pending"`
	Failed   int        `json:"failed"`
	Warnings []string   `json:"warnings"`
	Error    *errorText `json:"error"`
}

type applied struct {
	Action string `json:"action"`
	Line   string `json:"line"`
	At     struct {
		File   string `json:"file"`
		Line   int    `json:"line"`
		Column int    `json:"column"`
	} `json:"at"`
	Differences []struct {
		What  string `json:"what"`
		There string `json:"there"`
		Asked string `json:"asked"`
	} `json:"differences"`
	Reason      string       `json:"reason"`
	Again       bool         `json:"again"`
	Attachments []attachment `json:"attachments"`
	Done        bool         `json:"done"`
	Steps       []string     `json:"steps"`
	Error       *errorText   `json:"error"`
}

// topology writes a file of attachments, one a line, and returns its path.
func (m *machine) topology(name string, lines ...string) string {
	m.t.Helper()
	path := filepath.Join(m.Dir, name+".yaml")
	text := "attachments:\n"
	for _, l := range lines {
		text += "  - " + l + "\n"
	}
	m.check(os.WriteFile(path, []byte(text), 0o644))
	return path
}

// differs are the lines that diff prints, which exits with 2 if there are any of a
// difference.
func (m *machine) differs(file string, code int) []string {
	m.t.Helper()
	r := m.gopipework("diff", "-f", file)
	if r.Code != code {
		m.t.Errorf("exit %d, want %d:\n%v", r.Code, code, r)
	}
	return slices.DeleteFunc(strings.Split(r.Stdout, "\n"), func(l string) bool { return l == "" })
}

// places are the indexes of both ends of the attachments, by guest.
func (m *machine) places(guests []*host.Guest) map[string][2]int {
	m.t.Helper()
	all := map[string][2]int{}
	onHost, err := m.Links()
	m.check(err)
	for _, a := range m.list() {
		for _, g := range guests {
			if a.Guest.Name == strings.TrimPrefix(g.Word, "netns:") {
				inside, err := g.Links()
				m.check(err)
				all[g.Word] = [2]int{onHost[a.Host.Port].Index, inside[a.Interface.Name].Index}
			}
		}
	}
	return all
}

// TestApply: a file of many attachments over four bridges is made, is no difference then,
// and once it is changed in places only these are touched.
func TestApply(t *testing.T) {
	need(t, "strace")
	m := newMachine(t)
	const n = 24
	var guests []*host.Guest
	var lines []string
	for i := range n {
		g := m.named(fmt.Sprintf("g%d", i))
		guests = append(guests, g)
		lines = append(lines, fmt.Sprintf("br%d netns:g%d 10.%d.0.%d/24", i%4, i, i%4, i+1))
	}
	typed := m.named("typed")
	check := m.unchanged(append(guests, typed)...)
	m.ok("br0", typed.Word, "10.0.0.200/24")
	file := m.topology("lab", lines...)

	if got := m.differs(file, 2); len(got) != n || got[0] != "+ br0 netns:g0 10.0.0.1/24 (it is not there)" {
		t.Errorf("before: %q", got)
	}
	if r := m.ok("apply", "-f", file, "--dry-run"); strings.Count(r.Stdout, "\n+ ") != n-1 || len(m.list()) != 1 {
		t.Errorf("a dry run: %v", r)
	}
	m.ok("apply", "-f", file)
	for _, a := range m.list() {
		want := "file:lab"
		if a.Guest.Name == "typed" {
			want = "line"
		}
		if a.Origin != want || a.State != "complete" {
			t.Errorf("%s has origin %q and state %s", a.Guest.Name, a.Origin, a.State)
		}
	}
	m.reaches(guests[0], "10.0.0.5")
	if got := m.differs(file, 0); len(got) > 0 {
		t.Errorf("after: %q", got)
	}

	writes := func(r host.Requests) (all []string) {
		for _, one := range r {
			if regexp.MustCompile(`^route (NEW|DEL|SET)`).MatchString(one) && one != "route NEWNSID" {
				all = append(all, one)
			}
		}
		return all
	}
	again, err := m.RequestsAlone("gopipework", "apply", "-f", file)
	m.check(err)
	if w := writes(again); len(w) > 0 || again.Count("route") == 0 {
		t.Errorf("an apply with nothing to do changes something: %q", w)
	}

	before := m.places(guests)
	lines[1] = "br1 netns:g1 10.1.0.101/24"                 // in place
	lines[2] = "br2 netns:g2 10.2.0.3/24 --mtu 1400"        // in place
	lines[3] = "br3 netns:g3 10.3.0.4/24 --rate-out 10mbit" // in place
	lines[4] = "br2 netns:g4 10.0.0.5/24"                   // again
	lines[5] = "br1 netns:g5 10.1.0.6/24@10.1.0.9"          // again
	m.topology("lab", slices.Delete(slices.Clone(lines), 6, 7)...)
	want := []string{
		"- detach netns:g6 eth1 (gone from the file)",
		"~ br1 netns:g1 10.1.0.101/24 (address 10.1.0.2/24 -> 10.1.0.101/24)",
		"~ br2 netns:g2 10.2.0.3/24 --mtu 1400 (MTU 1500 -> 1400)",
		"~ br3 netns:g3 10.3.0.4/24 --rate-out 10mbit (rate-out none -> 10mbit)",
		"~ br2 netns:g4 10.0.0.5/24 (bridge br0 -> br2, detached and attached again)",
		"~ br1 netns:g5 10.1.0.6/24@10.1.0.9 (gateway none -> 10.1.0.9, detached and attached again)",
	}
	if got := m.differs(file, 2); !slices.Equal(got, want) {
		t.Errorf("the difference:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	r := m.ok("apply", "-f", file)
	if !strings.Contains(r.Stderr, "eth1 of netns:g6 is not in the file any more") || len(m.places(guests)) != n {
		t.Errorf("without --prune: %v", r)
	}
	m.ok("apply", "-f", file, "--prune")
	after := m.places(guests)
	for i, g := range guests {
		switch same := before[g.Word] == after[g.Word]; {
		case i == 6:
			if _, there := after[g.Word]; there {
				t.Errorf("%s is still attached", g.Word)
			}
		case i == 4 || i == 5:
			if same {
				t.Errorf("%s was not attached again", g.Word)
			}
		case !same:
			t.Errorf("%s was touched: %v, then %v", g.Word, before[g.Word], after[g.Word])
		}
	}
	m.reaches(guests[1], "10.1.0.10")
	m.reaches(guests[4], "10.0.0.5")
	if got := m.differs(file, 0); len(got) > 0 {
		t.Errorf("after the changes: %q", got)
	}

	m.check(os.Remove(file))
	m.ok("destroy", "lab")
	if all := m.list(); len(all) != 1 || all[0].Guest.Name != "typed" {
		t.Errorf("destroy left %+v", all)
	}
	m.ok("destroy", "file:lab") // as the list has it
	m.ok("detach", typed.Word)
	check("after destroy")
}

// TestApplyDocker: a container that does not run is pending; once it is started again, its
// attachment is missing, and made.
func TestApplyDocker(t *testing.T) {
	e := withDocker(t)
	for _, name := range []string{"web", "db"} {
		e.container(name, "--network", "none", host.Image, "sleep", "86400")
	}
	check := e.unchanged()
	file := e.topology("shop", "br1 web 10.0.0.2/24", "br1 docker:db 10.0.0.3/24", "br1 later 10.0.0.4/24")
	got := decode[appliedResult](t, e.ok("apply", "-f", file, "--json"))
	if !got.Changed || got.Pending != 1 || got.Failed != 0 || len(got.Changes) != 3 || !got.Changes[0].Done || got.Changes[2].Action != "pending" || got.Changes[2].At.Line != 4 {
		t.Errorf("got %+v", got)
	}
	e.reaches(e.guestOf("web"), "10.0.0.3")
	if r := e.gopipework("apply", "-f", file, "--strict"); r.Code != 1 || !strings.Contains(r.Stderr, "1 entry is pending") {
		t.Errorf("--strict: %v", r)
	}
	asked, err := e.Requests("gopipework", "apply", "-f", file)
	e.check(err)
	if n := asked.Count("socket"); n != 3 { // the list, and the two that there are
		t.Errorf("%d requests of Docker, want 3:\n%s", n, strings.Join(asked, "\n"))
	}
	e.docker("restart", "-t", "0", "web")
	want := []string{"+ br1 web 10.0.0.2/24 (it is not there)", "? br1 later 10.0.0.4/24 (pending: "}
	if got := e.differs(file, 2); !slices.EqualFunc(got, want, strings.HasPrefix) {
		t.Errorf("after a restart: %q, want %q", got, want)
	}
	e.ok("apply", "-f", file)
	e.reaches(e.guestOf("web"), "10.0.0.3")
	e.docker("stop", "-t", "0", "db")
	if lines := e.differs(file, 0); len(lines) != 2 || !strings.Contains(lines[0], "it has exited") {
		t.Errorf("with db stopped: %q", lines)
	}
	e.docker("start", "db")
	e.ok("apply", "-f", file)

	// Name servers are in no list.
	for _, want := range []string{"name servers none -> 10.0.0.53", "name servers 10.0.0.53 -> none"} {
		dns := ""
		if strings.HasSuffix(want, "53") {
			dns = " --dns 10.0.0.53"
		}
		e.topology("shop", "br1 web 10.0.0.2/24"+dns, "br1 docker:db 10.0.0.3/24")
		if got := e.differs(file, 2); len(got) != 1 || !strings.Contains(got[0], want) {
			t.Errorf("want %s, got %q", want, got)
		}
		e.ok("apply", "-f", file)
		e.differs(file, 0)
	}

	// A second word for a container is found out by looking, before anything is changed.
	clash := e.topology("clash", "br1 -i eth5 web 10.0.0.2/24", "br1 -i eth5 "+e.docker("inspect", "-f", "{{.Id}}", "web")[:12]+" 10.0.0.9/24")
	if f := e.fails("conflict", "apply", "-f", clash); !strings.Contains(f.Error.Message, "clash.yaml:2:5") || !strings.Contains(f.Error.Message, "clash.yaml:3:5") {
		t.Errorf("got %+v", f)
	}
	other := e.topology("other", "br1 web 10.0.0.2/24")
	if r := e.gopipework("apply", "-f", other); r.Code != 1 || !strings.Contains(r.Stderr, "other.yaml:2:5: ") || !strings.Contains(r.Stderr, "belongs to file:shop") {
		t.Errorf("another file: %v", r)
	}
	e.ok("destroy", "-f", file)
	check("after destroy")
}

// TestApplyFails: an entry that fails is undone and named, and the others stand. One that
// fails in the place of an attachment leaves that as it was.
func TestApplyFails(t *testing.T) {
	m := newMachine(t)
	var guests []*host.Guest
	for i := range 3 {
		g := m.named(fmt.Sprintf("g%d", i))
		guests = append(guests, g)
	}
	m.check(guests[1].Run("ip", "link", "add", "own", "type", "veth", "peer", "name", "own2").Err())
	m.check(guests[1].Run("ip", "address", "add", "10.0.0.2/24", "dev", "own").Err())
	check := m.unchanged(guests...)
	bridges := filepath.Join(m.Dir, "bridges.yaml")
	m.check(os.WriteFile(bridges, []byte("bridges:\n  br1: {address: 10.0.0.254/33}\nattachments:\n  - br1 g0 10.0.0.1/24\n"), 0o644))
	if f := m.fails("invalid", "apply", "-f", bridges); !strings.Contains(f.Error.Message, "bridges.yaml:2:18: ") || len(m.list()) != 0 {
		t.Errorf("got %+v", f)
	}
	if f := m.fails("usage", "apply", bridges); !strings.Contains(f.Error.Hint, "apply -f "+bridges) {
		t.Errorf("got %+v", f)
	}
	// Without the difference on the screen nothing is changed; a document that cannot be
	// written comes too late for that.
	file := m.topology("lab", "br1 g0 10.0.0.1/24")
	if r := m.sh("gopipework apply -f " + file + " 2>&1 >/dev/full || echo $?"); !strings.Contains(r, "no space left") || !strings.HasSuffix(strings.TrimSpace(r), "1") || len(m.list()) != 0 {
		t.Errorf("a difference that cannot be shown: %s", r)
	}
	if r := m.sh("gopipework apply --json -f " + file + " 2>&1 >/dev/full || echo $?"); !strings.Contains(r, "what it reports is done") || !strings.HasSuffix(strings.TrimSpace(r), "5") || len(m.list()) != 1 {
		t.Errorf("a document that cannot be written: %s", r)
	}
	m.ok("destroy", "lab")
	m.topology("lab", "br1 g0 10.0.0.1/24", "br1 g1 10.0.0.2/24", "nosuch0 g2 10.0.0.3/24")
	r := m.gopipework("apply", "-f", file)
	if r.Code != 1 || !strings.Contains(r.Stderr, "lab.yaml:3:5: attach br1 to g1: it has the address 10.0.0.2 already") ||
		!strings.Contains(r.Stderr, "lab.yaml:4:5: ") || !strings.Contains(r.Stderr, "apply lab: 2 of 3 failed") {
		t.Errorf("got %v", r)
	}
	if all := m.list(); len(all) != 1 || all[0].Guest.Name != "g0" {
		t.Errorf("there is %+v", all)
	}
	doc := m.gopipework("apply", "-f", file, "--json")
	if got := decode[appliedResult](t, doc); doc.Code != 1 || got.Failed != 2 || got.Same != 1 || got.Error == nil || got.Error.Code != "failed" || got.Changes[0].Error.Code != "conflict" {
		t.Errorf("got %v", doc)
	}

	// The guest has a route of its own, which the new entry collides with.
	m.check(guests[0].Run("ip", "route", "add", "unreachable", "10.9.0.0/16").Err())
	m.topology("lab", "{to: br2, guest: g0, address: 10.0.0.1/24, route: ['10.9.0.0/16']}")
	r = m.gopipework("apply", "-f", file)
	if r.Code != 1 || !strings.Contains(r.Stderr, "what was there before is attached again") {
		t.Errorf("got %v", r)
	}
	if all := m.list(); len(all) != 1 || all[0].Guest.Name != "g0" || all[0].Origin != "file:lab" || all[0].Host.Name != "br1" {
		t.Errorf("there is %+v", all)
	}
	m.check(guests[0].Run("ip", "route", "del", "unreachable", "10.9.0.0/16").Err())
	m.ok("apply", "-f", file)
	m.says("the routes of g0", guests[0].Run("ip", "route").Stdout, "10.9.0.0/16 dev eth1")

	// What cannot be restored is named: a list does not show a route behind the guest's own.
	m.ownDefault("g0")
	m.topology("lab", "{to: br1, guest: g0, address: 10.0.0.1/24@10.0.0.9, default: keep}")
	m.ok("apply", "-f", file)
	m.check(guests[0].Run("ip", "route", "add", "unreachable", "10.8.0.0/16").Err())
	m.topology("lab", "{to: br2, guest: g0, address: 10.0.0.1/24, route: ['10.8.0.0/16']}")
	if r = m.gopipework("apply", "-f", file); r.Code != 5 || !strings.Contains(r.Stderr, "could not all be restored: routes of eth1 of netns:g0") {
		t.Errorf("got %v", r)
	}
	m.do("ip -n g0 link del up0")
	m.check(guests[0].Run("ip", "route", "del", "unreachable", "10.8.0.0/16").Err())
	m.topology("lab", "{to: br1, guest: g0, address: 10.0.0.1/24, route: ['10.9.0.0/16']}")
	m.ok("apply", "-f", file)

	// What the file no longer says goes: a route as well as a rate.
	m.topology("lab", "br1 g0 10.0.0.1/24 --rate-out 10mbit")
	m.ok("apply", "-f", file)
	m.topology("lab", "br1 g0 10.0.0.1/24")
	if got := m.differs(file, 2); len(got) != 1 || !strings.Contains(got[0], "rate-out 10mbit -> none") {
		t.Errorf("got %q", got)
	}
	m.ok("apply", "-f", file)
	if routes := guests[0].Run("ip", "route").Stdout; strings.Contains(routes, "10.9.0.0") {
		t.Errorf("the route is still there:\n%s", routes)
	}
	// What somebody has set down is no surprise, and set up again.
	m.check(guests[0].Run("ip", "link", "set", "eth1", "down").Err())
	if got := m.differs(file, 2); len(got) != 1 {
		t.Errorf("got %q", got)
	}
	m.ok("apply", "-f", file)
	m.differs(file, 0)

	// A typed line that the file asks for becomes the file's, in place.
	m.ok("br1", "g2", "10.0.0.3/24")
	m.topology("lab", "br1 g0 10.0.0.1/24", "br1 g2 10.0.0.3/24")
	before := m.places(guests)
	m.ok("apply", "-f", file)
	if after := m.places(guests); after["netns:g2"] != before["netns:g2"] {
		t.Errorf("g2 was attached again")
	}
	if r := m.RunInput("name: lab\n", "gopipework", "apply", "-f", "-", "--prune"); r.Code != 0 || strings.Count(r.Stdout, "- detach") != 2 {
		t.Errorf("an empty file on standard input: %v", r)
	}
	check("after all was pruned")
}

// TestApplyLinks: links between guests are made, changed at one end and removed.
func TestApplyLinks(t *testing.T) {
	m := newMachine(t)
	var guests []*host.Guest
	for _, name := range []string{"a", "b"} {
		g := m.named(name)
		guests = append(guests, g)
	}
	check := m.unchanged(guests...)
	file := filepath.Join(m.Dir, "links.yaml")
	write := func(address string) {
		t.Helper()
		m.check(os.WriteFile(file, []byte("links:\n  - a:to-b "+address+" b:to-a 10.8.0.2/29\n"), 0o644))
	}
	write("10.8.0.1/29")
	m.ok("apply", "-f", file)
	m.reaches(guests[1], "10.8.0.1")
	m.differs(file, 0)
	write("10.8.0.3/29")
	if got := m.differs(file, 2); len(got) != 1 || !strings.HasPrefix(got[0], "~ link a:to-b") || strings.Contains(got[0], "again") {
		t.Errorf("got %q", got)
	}
	m.ok("apply", "-f", file)
	m.reaches(guests[1], "10.8.0.3")
	m.differs(file, 0)
	if r := m.ok("destroy", "links"); strings.Count(r.Stdout, "\n") != 1 {
		t.Errorf("got %v", r)
	}
	check("after destroy")
}

// TestApplyInterrupted: a signal undoes what runs and leaves what is done, and the same
// command does the rest. So it is after a kill.
func TestApplyInterrupted(t *testing.T) {
	m := newMachine(t)
	const n = 12
	var guests []*host.Guest
	var lines []string
	for i := range n {
		g := m.named(fmt.Sprintf("g%d", i))
		guests = append(guests, g)
		lines = append(lines, fmt.Sprintf("br1 g%d 10.0.0.%d/24 --acd", i, i+1))
	}
	check := m.unchanged(guests...)
	file := m.topology("lab", lines...)
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGKILL, syscall.SIGTERM, syscall.SIGKILL} {
		r := m.interrupted(s, 1500*time.Millisecond, "apply", "-f", file)
		if r.Code == 0 {
			t.Logf("%v came too late", s) // a quick machine; the check of the rest holds all the same
		} else if r.Code != 128+int(s) {
			t.Errorf("%v: %v", s, r)
		}
		if s != syscall.SIGKILL {
			for _, a := range m.list() {
				if a.State != "complete" && a.Origin == "file:lab" {
					t.Errorf("%v left %+v", s, a)
				}
			}
			m.ok("destroy", "lab")
		}
		m.ok("apply", "-f", file)
		if all := m.list(); len(all) != n {
			t.Errorf("after %v and another apply there are %d attachments", s, len(all))
		}
		m.differs(file, 0)
		m.ok("destroy", "lab")
		check(fmt.Sprintf("after %v and destroy", s))
	}
}

// TestApplyKinds: of every kind, and of everything that an entry can ask for, a file that
// was applied is no difference, and one that asks for more or for less is.
func TestApplyKinds(t *testing.T) {
	m := newMachine(t)
	withOVS(t, m)
	router := m.named("router")
	m.check(m.Batch("link add nic0 type veth peer name eth1 netns router", "address add 10.3.0.254/24 dev nic0", "link set nic0 up",
		"link add nic1 type veth peer name wire1 netns router"))
	m.check(router.Run("sh", "-ec", "ip address add 10.9.0.1/24 dev eth1; ip link set eth1 up; ip link set wire1 up").Err())
	m.dnsmasq(router)
	const mac = " 02:00:00:00:01:"
	var guests []*host.Guest
	var less, more []string
	for n, c := range []struct{ less, more string }{
		{"br1 G 10.0.0.1/24", "br1 G 10.0.0.1/24 --route 10.50.0.0/16"},
		{"br1 G 10.0.0.2/24@10.0.0.9", "br1 G 10.0.0.2/24@10.0.0.9 --default keep"},
		{"br1 G 10.0.0.3/24@10.0.0.9", "br1 G 10.0.0.3/24@10.0.0.9 --source-routing"},
		{"br1 G 10.0.0.4/24,2001:db8::4/64", "br1 G 10.0.0.4/24"},
		{"br1 G 0/0" + mac + "05", "br1 G 0/0" + mac + "55"},
		{"br1 -l port6 G 10.0.0.6/24", "br1 -l port66 G 10.0.0.6/24"},
		{"br1 -i lan7 G 10.0.0.7/24 --rate-out 5mbit", "br1 -i lan7 G 10.0.0.7/24 --rate-out 5mbit --rate-in 10mbit"},
		{"nic0 G 10.3.0.1/24", "nic0 G 10.3.0.1/24 --host-access"},
		{"nic0 G 10.3.0.2/24", "nic0 G 10.3.0.2/24 --mode private"},
		{"macvlan:nic0 G 10.3.0.3/24", "br2 G 10.3.0.3/24"},
		{"host:tap10 G 10.4.0.2/24", "host:tap10 G 10.4.0.2/24 --host-addr 10.4.0.1/24"},
		{"ovsbr0 G 10.6.0.1/24 @10", "ovsbr0 G 10.6.0.1/24 @10,20-30"},
		{"nic0 G dhcp", "nic0 G dhcp:hostname=more"},
		{"nic0 G 10.9.0.200/24", "nic0 G dhcp"},
		{"phys:nic1 G 10.7.0.1/24", "phys:nic1 G 10.7.0.2/24"},
	} {
		g := m.named(fmt.Sprintf("g%d", n))
		guests = append(guests, g)
		less, more = append(less, strings.Replace(c.less, "G", g.Word, 1)), append(more, strings.Replace(c.more, "G", g.Word, 1))
	}
	check := m.unchanged(guests...)
	for round, lines := range [][]string{less, more, less} {
		file := m.topology("kinds", lines...)
		if got := m.differs(file, 2); len(got) != len(lines) {
			t.Errorf("round %d: %d entries differ, want %d:\n%s", round, len(got), len(lines), strings.Join(got, "\n"))
		}
		if r := m.ok("apply", "-f", file, "--yes"); strings.Contains(r.Stdout, "! ") {
			t.Errorf("round %d: %v", round, r)
		}
		if got := m.differs(file, 0); len(got) > 0 {
			t.Errorf("round %d, after apply:\n%s", round, strings.Join(got, "\n"))
		}
	}
	m.ok("destroy", "kinds")
	check("after destroy")
}

// TestApplyAsks: on a terminal nothing that is there is detached before somebody has said
// yes.
func TestApplyAsks(t *testing.T) {
	m := newMachine(t)
	g := m.named("g")
	check := m.unchanged(g)
	file := m.topology("lab", "br1 g 10.0.0.1/24")
	typed := func(answer, line string) host.Result {
		return m.RunInput(answer, "script", "--quiet", "--return", "--command", line, "/dev/null")
	}
	if r := typed("", "gopipework apply -f "+file); r.Code != 0 {
		t.Errorf("what only makes something asks: %v", r)
	}
	for _, answer := range []string{"n\n", "\n", "maybe\n"} {
		if r := typed(answer, "gopipework destroy lab"); r.Code != 1 || !strings.Contains(r.Stdout, "Go on? [y/N]") || len(m.list()) != 1 {
			t.Errorf("%q: %v", answer, r)
		}
	}
	if r := typed("y\n", "gopipework destroy lab"); r.Code != 0 || len(m.list()) != 0 {
		t.Errorf("yes: %v", r)
	}
	m.ok("apply", "-f", file)
	if r := typed("", "gopipework destroy lab --yes"); r.Code != 0 || len(m.list()) != 0 {
		t.Errorf("--yes: %v", r)
	}
	check("after all")
}

// TestApplyRestores: an attachment whose successor fails is restored as it was, with what
// its kind alone can have.
func TestApplyRestores(t *testing.T) {
	need(t, "root")
	m := newMachine(t)
	g, err := m.Named("g0")
	m.check(err)
	m.check(g.Run("ip", "route", "add", "unreachable", "10.99.0.0/16").Err())
	m.Batch("link add nic0 type veth peer name wire", "link set nic0 up", "link set wire up")
	for _, entry := range []string{
		"to: 'host:tap0', host-addr: 10.9.0.1/30",
		"to: nic0, mode: private",
	} {
		file := m.topology("lab", "{guest: g0, address: 10.9.0.2/30, "+entry+"}")
		m.ok("apply", "-f", file)
		before := m.list()
		m.topology("lab", "{guest: g0, address: 10.9.0.2/30, mac: '02:00:00:00:00:77', route: ['10.99.0.0/16'], "+entry+"}")
		if r := m.gopipework("apply", "-f", file); r.Code != 1 || !strings.Contains(r.Stderr, "what was there before is attached again") {
			t.Errorf("%s: %v", entry, r)
		}
		if diff := cmp.Diff(before, m.list()); diff != "" {
			t.Errorf("%s (-before +after):\n%s", entry, diff)
		}
		if strings.Contains(entry, "tap0") {
			m.says("the host's end", m.sh("ip address show tap0"), "10.9.0.1/30")
		}
		if strings.Contains(entry, "private") {
			m.says("the macvlan", g.Run("ip", "-d", "link", "show", "eth1").Stdout, "mode private")
		}
		m.ok("destroy", "lab")
	}
}

// TestApplySays: what nothing was done about is told as what it is, with what to do next.
func TestApplySays(t *testing.T) {
	need(t, "root")
	m := newMachine(t)
	g, err := m.Named("g0")
	m.check(err)
	file := m.topology("garden", "nosuch0 g0 10.0.0.1/24")
	if r := m.gopipework("apply", "-f", file); r.Code != 1 || !strings.HasSuffix(r.Stderr, "apply garden: 1 of 1 failed\ngopipework: hint: the same command tries again\n") {
		t.Errorf("nothing stands: %v", r)
	}
	if f := m.fails("invalid", "apply", "-f", m.Dir+"/none.yaml"); !strings.Contains(f.Error.Message, "none.yaml: no such file") || !strings.Contains(f.Error.Hint, "gopipework import") {
		t.Errorf("no file: %+v", f)
	}
	if f := m.fails("invalid", "destroy", "-f", m.Dir+"/none.yaml"); f.Error.Hint != "gopipework destroy NAME needs no file" {
		t.Errorf("no file to destroy: %+v", f)
	}

	m.topology("garden", "br1 g0 10.0.0.1/24")
	m.ok("apply", "-f", file)
	m.says("a name that is near", m.ok("destroy", "gardne").Stderr, "nothing is attached for file:gardne\n", "warning: something is attached for file:garden: gopipework destroy garden")
	if r := m.ok("destroy", "lab"); r.Stderr != "gopipework: nothing is attached for file:lab\n" {
		t.Errorf("no name is near: %v", r)
	}
	r := m.RunInput("", "script", "--quiet", "--return", "--command", "gopipework destroy garden", "/dev/null")
	if r.Code != 1 || !strings.Contains(r.Stdout, "[y/N] \r\ngopipework: destroy garden: nothing was changed") || len(m.list()) != 1 {
		t.Errorf("the end of the input: %v", r)
	}
	m.ok("destroy", "garden")
	m.says("the guest", g.Run("ip", "-br", "link").Stdout, "lo")
}
