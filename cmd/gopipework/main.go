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
//	main.go       run: one command line, from argv to exit code
//	commands.go   the table of commands, and how a line finds its command
//	args.go       flags told from words, wherever they stand; misspelt words
//	flags.go      the flags that several commands share
//	guests.go     finding the guests of a command, and what an attach.Options needs
//	output.go     everything that is printed, except
//	errors.go     errors: what is printed of them, and their exit codes
//
// Every command is a file: its entry in the table, and its action, which reads the
// words, finds the guests, calls package attach and prints what comes back.
//
//	attach.go set.go link.go detach.go list.go gc.go        a function of package attach each
//	exec.go iproute2.go                                     the host's programs, in a guest
//	wait.go here.go                                         wait, and --wait inside a container
//	help.go                                                 help and version
package main

import (
	"context"
	"io"
	"log"
	"os"
	"os/signal"
	"syscall"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/internal/fault"
)

// version is set when a release is built (make build).
var version = "devel"

func main() {
	log.SetOutput(io.Discard) // net/http speaks of broken daemons there; only output.go speaks here
	if work := attach.Helper(os.Args); work != nil {
		os.Exit(exitCode(work(withSignals(context.Background()), os.Stdout)))
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
