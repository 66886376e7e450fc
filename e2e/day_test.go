//go:build linux

package e2e

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gopipework/gopipework/e2e/host"
)

// day is a host on which people, programs and accidents do things in any order, while
// gopipework watch runs.
type day struct {
	*engine
	*rand.Rand
	watch  *background
	probe  *host.Guest
	saved  string      // the rules of a moment
	counts map[int]int // of lines, by their exit code
	log    []string    // what was done, in order
}

var (
	dayContainers = []string{"web", "db", "mail"}
	dayNamed      = []string{"red", "green", "blue"}
	dayGuests     = slices.Concat(dayContainers, dayNamed)
)

// TestDay: whatever is done and whatever is killed, in whichever order, the lines that are
// kept are there when it calms down, and at the end of the day the host is as it was.
// GOPIPEWORK_DAY is how many seconds it lasts, GOPIPEWORK_SEED repeats one.
func TestDay(t *testing.T) {
	d := &day{engine: newEngine(t), counts: map[int]int{}}
	d.sh("mount -t tmpfs state /var/lib")
	seed := setting(t, "GOPIPEWORK_SEED", int(time.Now().UnixNano()%1e9))
	d.Rand = rand.New(rand.NewPCG(uint64(seed), 0))
	d.do("ip link add nic0 type veth peer name wire")
	d.do("ip link set nic0 up")
	d.do("ip link set wire up")
	before := d.state(d.State)
	morning := d.do("iptables-save")
	d.asEver()
	d.probe = d.guest()
	d.quiet("br1", d.probe.Word, "10.1.255.254/16")
	d.begins()
	names := slices.Sorted(maps.Keys(d.things()))
	end := time.Now().Add(time.Duration(setting(t, "GOPIPEWORK_DAY", 15)) * time.Second)
	for n := 1; time.Now().Before(end) && !t.Failed(); n++ {
		name := names[d.IntN(len(names))]
		d.log = append(d.log, name)
		d.things()[name]()
		if n%12 == 0 {
			d.calm()
		}
	}
	if !t.Failed() {
		d.calm()
		d.evening(before, morning)
	}
	t.Logf("seed %d: %d things were done; lines by their exit code: %v", seed, len(d.log), d.counts)
	if t.Failed() {
		t.Logf("what was done:\n%s\nwatch said:\n%s", strings.Join(d.log, "\n"), d.watch.stderr.String())
	}
}

// things are what happens. Each line has addresses that depend on its words alone, so that
// no two ask for the same one.
func (d *day) things() map[string]func() {
	return map[string]func(){
		"attach":      func() { d.types(d.line()...) },
		"attach keep": func() { d.types(append(d.line(), "--keep")...) },
		"link":        func() { d.types("link", "red:to-blue", "10.8.0.1/30", "blue:to-red", "10.8.0.2/30") },
		"detach":      func() { d.types("detach", d.someone(), d.ifName()) },
		"detach all":  func() { d.types("detach", "--all", d.someone()) },
		"forget":      func() { d.types("forget", d.someone()) },
		"set":         func() { d.types("set", d.someone(), d.ifName(), "--rate-in", "10mbit") },
		"apply":       func() { d.types("apply", "-f", d.file(), "--prune", "--yes") },
		"destroy":     func() { d.types("destroy", "lab", "--yes") },
		"list":        func() { d.types("list") },
		"gc":          func() { d.types("gc") },
		"restart":     func() { d.docker("restart", "-t", "0", d.container()) },
		"kill": func() {
			name := d.container()
			d.docker("kill", name)
			d.docker("start", name)
		},
		"recreate": func() {
			name := dayNamed[d.IntN(len(dayNamed))]
			d.do("ip netns del " + name)
			d.do("ip netns add " + name)
		},
		"engine restart": func() {
			if d.IntN(3) > 0 { // it takes seconds
				return
			}
			d.check(d.daemon.Stop(syscall.SIGTERM))
			d.check(d.daemon.Start())
			d.asEver()
		},
		"flush": func() { d.sh("iptables -F FORWARD") },
		"save":  func() { d.saved = d.do("iptables-save") },
		"kill watch": func() {
			d.check(d.watch.Process.Kill())
			<-d.watch.ended
			d.sane(host.Result{Args: d.watch.Args, Stderr: d.watch.stderr.String()})
			d.begins()
		},
		"end watch": func() {
			d.check(d.watch.Process.Signal(syscall.SIGTERM))
			d.sane(d.watch.end(d.t.(*testing.T)))
			d.begins()
		},
	}
}

func (d *day) someone() string   { return dayGuests[d.IntN(len(dayGuests))] }
func (d *day) container() string { return dayContainers[d.IntN(len(dayContainers))] }
func (d *day) ifName() string    { return fmt.Sprintf("eth%d", 1+d.IntN(3)) }

