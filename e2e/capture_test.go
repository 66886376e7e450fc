//go:build linux

package e2e

import (
	"context"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gopipework/gopipework/e2e/host"
)

// withoutPrograms is what a shell does for a host without any.
const withoutPrograms = "PATH=/nonexistent;"

// inShell has a shell become gopipework, on a host that is changed before.
func inShell(before string) string {
	return `g=$(command -v gopipework); ` + before + ` exec "$g" "$@"`
}

// TestCapture: what passes a guest's interface is in a file that tcpdump reads, whether
// tcpdump wrote it or, on a host without, gopipework.
func TestCapture(t *testing.T) {
	need(t, "tcpdump")
	m := newMachine(t)
	twoOnBridge(m)
	for name, before := range map[string]string{"by tcpdump": "", "without tcpdump": withoutPrograms} {
		t.Run(name, func(t *testing.T) {
			m := &machine{m.Host, t}
			file := filepath.Join(t.TempDir(), "web.pcap")
			cmd := m.Command(context.Background(), "sh", "-c", inShell(before), "sh", "capture", "netns:web", "eth1", "-w", file)
			var stderr strings.Builder
			cmd.Stderr = &stderr
			m.check(cmd.Start())
			pings := 0
			read := func() string { return m.Run("tcpdump", "-n", "-r", file).Stdout }
			if !host.Poll(host.Patience, func() bool {
				pings++
				m.Run("ip", "netns", "exec", "db", "busybox", "ping", "-c", "1", "-W", "1", "10.0.0.2")
				time.Sleep(100 * time.Millisecond)
				return strings.Contains(read(), "10.0.0.2 > 10.0.0.3: ICMP echo reply")
			}) {
				t.Errorf("after %d pings it has\n%s%s", pings, read(), &stderr)
			}
			m.do("ip netns exec db busybox ping -c 1 -W 1 -s 1000 10.0.0.2")
			time.Sleep(100 * time.Millisecond)
			m.check(cmd.Process.Signal(syscall.SIGINT))
			if err := cmd.Wait(); err != nil || !strings.Contains(stderr.String(), "captured") {
				t.Errorf("it ends with %v: %s", err, &stderr)
			}
			m.says("what passed just before the end", read(), "10.0.0.2 > 10.0.0.3: ICMP echo reply", "length 1008")
		})
	}
}

// TestCaptureRefused: without tcpdump there is no filter, and nothing to print packets; and
// what is not there is said.
func TestCaptureRefused(t *testing.T) {
	m := newMachine(t)
	twoOnBridge(m)
	for words, want := range map[string]string{
		"netns:web eth1":                  "this host has no tcpdump",
		"netns:web eth1 -w x tcp port 80": "this host has no tcpdump",
		"netns:web eth9 -w /tmp/x":        "has no such interface",
		"netns:web eth1 -w /no/such":      "no such file",
		"netns:nobody eth1 -w /tmp/x":     "no namespace of that name",
	} {
		cmd := m.Command(context.Background(), "sh", append([]string{"-c", inShell(withoutPrograms), "sh", "capture"}, strings.Fields(words)...)...)
		if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), want) {
			t.Errorf("%s: %v, want %q: %s", words, err, want, out)
		}
	}
}
