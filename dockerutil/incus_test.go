package dockerutil

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gopipework/gopipework/e2e/host"
	"github.com/gopipework/gopipework/e2e/program"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guests"
)

// What Incus answers, as version 6.0 of Debian 13 does; a real one is in
// TestLiveIncus, where there is one.
func incusAnswer(typ, location, status string, pid int) map[string]any {
	return map[string]any{"type": "sync", "status": "Success", "status_code": 200, "operation": "", "error_code": 0, "error": "",
		"metadata": map[string]any{"name": "web", "type": typ, "location": location, "status": status,
			"state": map[string]any{"status": status, "pid": pid}}}
}

func TestIncusFake(t *testing.T) {
	cleanEnv(t)
	child := startGuest(t).Process.Pid
	notFound := map[string]any{"type": "error", "error": "Instance not found", "error_code": 404}
	tests := []struct {
		name   string
		status int
		answer map[string]any
		code   fault.Code // "": a guest
		text   string
	}{
		{"running", 200, incusAnswer("container", "none", "Running", child), "", ""},
		{"frozen", 200, incusAnswer("container", "none", "Frozen", child), "", ""},
		{"on this machine of a cluster", 200, incusAnswer("container", "one", "Running", child), "", ""},
		{"on another", 200, incusAnswer("container", "two", "Running", child), fault.Runtime, "run gopipework there"},
		{"stopped", 200, incusAnswer("container", "none", "Stopped", 0), fault.Gone, "incus start web"},
		{"starting for ever", 200, incusAnswer("container", "none", "Starting", 0), fault.Gone, "not running"},
		{"a virtual machine", 200, incusAnswer("virtual-machine", "none", "Running", child), fault.Unsupported, "virtual-machine"},
		{"none", 404, notFound, fault.NotFound, "incus list"},
		{"impossible", 200, incusAnswer("container", "none", "Running", maxPID+1), fault.Runtime, "impossible"},
		{"another", 200, map[string]any{"type": "sync", "metadata": map[string]any{"name": "db", "type": "container"}}, fault.Runtime, "not about"},
		{"rubbish", 200, map[string]any{"type": "sync", "metadata": []int{1}}, fault.Runtime, "incus list"},
		{"sick", 500, map[string]any{"type": "error", "error": "out of cheese", "error_code": 500}, fault.Runtime, "500"},
		{"refuses", 403, map[string]any{"type": "error", "error": "not authorized", "error_code": 403}, fault.Runtime, "403"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			socket := filepath.Join(shortTemp(t), "sock")
			l, err := net.Listen("unix", socket)
			if err != nil {
				t.Fatal(err)
			}
			server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch r.URL.String() {
				case "/1.0/instances/web?project=blue&recursion=1":
					answer(w, tt.status, tt.answer)
				case "/1.0":
					answer(w, 200, map[string]any{"type": "sync", "metadata": map[string]any{"environment": map[string]any{"server_name": "one"}}})
				default:
					t.Errorf("asked for %s", r.URL)
				}
			})}
			go server.Serve(l)
			t.Cleanup(func() { server.Close() })
			t.Setenv("INCUS_PROJECT", "blue")
			t.Setenv("DOCKER_HOST", "unix:///nonexistent/sock")
			f := testFinder(t)
			f.incus = []string{"/nonexistent/incus", socket}
			for _, r := range []wordRef{{Runtime: RuntimeIncus, Name: "web"}, {Name: "web"}} {
				g, err := f.find(context.Background(), r)
				if tt.code == "" {
					if err != nil {
						t.Fatal(err)
					}
					if g.Runtime != "incus" || g.ID != "web" || g.Name != "web" || g.PID != child || inode(g) != inodeOf(t, child) {
						t.Errorf("got %+v", g)
					}
					g.Close()
					continue
				}
				wantFault(t, err, tt.code)
				var e *fault.Error
				if errors.As(err, &e); r.Runtime != "" && !strings.Contains(err.Error()+e.Hint, tt.text) {
					t.Errorf("got %v (%s), want it to say %q", err, e.Hint, tt.text)
				}
			}
		})
	}
}

// incusd is not in PATH.
const incusd = "/usr/libexec/incus/incusd"

// A real Incus, which Debian has from 13 on, with a container that is made of
// busybox. The daemon has its own network and mounts.
func TestLiveIncus(t *testing.T) {
	need(t, "incus", "incus", "busybox", "unshare", "tar")
	if !exists(incusd) {
		host.Lacking(t, "incus", incusd)
	}
	dir := shortTemp(t)
	socket := filepath.Join(dir, "unix.socket")
	t.Setenv("INCUS_DIR", dir)
	t.Setenv("INCUS_SOCKET", socket)
	t.Setenv("INCUS_PROJECT", "")
	t.Setenv("HOME", dir)
	daemon := program.Command("unshare", "--net", "--mount", incusd, "--group", "root")
	daemon.Env = append(os.Environ(), "PATH=/usr/sbin:/usr/bin:/sbin:/bin") // it runs programs of its own choice
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		daemon.Process.Kill()
		daemon.Wait()
	})
	waitFor(t, "Incus", func() bool { _, err := try("incus", "list"); return err == nil })
	must(t, "incus", "storage", "create", "default", "dir")
	must(t, "incus", "profile", "device", "add", "default", "root", "disk", "path=/", "pool=default")
	must(t, "sh", "-ec", fmt.Sprintf(`cd %s; mkdir -p i/rootfs/bin i/rootfs/sbin i/rootfs/dev i/rootfs/proc i/rootfs/sys i/rootfs/etc i/rootfs/tmp i/rootfs/run
cp "$(command -v busybox)" i/rootfs/bin/busybox
printf '#!/bin/busybox sh\nexec /bin/busybox sleep 1000\n' >i/rootfs/sbin/init; chmod +x i/rootfs/sbin/init
printf 'architecture: x86_64\ncreation_date: 1700000000\n' >i/metadata.yaml
tar -C i -cf i.tar metadata.yaml rootfs`, dir))
	must(t, "incus", "image", "import", filepath.Join(dir, "i.tar"), "--alias", "bb")
	must(t, "incus", "launch", "bb", "web", "-c", "security.privileged=true")
	stopped := false
	t.Cleanup(func() {
		if !stopped {
			try("incus", "delete", "-f", "web")
		}
	})
	f := liveFinder(t)
	f.incus = []string{socket}
	g, err := f.find(context.Background(), wordRef{Runtime: RuntimeIncus, Name: "web"})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	pid := g.PID
	if init := must(t, "incus", "info", "web"); !strings.Contains(init, fmt.Sprintf("PID: %d", pid)) {
		t.Errorf("PID %d is not what incus says:\n%s", pid, init)
	}
	if len(g.Doubts) != 1 { // its daemon has a network of its own
		t.Errorf("doubts %q", g.Doubts)
	}
	guest := Guest{GuestInfo: guests.GuestInfo{Runtime: "incus", ID: "web", Name: "web", PID: pid}}
	checkWords(t, f, []wordCase{
		{word: "incus:web", want: guest},
		{word: "web", want: guest},
		{word: "incus:nosuch", code: fault.NotFound, text: "incus list"},
		{word: "nosuch", code: fault.NotFound},
	})
	must(t, "incus", "stop", "-f", "web")
	waitEnded(t, g)
	checkWords(t, f, []wordCase{
		{word: "incus:web", code: fault.Gone, text: "incus start web"},
		{word: "web", code: fault.Gone, text: "incus start web"},
	})
	must(t, "incus", "delete", "-f", "web")
	stopped = true
}
