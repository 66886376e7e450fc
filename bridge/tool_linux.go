package bridge

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

// Running the host's programs: iptables, ovs-vsctl.

type missingToolError struct{ name string }

func (e *missingToolError) Error() string { return "no program " + e.name + " on this host" }

// toolError is a program that ran and refused.
type toolError struct {
	exit int
	text string // what it said, on one line
}

func (e *toolError) Error() string {
	if e.text == "" {
		return fmt.Sprintf("exit status %d", e.exit)
	}
	return e.text
}

// toolTimeout bounds a run: the wait for the lock that all users of iptables
// share, or for ovs-vswitchd to do what the database says.
const toolTimeout = 5 * time.Second

// runTool runs a program in the calling thread's network namespace, which a
// child inherits, and returns its output.
func runTool(ctx context.Context, bin string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, toolTimeout)
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
		return "", &toolError{exit: exit.ExitCode(), text: text}
	}
	return stdout.String(), err
}