// line is one that attaches.
func (d *day) line() []string {
	guest, ifName := d.IntN(len(dayGuests)), 1+d.IntN(3)
	address := fmt.Sprintf("10.%d.%d.2/16", ifName, guest)
	onHost := []string{"br1", "macvlan:nic0", "br3"}[ifName-1] // each has one interface name, and one network
	return []string{onHost, "-i", fmt.Sprintf("eth%d", ifName), dayGuests[guest], address}
}

// file is a topology with some of the entries that it can have.
func (d *day) file() string {
	var text strings.Builder
	fmt.Fprintln(&text, "name: lab\nattachments:")
	for n, guest := range dayGuests {
		if d.IntN(2) == 0 {
			fmt.Fprintf(&text, "  - br4 -i eth4 %s 10.4.%d.2/16 --mtu %d\n", guest, n, 1400+100*d.IntN(2))
		}
	}
	path := d.Dir + "/lab.yaml"
	d.check(os.WriteFile(path, []byte(text.String()), 0o600))
	return path
}

// types runs a line, and now and then kills it on the way.
func (d *day) types(args ...string) {
	d.t.Helper()
	d.log[len(d.log)-1] = strings.Join(args, " ")
	if d.IntN(4) == 0 {
		after := time.Duration(d.IntN(40)) * time.Millisecond
		d.log[len(d.log)-1] += fmt.Sprintf(" (killed after %v)", after)
		d.sane(d.interrupted(syscall.SIGKILL, after, args...))
		return
	}
	d.sane(d.gopipework(args...))
}

// sane fails the test for an end that no accident justifies.
func (d *day) sane(r host.Result) {
	d.t.Helper()
	d.counts[r.Code]++
	crashed := strings.Contains(r.Stderr, "DATA RACE") || strings.Contains(r.Stderr, "goroutine ")
	if allowed := []int{0, 1, 3, 137}; crashed || !slices.Contains(allowed, r.Code) {
		d.t.Errorf("that may not happen:\n%v", r)
	}
}

// begins starts the watch.
func (d *day) begins() {
	d.watch = d.rests("gopipework", "watch")
}

// asEver has all guests run.
func (d *day) asEver() {
	running := strings.Fields(d.docker("ps", "--format", "{{.Names}}"))
	all := strings.Fields(d.docker("ps", "-a", "--format", "{{.Names}}"))
	for _, name := range dayContainers {
		switch {
		case slices.Contains(running, name):
		case slices.Contains(all, name):
			d.docker("start", name)
		default:
			d.engine.container(name)
		}
	}
	for _, name := range dayNamed {
		d.sh("[ -e /run/netns/" + name + " ] || ip netns add " + name)
	}
}

// calm waits until the watch has done what there is to do: every line that is kept is
// there, and works.
func (d *day) calm() {
	d.t.Helper()
	if d.saved != "" { // a firewall that is loaded again, with rules of what has gone since
		d.check(d.RunInput(d.saved, "iptables-restore").Err())
		d.saved = ""
	}
	d.ok("br1", d.probe.Word, "10.1.255.254/16") // mends what a flush took
	d.check(d.watch.Process.Signal(syscall.SIGHUP))
	var missing []string
	done := func() bool {
		missing = nil
		there := map[string]string{}
		for _, a := range d.list() {
			there[a.Guest.Name+" "+a.Interface.Name] = a.State
		}
		for line := range strings.Lines(d.keptWhole()) {
			f := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "- "))
			if len(f) < 5 || f[1] != "-i" {
				continue
			}
			if there[f[3]+" "+f[2]] != "complete" {
				missing = append(missing, line)
			} else if f[0] == "br1" && ping(d.probe, strings.TrimSuffix(f[4], "/16"), "-W", "1").Code != 0 {
				missing = append(missing, "no answer: "+line)
			}
		}
		return len(missing) == 0
	}
	if !host.Poll(2*host.Patience, done) {
		d.t.Errorf("kept, and not there:\n%s", strings.Join(missing, ""))
	}
}

// evening detaches and ends everything. The host has to be as it was, but for what a flush has
// taken of the engine's rules.
func (d *day) evening(before host.State, morning string) {
	d.check(d.watch.Process.Signal(syscall.SIGTERM))
	d.sane(d.watch.end(d.t.(*testing.T)))
	d.ok("destroy", "lab", "--yes")
	for _, guest := range append(dayGuests, d.probe.Word) {
		d.ok("detach", "--all", guest)
	}
	for range 2 {
		d.ok("gc")
	}
	d.check(d.probe.Kill())
	d.docker(append([]string{"rm", "-f"}, dayContainers...)...)
	for _, name := range dayNamed {
		d.do("ip netns del " + name)
	}
	d.rules(0, 0)
	d.check(d.RunInput(morning, "iptables-restore").Err())
	d.same("the host in the evening", before, d.State)
}
