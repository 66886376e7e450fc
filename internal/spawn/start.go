// Package spawn starts a process that outlives this run, and that works in the network
// namespace of a guest, or in several.
//
//	start.go  what the run does: start the process, and hear whether it is ready
//	serve.go  what the process does: tell that, and see when the run is gone
//	rest.go   let go of memory before it sleeps
//
// The process has a session of its own, nothing of the environment, and nothing open
// but its namespaces and a pipe to the run. By the pipe it says once whether it is
// ready; and by it, it knows that the run has ended, however that came about.
package spawn

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/nsfs"
)

// Program is what is to be started.
type Program struct {
	Command   []string
	Env       []string      // beside what such a process always has
	Namespace *os.File      // that it works in; the file stays the caller's
	Others    []*os.File    // further namespaces that it works in
	Within    time.Duration // how long it may take to say whether it is ready
}

// Process is a process that was started.
type Process struct {
	Report Report // what it said; the zero Report if it said nothing
	cmd    *exec.Cmd
	pipe   *os.File
	ended  chan struct{}
}

// Report is what a process says once.
type Report struct {
	Code fault.Code // why it is not ready; "" if it is
	Text string     // the same in words; a warning if it is ready
}

// Start starts the process and returns when it is ready. An error comes with the
// process if there is one, which was not ready and may still have to be ended.
func (p Program) Start(ctx context.Context) (*Process, error) {
	var namespaces []*os.File
	defer func() {
		for _, ns := range namespaces {
			ns.Close()
		}
	}()
	for _, f := range append([]*os.File{p.Namespace}, p.Others...) {
		// A copy of the caller's descriptor would share its locks.
		ns, err := nsfs.Reopen(f)
		if err != nil {
			return nil, err
		}
		namespaces = append(namespaces, ns)
	}
	out, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(p.Command[0], p.Command[1:]...)
	cmd.ExtraFiles = namespaces // from namespaceFD on
	cmd.Dir = "/"
	cmd.Env = append([]string{"GOMAXPROCS=1", "GOGC=25"}, p.Env...) // it sleeps nearly always
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Stdout = in
	err = cmd.Start()
	in.Close()
	if err != nil {
		out.Close()
		return nil, err
	}
	s := &Process{cmd: cmd, pipe: out, ended: make(chan struct{})}
	go func() { _ = cmd.Wait(); close(s.ended) }()
	return s, s.hear(ctx, p.Within)
}

// hear waits for the report.
func (s *Process) hear(ctx context.Context, within time.Duration) error {
	_ = s.pipe.SetReadDeadline(time.Now().Add(within))
	stop := context.AfterFunc(ctx, func() { _ = s.pipe.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	line, err := bufio.NewReader(io.LimitReader(s.pipe, maxReport)).ReadString('\n')
	code, text, whole := strings.Cut(strings.TrimSuffix(line, "\n"), "\x00")
	switch {
	case whole && code == "":
		s.Report = Report{Text: text}
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case whole:
		s.Report = Report{fault.Code(code), text}
		return s.Report
	}
	return fmt.Errorf("it ended at once: %w", err)
}

// Error makes a Report the reason why a process is not ready.
func (r Report) Error() string { return r.Text }

// Close tells the process that nobody waits for it any more. It goes on if it has
// something to do.
func (s *Process) Close() error { return s.pipe.Close() }

// End asks the process to end, kills it if it has not ended within grace, and returns
// when it has ended.
func (s *Process) End(grace time.Duration) {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.ended:
	case <-time.After(grace):
		_ = s.cmd.Process.Kill()
		<-s.ended
	}
}
