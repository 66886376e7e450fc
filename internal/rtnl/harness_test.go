package rtnl

import (
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/gopipework/gopipework/e2e/host"
	"github.com/gopipework/gopipework/e2e/program"
	"golang.org/x/sys/unix"
)

// Most tests here run on the real kernel, in network namespaces of their own.

var needRoot = host.NeedRoot

// How long a busy machine takes proves nothing.
func init() { dadTimeout, dumpPatience = time.Minute, time.Minute }

// lacking ends the test if the error says that this kernel was built without what
// the test is about.
func lacking(t *testing.T, what string, err error) {
	t.Helper()
	if errors.Is(err, unix.EOPNOTSUPP) {
		host.Lacking(t, what, "this kernel was built without "+what)
	}
}

// space is a network namespace of a test's own.
type space struct {
	*Conn
	ns *os.File
	t  testing.TB
}

// newSpace makes one, with lo up. It goes with the test.
func newSpace(t testing.TB) space {
	t.Helper()
	ns := host.NewNamespace(t)
	c, err := Open(ns)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	s := space{Conn: c, ns: ns, t: t}
	s.sh("ip link set lo up")
	return s
}

// sh runs shell commands in the namespace and returns what they print.
func (s space) sh(script string) string {
	s.t.Helper()
	cmd := program.Command("nsenter", "--net=/proc/self/fd/3", "sh", "-ec", script)
	cmd.ExtraFiles = []*os.File{s.ns}
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return string(out)
}

func (s space) link(name string) *Link {
	s.t.Helper()
	l, err := s.LinkByName(name)
	if err != nil {
		s.t.Fatalf("link %s: %v", name, err)
	}
	return l
}

func (s space) has(name string) bool {
	s.t.Helper()
	_, err := s.LinkByName(name)
	if err != nil && !errors.Is(err, ErrNotFound) {
		s.t.Fatal(err)
	}
	return err == nil
}

// ok fails the test on an error.
func ok(t testing.TB, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// answers fails the test unless the error is the kernel's want.
func answers(t testing.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

// eventually waits until the kernel has come round to it.
func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	if !host.Poll(time.Minute, done) {
		t.Fatalf("still waiting for %s", what)
	}
}

// answersOne reports whether the error is one of those.
func answersOne(err error, those ...error) bool {
	return slices.ContainsFunc(those, func(one error) bool { return errors.Is(err, one) })
}
