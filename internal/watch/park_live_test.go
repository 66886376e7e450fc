package watch

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gopipework/gopipework/attach"
	testhost "github.com/gopipework/gopipework/e2e/host"
	"github.com/gopipework/gopipework/e2e/program"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/nsfs"
	"github.com/gopipework/gopipework/internal/reconcile"
	"github.com/gopipework/gopipework/internal/topology"
)

func TestMain(m *testing.M) {
	testhost.Main()
	os.Exit(m.Run())
}

// parkTest is a parker, and the host that it keeps ports of.
type parkTest struct {
	*parker
	spec  attach.Spec
	rings chan struct{}
}

func newParkTest(t *testing.T) parkTest {
	t.Helper()
	testhost.NeedRoot(t)
	spec, err := attach.Parse(attach.Words{HostIF: "brtest", Guest: "web", Address: "192.168.1.2/24"})
	if err != nil {
		t.Fatal(err)
	}
	forgiven = 50 * time.Millisecond
	p := parkTest{spec: spec, rings: make(chan struct{}, 100)}
	place, err := attach.NewParking()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(place.Close)
	opt := attach.Options{HostNS: testhost.NewNamespace(t), Origin: attach.OriginKeep, Parking: place}
	if p.parker, err = newParker(opt, func([]string) { p.rings <- struct{}{} }, func(err error) { t.Errorf("warning: %v", err) }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.close)
	return p
}

// finds has the line of web wanted, for whom is found under that name.
func (p parkTest) finds(t *testing.T, found reconcile.Guest) {
	p.wants([]reconcile.Wanted{{Origin: attach.OriginKeep, Entries: []topology.Entry{{Attach: &p.spec}}}})
	p.found(t.Context(), map[string]reconcile.Guest{"web": found})
}

// start starts a guest that is wanted, and attaches it. end ends it.
func (p parkTest) start(t *testing.T) (end func()) {
	t.Helper()
	process := program.Command("unshare", "-n", "sleep", "600")
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	end = func() { process.Process.Kill(); process.Wait() }
	t.Cleanup(end)
	path := nsfs.OfProcess(process.Process.Pid)
	if !testhost.Poll(30*time.Second, func() bool { return !nsfs.Is(p.opt.HostNS, path) && !sameNS(path, "/proc/self/ns/net") }) {
		t.Fatal("the guest has no namespace of its own")
	}
	ns, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	g := guests.New(attach.GuestInfo{Runtime: "docker", ID: "0123456789ab", Name: "web", PID: process.Process.Pid}, ns, nil)
	defer g.Close()
	p.finds(t, reconcile.Guest{GuestInfo: g.GuestInfo})
	if _, err := attach.Attach(t.Context(), p.spec, g, p.opt); err != nil {
		t.Fatal(err)
	}
	p.settle(t.Context(), p.list(t))
	return end
}

func sameNS(a, b string) bool {
	x, err1 := os.Readlink(a)
	y, err2 := os.Readlink(b)
	return err1 != nil || err2 != nil || x == y
}

func (p parkTest) list(t *testing.T) []attach.Attachment {
	t.Helper()
	r, err := attach.List(t.Context(), nil, attach.Options{HostNS: p.opt.HostNS})
	if err != nil {
		t.Fatal(err)
	}
	return r.Attachments
}

// becomes waits until the one attachment has the state; "": until there is none.
func (p parkTest) becomes(t *testing.T, want attach.State) {
	t.Helper()
	var all []attach.Attachment
	if !testhost.Poll(30*time.Second, func() bool {
		all = p.list(t)
		return want == "" && len(all) == 0 || len(all) == 1 && all[0].State == want
	}) {
		t.Fatalf("listed: %+v, want %q", all, want)
	}
}

// port tells the index and the name of the host's port.
func (p parkTest) port(t *testing.T) string {
	t.Helper()
	cmd := program.Command("nsenter", "--net=/proc/self/fd/3", "ip", "-o", "link", "show", "master", "brtest")
	cmd.ExtraFiles = []*os.File{p.opt.HostNS}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return ""
	}
	words := strings.Fields(string(out))
	return strings.Join(words[:min(2, len(words))], " ")
}

func (p parkTest) descriptors(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// TestParker: the port of a guest that is killed is the same when it runs again, as often
// as that may be, and without a descriptor more.
func TestParker(t *testing.T) {
	p := newParkTest(t)
	end := p.start(t)
	port, open := p.port(t), p.descriptors(t)
	for n := range 5 {
		end()
		p.becomes(t, attach.Parked)
		<-p.rings
		if n == 0 { // it may take its time
			p.finds(t, reconcile.Guest{Err: fault.New(fault.Gone, "find", "web", "it does not run")})
			p.settle(t.Context(), p.list(t))
		}
		end = p.start(t)
		p.becomes(t, attach.Complete)
		if is := p.port(t); is != port {
			t.Errorf("the port is %s, and was %s", is, port)
		}
	}
	if now := p.descriptors(t); now > open+2 {
		t.Errorf("%d descriptors are open, and %d were", now, open)
	}
}

// TestParkerLetsGo: a port whose guest or entry has gone goes too, with its bridge.
func TestParkerLetsGo(t *testing.T) {
	for name, then := range map[string]func(parkTest){
		"no entry": func(p parkTest) { p.wants(nil) },
		"no guest": func(p parkTest) {
			p.finds(t, reconcile.Guest{Err: fault.New(fault.NotFound, "find", "web", "there is none")})
			p.hears("Docker", false)
			p.settle(t.Context(), nil)
			time.Sleep(2 * forgiven)
			if p.settle(t.Context(), nil); p.port(t) == "" {
				t.Error("the port is gone while the engine does not answer")
			}
			p.hears("Docker", true)
			p.settle(t.Context(), nil)
			<-p.rings // after the guest was forgiven its absence
		},
		"other guest": func(p parkTest) {
			g := reconcile.Guest{GuestInfo: attach.GuestInfo{NetNS: 1}}
			p.finds(t, g)
			p.settle(t.Context(), []attach.Attachment{{Guest: g.GuestInfo, Interface: attach.Interface{Name: "eth1"}, State: attach.Complete}})
		},
		"end": func(p parkTest) { p.close() },
	} {
		t.Run(name, func(t *testing.T) {
			p := newParkTest(t)
			end := p.start(t)
			end()
			p.becomes(t, attach.Parked)
			<-p.rings
			if p.settle(t.Context(), p.list(t)); p.port(t) == "" {
				t.Error("the port is not there any more")
			}
			if then(p); name != "end" {
				p.settle(t.Context(), nil)
			}
			p.becomes(t, "")
			if is := p.port(t); is != "" {
				t.Errorf("there is a port: %s", is)
			}
		})
	}
}

// TestParkerRenamed: nobody waits for the port of a guest whose name another guest has.
func TestParkerRenamed(t *testing.T) {
	p := newParkTest(t)
	end := p.start(t)
	p.finds(t, reconcile.Guest{GuestInfo: attach.GuestInfo{NetNS: 1}})
	end()
	p.becomes(t, "")
}
