package lease

import (
	"bufio"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/gopipework/gopipework/e2e/program"
	"github.com/gopipework/gopipework/internal/nsfs"
)

// keeperOf starts a keeper of the guest that has nothing to keep, as a run does
// that is ended before it has a lease. What reads is what the run holds of it.
func (n *net2) keeperOf() (cmd *exec.Cmd, read *os.File) {
	n.t.Helper()
	read, write, err := os.Pipe()
	check(n.t, err)
	ns := must(nsfs.Reopen(n.g.Namespace))(n.t)
	defer ns.Close()
	cmd = program.Command(n.keepers.Command[0], append(n.keepers.Command[1:], n.keepers.Dir, strconv.Itoa(n.g.PID), "")...)
	cmd.ExtraFiles = []*os.File{ns}
	cmd.Stdout = write
	check(n.t, cmd.Start())
	write.Close()
	n.t.Cleanup(func() {
		_ = cmd.Process.Kill() // one that has ended is waited for once
		_ = cmd.Wait()
		read.Close()
	})
	return cmd, read
}

// endsSoon looks that a keeper ends by itself, without an error, before it would
// tire of waiting for a lease, and that its files go.
func (n *net2) endsSoon(cmd *exec.Cmd, since time.Time) {
	n.t.Helper()
	err := cmd.Wait()
	if took := time.Since(since); err != nil || took >= grace {
		n.t.Errorf("it ended after %v: %v", took, err)
	}
	if f := n.files(); len(f) != 0 {
		n.t.Errorf("left are %q", f)
	}
}

// A keeper whose starter has ended before it could tell it so, which is where a
// pipe without a reader would end it, deletes its files.
func TestLiveStarterEndsBeforeKeeperRuns(t *testing.T) {
	n := newNet(t)
	since := time.Now()
	cmd, read := n.keeperOf()
	read.Close()
	n.endsSoon(cmd, since)
}

// So does one whose starter ends before it hands over a lease.
func TestLiveStarterEndsBeforeLease(t *testing.T) {
	n := newNet(t)
	cmd, read := n.keeperOf()
	if line, err := bufio.NewReader(read).ReadString('\n'); err != nil || line != "\x00\n" {
		t.Fatalf("it says %q, %v", line, err)
	}
	if len(n.files()) == 0 || cmd.Process.Signal(syscall.Signal(0)) != nil {
		t.Fatalf("it does not wait for a lease: files are %q", n.files())
	}
	since := time.Now()
	read.Close()
	n.endsSoon(cmd, since)
}
