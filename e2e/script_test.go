//go:build linux

package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/gopipework/gopipework/e2e/host"
)

// The scripts in testdata need no privileges: usage, help, errors. Besides
// testscript's own commands there is
//
//	exits CODE COMMAND...   run the command, it has to end with this code
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			e.Setenv("PATH", bin+string(os.PathListSeparator)+e.Getenv("PATH"))
			e.Setenv("DOCKER_HOST", "unix://"+filepath.Join(e.WorkDir, "no-docker.sock"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exitsWith(func(args []string) []string { return args }),
		},
	})
}

// exitsWith is a command CODE COMMAND... of a script; where tells how the command
// is run.
func exitsWith(where func([]string) []string) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) < 2 {
			ts.Fatalf("usage: exits CODE COMMAND...")
		}
		if code := strconv.Itoa(execute(ts, where(args[1:]))); code != args[0] {
			ts.Fatalf("exit %s, should be %s", code, args[0])
		}
	}
}

// execute runs a command of a script and returns its exit code.
func execute(ts *testscript.TestScript, args []string) int {
	err := ts.Exec(args[0], args[1:]...)
	if err == nil {
		return 0
	}
	exit, ok := err.(*exec.ExitError)
	if !ok {
		ts.Fatalf("%v", err)
	}
	return exit.ExitCode()
}

// The lines of the shell script that came first, as pipework. Besides exits
// there is
//
//	on COMMAND...            run the command, it has to succeed
//	either A B COMMAND...    run it, it has to end with one of the codes
//
// all of them on a host with an engine, Open vSwitch and a card, on whose network
// a DHCP server is.
func TestPipework(t *testing.T) {
	e := withDocker(t)
	withOVS(t, e.machine)
	router := e.guest()
	t.Cleanup(func() { e.check(router.Kill()) })
	e.check(e.Batch("link add nic0 address 00:f3:15:4a:42:c8 type veth peer name eth1 netns "+strings.TrimPrefix(router.Word, "pid:"), "link set nic0 addrgenmode none up"))
	t.Cleanup(func() { e.do("ip link delete nic0") })
	e.check(router.Run("sh", "-ec", "ip address add 10.9.0.1/24 dev eth1; ip link set eth1 up").Err())
	e.dnsmasq(router)
	e.container("one", "--network", "none")
	e.container("two", "--network", "none")
	check := e.unchanged(e.guestOf("one"), e.guestOf("two"))
	there := func(args []string) []string { return e.Command(context.Background(), args[0], args[1:]...).Args }
	t.Run("script", func(t *testing.T) {
		testscript.Run(t, testscript.Params{
			Dir: "testdata/pipework",
			Setup: func(env *testscript.Env) error {
				for _, v := range e.Command(context.Background(), "true").Env {
					name, value, _ := strings.Cut(v, "=")
					env.Setenv(name, value)
				}
				return nil
			},
			Cmds: map[string]func(*testscript.TestScript, bool, []string){
				"exits": exitsWith(there),
				"on": func(ts *testscript.TestScript, neg bool, args []string) {
					if code := execute(ts, there(args)); code == 0 == neg {
						ts.Fatalf("exit %d", code)
					}
				},
				"either": func(ts *testscript.TestScript, neg bool, args []string) {
					if code := strconv.Itoa(execute(ts, there(args[2:]))); neg || code != args[0] && code != args[1] {
						ts.Fatalf("exit %s, should be %s or %s", code, args[0], args[1])
					}
				},
			},
		})
	})
	for _, name := range []string{"one", "two"} {
		e.ok("detach", "--all", name)
	}
	check("after pipework's lines, and detach")
}

// The examples of the README, and of docs, are run as they stand there, in order, on a host
// with an engine and two running containers, web and db.
//
// A block fenced as ```console is a transcript: a line that begins with "# "
// or "$ " is a command (it goes on after a backslash at the end of a line),
// what follows is what it prints. Every command has to succeed, unless what
// it prints begins with "gopipework: ": then it has to fail with that line.
// Other blocks are not run.
func TestReadme(t *testing.T) {
	text := documents(t)
	e := withDocker(t)
	withOVS(t, e.machine)
	e.sh("mount -t tmpfs state /var/lib") // what is kept there is not the machine's
	t.Cleanup(func() { e.sh("umount -l /var/lib") })
	e.docker("tag", host.Image, "busybox")
	e.container("web", "-p", "8080:80", host.Image, "sh", "-c", "httpd -p 80 -h /www; while true; do nc -l -p 5000; done")
	e.container("db")
	for _, port := range []int{80, 5000} {
		e.listens(e.guestOf("web"), port)
	}
	check := e.unchanged(e.guestOf("web"), e.guestOf("db"))
	e.transcript(text, "```console")
	for _, name := range []string{"web", "db"} {
		e.ok("detach", "--all", name)
	}
	check("after the examples of the README, and detach")
}

// What needs a kernel with more than most have is in blocks fenced as ```console
// kernels. It is run on a bare host.
func TestReadmeKernels(t *testing.T) {
	need(t, "kernels")
	text := documents(t)
	m := newMachine(t)
	check := m.unchanged()
	m.transcript(text, "```console kernels")
	check("after the examples of the README")
}

// documents is the text of the README, and then of docs.
func documents(t *testing.T) (text string) {
	t.Helper()
	docs, err := filepath.Glob("../docs/*.md")
	if err != nil || len(docs) == 0 {
		t.Fatalf("no docs: %v", err)
	}
	for _, path := range append([]string{"../README.md"}, docs...) {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		text += string(b) + "\n"
	}
	return text
}

// transcript runs the commands of the blocks that begin with the fence.
func (m *machine) transcript(text, fence string) {
	t := m.t
	t.Helper()
	commands := transcript(text, fence)
	if len(commands) == 0 {
		t.Fatal("no examples in the README")
	}
	for _, c := range commands {
		r := m.Run("bash", "-c", c.line)
		if !strings.HasPrefix(c.output, "gopipework: ") {
			if r.Code != 0 {
				t.Errorf("README: %v", r)
			}
			continue
		}
		first, _, _ := strings.Cut(c.output, "\n")
		got, _, _ := strings.Cut(r.Stderr, "\n")
		if strings.HasPrefix(first, "gopipework: warning: ") == (r.Code != 0) || got != first {
			t.Errorf("README says that it prints %q:\n%v", first, r)
		}
	}
}

type example struct{ line, output string }

func transcript(text, fence string) (all []example) {
	inside, more := false, false
	for l := range strings.Lines(text) {
		l = strings.TrimRight(l, "\n")
		switch {
		case strings.HasPrefix(l, "```"):
			inside, more = l == fence, false
		case !inside:
		case more:
			last := &all[len(all)-1]
			last.line += "\n" + l
			more = strings.HasSuffix(l, `\`)
		case strings.HasPrefix(l, "# "), strings.HasPrefix(l, "$ "):
			all = append(all, example{line: l[2:]})
			more = strings.HasSuffix(l, `\`)
		case len(all) > 0:
			all[len(all)-1].output += l + "\n"
		}
	}
	return all
}
