package dockerutil

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gopipework/gopipework/internal/fault"
)

// serveRaw listens at an address of unix(7) and gives every connection to speak.
func serveRaw(t *testing.T, address string, speak func(net.Conn)) {
	t.Helper()
	l, err := net.Listen("unix", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { conn.Close() })
			go speak(conn)
		}
	}()
}

// repeat says text again and again until nobody listens any more.
func repeat(text string, pause time.Duration) func(net.Conn) {
	return func(c net.Conn) {
		for {
			if _, err := c.Write([]byte(text)); err != nil {
				return
			}
			time.Sleep(pause)
		}
	}
}

// inOrder lets one speak after the other.
func inOrder(all ...func(net.Conn)) func(net.Conn) {
	return func(c net.Conn) {
		for _, speak := range all {
			speak(c)
		}
	}
}

func say(text string) func(net.Conn) { return func(c net.Conn) { c.Write([]byte(text)) } }

// badTalk is what a daemon can say that never becomes an answer.
var badTalk = map[string]func(net.Conn){
	"silence":               func(net.Conn) {},
	"101, then silence":     say("HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"),
	"101 without a word":    say("HTTP/1.1 101\r\n\r\n"),
	"101, then no end":      inOrder(say("HTTP/1.1 101 UPGRADED\r\nUpgrade: h2c\r\n\r\n"), repeat(strings.Repeat("a", 1<<12), 0)),
	"101 again and again":   repeat("HTTP/1.1 101 UPGRADED\r\nUpgrade: tcp\r\n\r\n", time.Millisecond),
	"103 again and again":   repeat("HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n", time.Millisecond),
	"a header byte by byte": inOrder(say("HTTP/1.1 200 OK\r\nX: "), repeat("a", time.Millisecond)),
	"headers without end":   inOrder(say("HTTP/1.1 200 OK\r\n"), repeat("X: a\r\n", 0)),
	"a body byte by byte":   inOrder(say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), repeat("1\r\n \r\n", time.Millisecond)),
	"a body without end":    inOrder(say("HTTP/1.1 200 OK\r\n\r\n"), repeat(strings.Repeat(" ", 1<<12), 0)),
	"an error without end":  inOrder(say("HTTP/1.1 500 no\r\n\r\n"), repeat("a", time.Millisecond)),
	"trailers without end":  inOrder(say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n2\r\n{}\r\n0\r\n"), repeat("X: a\r\n", 0)),
	// Frames of HTTP/2: settings, and pings that want an answer.
	"settings, then silence": say("\x00\x00\x00\x04\x00\x00\x00\x00\x00"),
	"pings without end":      inOrder(say("\x00\x00\x00\x04\x00\x00\x00\x00\x00"), repeat("\x00\x00\x08\x06\x00\x00\x00\x00\x0012345678", 0)),
	// The beginning of an answer of LXC's.
	"half a word": say("\x00\x00\x00\x00"),
}

// Whatever a daemon says, the search ends: when its time is over, and when it is
// called off. What is never an answer is never "no such container".
func TestNoDaemonHoldsUs(t *testing.T) {
	for name, speak := range badTalk {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := shortTemp(t)
			socket := filepath.Join(dir, "sock")
			serveRaw(t, socket, speak)
			serveRaw(t, "@"+lxcSocket(dir, "0123"), speak)
			asks := map[string]func(*finder, context.Context) error{
				RuntimeDocker: func(f *finder, ctx context.Context) error {
					ctx, cancel := f.bounded(ctx)
					defer cancel()
					r := wordRef{Runtime: RuntimeDocker, Name: "0123"}
					d, err := daemonAt(ctx, r, dockerBrand, "unix://"+socket)
					if err != nil {
						return err
					}
					defer d.close()
					_, err = f.take(ctx, r, source{d.inspect, d.stopped, d.dialer}, RuntimeDocker)
					return err
				},
			}
			for _, runtime := range []string{RuntimePodman, RuntimeContainerd, RuntimeCRI, RuntimeIncus, RuntimeLXC} {
				asks[runtime] = func(f *finder, ctx context.Context) error {
					_, err := f.find(ctx, wordRef{Runtime: runtime, Name: "0123"})
					return err
				}
			}
			for runtime, ask := range asks {
				f := testFinder(t)
				f.podmanOwn, f.containerd, f.cri, f.incus, f.lxc = socket, socket, []string{socket}, []string{socket}, dir

				f.bound = 100 * time.Millisecond
				err := soon(t, func() error { return ask(f, context.Background()) })
				if code := fault.CodeOf(err); code != fault.Timeout && code != fault.Runtime {
					t.Errorf("%s: %v (%s), want a failure of the runtime", runtime, err, code)
				}
				if unknown(err) {
					t.Errorf("%s: %v counts as certain not to be there", runtime, err)
				}

				f.bound = time.Hour
				ctx, cancel := context.WithCancelCause(context.Background())
				time.AfterFunc(50*time.Millisecond, func() { cancel(errors.New("interrupted")) })
				err = soon(t, func() error { return ask(f, ctx) })
				if code := fault.CodeOf(err); code != fault.Interrupted && code != fault.Runtime {
					t.Errorf("%s, called off: %v (%s)", runtime, err, code)
				}
			}
		})
	}
}

// A daemon that switches protocols is told from one that is slow: at once.
func TestUpgradeIsRefused(t *testing.T) {
	socket := filepath.Join(shortTemp(t), "sock")
	// What is said before the question is heard is no answer to it.
	hear := func(c net.Conn) { c.Read(make([]byte, 4096)) }
	serveRaw(t, socket, inOrder(hear, badTalk["101, then silence"]))
	cleanEnv(t)
	t.Setenv("DOCKER_HOST", "unix://"+socket)
	f := testFinder(t)
	f.bound = time.Hour
	err := soon(t, func() error {
		_, err := f.find(context.Background(), web)
		return err
	})
	wantFault(t, err, fault.Runtime)
	if !errors.Is(err, errUpgrade) {
		t.Errorf("got %v", err)
	}
}

// soon returns what do returns, and ends the test if that takes far too long.
func soon(t *testing.T, do func() error) error {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- do() }()
	select {
	case err := <-done:
		return err
	case <-time.After(2 * time.Minute):
		t.Fatal("it hangs")
		return nil
	}
}

// A configuration that is a FIFO is not waited for.
func TestConfigurationIsAFIFO(t *testing.T) {
	cleanEnv(t)
	dir := t.TempDir()
	t.Setenv("DOCKER_CONFIG", dir)
	if err := unix.Mkfifo(filepath.Join(dir, "config.json"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := soon(t, func() error {
		_, err := testFinder(t).find(context.Background(), web)
		return err
	})
	wantFault(t, err, fault.Usage)
}
