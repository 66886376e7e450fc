package attach

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gopipework/gopipework/e2e/program"
	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guestnet"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/ours"
)

// rooted is a guest with a process whose /etc/resolv.conf is file.
func rooted(t *testing.T, ns *os.File) (g guests.Guest, file string) {
	t.Helper()
	busybox, err := program.Look("busybox")
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	file = filepath.Join(root, "etc/resolv.conf")
	if out, err := program.Command("sh", "-ec", "mkdir "+root+"/etc; cp "+busybox+" "+root+"/busybox; echo nameserver 10.0.0.1 > "+file).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	cmd := program.Command("nsenter", "--net=/proc/self/fd/3", "--", "chroot", root, "/busybox", "sleep", "1000")
	cmd.ExtraFiles = []*os.File{ns}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	runs(t, cmd.Process.Pid, root+"/busybox")
	return docker(ns, cmd.Process.Pid), file
}

// runs waits until a process runs the program: the one that starts it was another.
func runs(t *testing.T, pid int, program string) {
	t.Helper()
	eventually(t, program+" runs", func() bool {
		exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
		return err == nil && strings.HasSuffix(exe, program)
	})
}

// What fails after the file was written is undone in it, too; what a killed run
// has left there, the same line and a detach restore.
func TestDNSUndone(t *testing.T) {
	needRoot(t)
	notesHere(t)
	hostNS, guestNS := stages[0].ready(t)
	g, file := rooted(t, guestNS)
	content := func() string {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	untouched := func(when string) {
		t.Helper()
		if c := content(); c != "nameserver 10.0.0.1\n" {
			t.Errorf("%s it is %q", when, c)
		}
		if _, err := os.Stat(ours.RunDir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s a note is left: %v", when, err)
		}
	}
	s := parsed(t, "brtest web 192.168.1.2/24 --dns 10.0.0.53")
	seen := ""
	fails := func(p *build.Plan) { // after the file, before the mark
		last := len(p.Steps) - 1
		p.Steps = append(p.Steps[:last:last], failStep{})
	}
	if err := attempt(t, s, g, hostNS, asItIs, fails, func(string) { seen = content() }); !errors.Is(err, errPlanned) || fault.CodeOf(err) == fault.Residue {
		t.Fatal(err)
	}
	if seen != "nameserver 10.0.0.53\n" {
		t.Errorf("before the failure it was %q", seen)
	}
	untouched("after a failure")

	// A killed run: the steps are done, the mark is not.
	kill := func() {
		t.Helper()
		if err := attempt(t, s, g, hostNS, asItIs, func(p *build.Plan) { p.Steps = p.Steps[:len(p.Steps)-1] }, untold); err != nil {
			t.Fatal(err)
		}
	}
	kill()
	if r, err := runAttach(context.Background(), s, g, hostNS, Options{}); err != nil || !r.Changed || content() != "nameserver 10.0.0.53\n" {
		t.Fatalf("the same line after a killed run: %+v, %v, %q", r, err, content())
	}
	if _, err := runDetach(context.Background(), Selection{}, g, hostNS, Options{}); err != nil {
		t.Fatal(err)
	}
	untouched("after detach")
	kill()
	if _, err := runDetach(context.Background(), Selection{}, g, hostNS, Options{}); err != nil {
		t.Fatal(err)
	}
	untouched("after detach of what a killed run left")
}

// Lines that are about something else stay as they are.
func TestResolv(t *testing.T) {
	one, six := netip.MustParseAddr("10.0.0.53"), netip.MustParseAddr("fd00::53")
	for _, tt := range []struct {
		before, want string
		search       []string
	}{
		{"", "nameserver 10.0.0.53\nnameserver fd00::53\n", nil},
		{"nameserver 1.1.1.1\n", "nameserver 10.0.0.53\nnameserver fd00::53\n", nil},
		{"# mine\nsearch a.test\noptions ndots:0", "# mine\nsearch a.test\noptions ndots:0\nnameserver 10.0.0.53\nnameserver fd00::53\n", nil},
		{"search a.test\ndomain b.test\n\tnameserver\t1.1.1.1\n", "search lan.test x.test\nnameserver 10.0.0.53\nnameserver fd00::53\n", []string{"lan.test", "x.test"}},
	} {
		if got := string(guestnet.Resolv([]byte(tt.before), []netip.Addr{one, six}, tt.search)); got != tt.want {
			t.Errorf("of %q comes %q, want %q", tt.before, got, tt.want)
		}
	}
}

// TestResolvNote: a file that a killed run has left half written is known again.
func TestResolvNote(t *testing.T) {
	for _, n := range []build.ResolvNote{
		{Before: []byte("nameserver 192.0.2.1\nsearch example.org\n"), After: []byte("nameserver 10.0.0.1\n")},
		{Before: []byte("# none\n"), After: []byte("# none\nnameserver 10.0.0.1\n")},
	} {
		longer, shorter := n.Before, n.After
		if len(longer) < len(shorter) {
			longer, shorter = shorter, longer
		}
		torn := string(shorter) + string(longer[len(shorter):])
		for text, want := range map[string]bool{
			string(n.Before): true, string(n.After): true, torn: true,
			string(n.After) + "options ndots:5\n": false, "": false,
		} {
			if got := guestnet.Ours(n, []byte(text)); got != want {
				t.Errorf("%q is ours: %v, want %v", text, got, want)
			}
		}
	}
}
