package report

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestSystemd: what systemd is told, and when.
func TestSystemd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	heard := func() string {
		t.Helper()
		b := make([]byte, 4096)
		_ = l.SetReadDeadline(time.Now().Add(soon))
		n, err := l.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
	want := func(what string) {
		t.Helper()
		if got := heard(); got != what && !strings.HasPrefix(got, what+"\n") {
			t.Fatalf("systemd was told %q, want %q", got, what)
		}
	}
	r := quiet()
	r.Wanted("keep", []string{"a", "b"})
	r.Tell(Event{Kind: Pending, Origin: "keep", Line: "a"})
	r.Settled()
	want("READY=1\nSTATUS=1 attached, 1 pending, 0 failed, 0 refused")
	r.Settled() // nothing new
	r.Tell(Event{Kind: Attached, Origin: "keep", Line: "a"})
	r.Settled()
	want("STATUS=2 attached, 0 pending, 0 failed, 0 refused")
	r.Reloading()
	want("RELOADING=1")
	r.Settled()
	want("READY=1")
	if r.Watchdog() != nil {
		t.Error("there is no watchdog, and it ticks")
	}
	t.Setenv("WATCHDOG_USEC", "20000")
	select {
	case <-r.Watchdog():
		r.Alive()
	case <-time.After(soon):
		t.Fatal("the watchdog does not tick")
	}
	want("WATCHDOG=1")
	t.Setenv("WATCHDOG_PID", "1")
	if r.Watchdog() != nil {
		t.Error("the watchdog of another process ticks")
	}
	r.Stopping()
	want("STOPPING=1")
}
