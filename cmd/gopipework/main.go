// A run takes some ten milliseconds: reading the control group for the number
// of processors to use, at every start, is a good part of one.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// Command gopipework plugs one more network interface into a container that
// is already running.
//
// This folder is where argv comes in and the exit code goes out, and the only
// place that prints or exits:
//
//	main.go     run: one command line, from argv to exit code
//	commands.go the table of commands and flags, from which help is made
//	args.go     which command it is; flags told from words, wherever they stand
//	attach.go, set.go, link.go, detach.go, list.go, gc.go, exec.go, wait.go, help.go   a command each
//	shape.go    the flags that attach, set and link have for how a link carries
//	output.go   everything that is printed
package main

import (
	"context"
	"errors"
	"io"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/internal/fault"
)

// version is set when a release is built (make build).
var version = "devel"

func main() {
	log.SetOutput(io.Discard) // net/http speaks of broken daemons there; only output.go speaks here
	if len(os.Args) > 1 && os.Args[1] == attach.KeeperWord {
		os.Exit(keepLeases(os.Args[2:]))
	}
	if len(os.Args) > 1 && os.Args[1] == attach.ClientWord {
		os.Exit(mindClient(os.Args[2:]))
	}
	if filepath.Base(os.Args[0]) == attach.ClientScript {
		os.Exit(exitCode(attach.TellClient(os.Args[1:], os.Environ())))
	}
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// run carries out one command line and returns the exit code.
func run(args []string, stdout, stderr io.Writer) int {
	results := &keenWriter{Writer: stdout}
	out := &output{stdout: results, stderr: stderr}
	err := dispatch(context.Background(), args, out)
	if err == nil && results.err != nil {
		err = fault.New(fault.Failed, "write", "the result", "%w", results.err)
	}
	out.fail(err)
	return exitCode(err)
}

// keepLeases is the process that keeps the leases of a guest (internal/lease).
// Who started it reads its standard output until it runs.
func keepLeases(args []string) int {
	return exitCode(attach.KeepLeases(withSignals(context.Background()), args, os.Stdout))
}

// mindClient is the process that looks after a DHCP client of the host
// (internal/hostclient).
func mindClient(args []string) int {
	return exitCode(attach.MindClient(withSignals(context.Background()), args, os.Stdout))
}

// interrupted is why a context ended: a signal, whose exit code is the shell's.
type interrupted struct{ signal syscall.Signal }

func (i interrupted) Error() string { return i.signal.String() }

// withSignals returns a context that a signal ends, with the signal as its
// cause. What is under way is undone before the program ends; a second signal
// changes nothing about that. Signals stay caught until the process has gone: one
// that comes when all is done must not end it as if it had been undone.
func withSignals(parent context.Context) context.Context {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 1)
	for _, s := range []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		if !signal.Ignored(s) { // as nohup(1) has it
			signal.Notify(signals, s)
		}
	}
	go func() {
		if s, ok := (<-signals).(syscall.Signal); ok {
			cancel(&fault.Error{Code: fault.Interrupted, Op: "stop", Err: interrupted{s}, Hint: "nothing was changed, or it was undone"})
		}
	}()
	return ctx
}

// exitCodes is the contract's table; what is not in it is 1.
var exitCodes = map[fault.Code]int{
	fault.Usage:       2,
	fault.NotFound:    3,
	fault.Gone:        3,
	fault.Permission:  4,
	fault.Residue:     5,
	fault.Unsupported: 6,
}

func exitCode(err error) int {
	var i interrupted
	switch {
	case err == nil:
		return 0
	case fault.CodeOf(err) != fault.Residue && errors.As(err, &i):
		return 128 + int(i.signal)
	}
	if code, ok := exitCodes[fault.CodeOf(err)]; ok {
		return code
	}
	return 1
}
