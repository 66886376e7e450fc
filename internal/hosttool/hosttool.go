// Package hosttool runs a program of the host, such as iptables or ovs-vsctl.
package hosttool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Error is a program that ran and refused.
type Error struct {
	Exit int    // its exit status
	Text string // its standard error, on one line
}

func (e *Error) Error() string {
	if e.Text == "" {
		return fmt.Sprintf("exit status %d", e.Exit)
	}
	return e.Text
}

// Timeout bounds a run: the wait for the lock that all users of iptables share, or for
// ovs-vswitchd to do what the database says.
var Timeout = 5 * time.Second

// Run runs a program in the calling thread's network namespace, which a child inherits,
// and returns its standard output. It returns [context.DeadlineExceeded] after [Timeout].
func Run(ctx context.Context, bin string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, bin, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = time.Second
	// Out of the terminal's process group: its Ctrl-C is for us, and must not
	// end an undo in the middle.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	err := cmd.Run()
	if err != nil && context.Cause(ctx) == context.DeadlineExceeded {
		return "", context.DeadlineExceeded // also if that is why the caller's context was cancelled
	}
	if ctx.Err() != nil && err != nil {
		return "", ctx.Err()
	}
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		text := strings.Join(strings.Fields(stderr.String()), " ")
		return "", &Error{Exit: exit.ExitCode(), Text: text}
	}
	return stdout.String(), err
}
