package dockerutil

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// commandDirs returns the directories to look for commands in: those of PATH, and the
// system's own, which PATH may lack. Relative ones are left out, because the current
// directory cannot be trusted.
func commandDirs() []string {
	var dirs []string
	system := []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), system...) {
		if filepath.IsAbs(dir) {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// command returns the path of a command, or "" if there is none.
func (f *finder) command(name string) string {
	for _, dir := range f.commands {
		path := filepath.Join(dir, name)
		info, err := os.Stat(path)
		if err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path
		}
	}
	return ""
}

// refusal is the error of a command that exited by itself with a code other than 0.
type refusal struct {
	exit int
	text string // its standard error, the first kilobytes
}

func (e *refusal) Error() string {
	if e.text == "" {
		return fmt.Sprintf("exit code %d", e.exit)
	}
	return e.text
}

// run runs a command of the host, without a shell, and returns its standard output. It
// kills what the command leaves running.
func run(ctx context.Context, path string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, path, args...)
	var stdout, stderr capped
	stdout.left, stderr.left = maxAnswer, 4<<10
	stderr.forgiving = true
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Env = append(os.Environ(), "LC_ALL=C") // we read its error messages
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 200 * time.Millisecond
	err := cmd.Run()
	if errors.Is(err, exec.ErrWaitDelay) {
		cmd.Cancel() // it has ended, but something that it started has not
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		err = &refusal{exit.ExitCode(), strings.ReplaceAll(string(bytes.TrimSpace(stderr.kept)), "\n", "; ")}
	}
	return stdout.kept, err
}

// capped is a buffer of limited size. Writing more is an error, unless it is forgiving:
// then it drops the rest.
type capped struct {
	kept      []byte
	left      int
	forgiving bool
}

// Write implements io.Writer.
func (c *capped) Write(p []byte) (int, error) {
	kept := p[:min(len(p), c.left)]
	c.left -= len(kept)
	c.kept = append(c.kept, kept...)
	if len(kept) < len(p) && !c.forgiving {
		return len(kept), errTooLong
	}
	return len(p), nil
}
