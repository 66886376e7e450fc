//go:build linux

package host

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gopipework/gopipework/e2e/program"
	"golang.org/x/sys/unix"
)

// squatVariable in the environment makes this program a [Squatter]; its value is the
// words of that.
const squatVariable = "GOPIPEWORK_SQUAT"

// Squatter is a process that takes abstract addresses of unix sockets, and keeps them
// until it is killed. It may be an ordinary user's.
type Squatter struct {
	NS        *os.File // in whose namespace
	Addresses []string

	Root  bool // root, with the capabilities that a container has
	Flaps bool // it gives them up and takes them again all the time
	Flock bool // it holds the flock of its namespace as well
}

// Start starts the process, and waits until it holds what it can.
func (s Squatter) Start(t testing.TB) *exec.Cmd {
	t.Helper()
	args := []string{"--net=/proc/self/fd/3"}
	words := "squat"
	if s.Root {
		args = append(args, "setpriv", "--inh-caps=-all", "--bounding-set=-all,+net_bind_service,+net_raw,+chown,+setuid")
		words += " root"
	}
	if s.Flaps {
		words += " flaps"
	}
	if s.Flock {
		words += " flock"
	}
	cmd := program.Command("nsenter", append(append(args, os.Args[0]), s.Addresses...)...)
	cmd.Env = append(os.Environ(), squatVariable+"="+words)
	cmd.ExtraFiles = []*os.File{s.NS}
	StartHolder(t, cmd)
	return cmd
}

// StartHolder starts a process that says "held" when it holds what it is to hold, and
// waits for that. It is killed when the test ends.
func StartHolder(t testing.TB, cmd *exec.Cmd) {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "held\n" {
		t.Fatalf("%q, %v", line, err)
	}
}

// squat is the process. It drops its privileges before it takes an address, as the
// kernel notes whose it is then.
func squat(words string) error {
	has := func(word string) bool { return strings.Contains(words+" ", " "+word+" ") }
	if !has("root") && !has("flock") {
		if err := syscall.Setuid(65534); err != nil {
			return err
		}
	}
	sockets, err := take(os.Args[1:])
	if err != nil && !has("flaps") {
		return err
	}
	if has("flock") {
		if err := syscall.Setuid(65534); err != nil {
			return err
		}
		own, err := unix.Open("/proc/self/ns/net", unix.O_RDONLY, 0)
		if err == nil {
			err = unix.Flock(own, unix.LOCK_EX)
		}
		if err != nil {
			return err
		}
	}
	if _, err := os.Stdout.WriteString("held\n"); err != nil {
		return err
	}
	for has("flaps") {
		time.Sleep(30 * time.Millisecond)
		for _, s := range sockets {
			unix.Close(s)
		}
		sockets, _ = take(os.Args[1:]) // somebody else may have it now
	}
	time.Sleep(time.Hour)
	return errors.New("nobody has killed it")
}

// take takes addresses, and returns the sockets that have them.
func take(addresses []string) (sockets []int, err error) {
	for _, name := range addresses {
		s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
		if err != nil {
			return sockets, err
		}
		sockets = append(sockets, s)
		if err := unix.Bind(s, &unix.SockaddrUnix{Name: name}); err != nil {
			return sockets, err
		}
	}
	return sockets, nil
}
