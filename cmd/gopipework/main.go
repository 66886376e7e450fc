// A run takes about ten milliseconds. Without these settings every start would read the
// control group to learn how many processors to use, which takes a good part of a millisecond.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// Command gopipework plugs one more network interface into a container that
// is already running.
//
// Here argv comes in and the exit code goes out. No other package prints or exits.
//
//	main.go       runs one command line, from argv to exit code
//	commands.go   the table of commands, and the search for the command of a line
//	args.go       separates flags from words, and corrects misspelt ones
//	flags.go      the flags that several commands share
//	guests.go     finds the guests of a command, and reads its attach.Options
//	output.go     prints results and warnings
//	errors.go     prints errors, and maps them to exit codes
//	grammar.go    reads the lines of a topology file
//	meant.go      guesses what was meant by a line that makes no sense
//
// Each command has a file with its entry in the table and its action. An action reads
// the words, finds the guests, calls package attach and prints the result.
//
//	attach.go set.go link.go detach.go list.go gc.go   each calls one function of attach
//	doctor.go bundle.go                                doctor: why packets do or do not flow
//	apply.go reconcile.go difference.go                apply, diff and destroy: a topology file and the host
//	confirm.go                                         apply --confirm, and confirm
//	keep.go line.go                                    attach --keep, and forget
//	replace.go                                         attach --replace
//	setfor.go                                          set --for
//	watch.go                                           watch, which does the same whenever something changes
//	compose.go                                         what Docker Compose runs: record lines for watch, or drop them
//	asked.go                                           what a guest asks for itself as it starts: for hook and CNI
//	cni.go cniipam.go cnidel.go cniextra.go            what container engines run as a plugin of CNI
//	evpn.go                                            evpn-config: the lines for a routing daemon
//	policy.go                                          policy check, and the labels of containers for watch
//	hook.go runtime.go                                 what an OCI runtime runs before a container starts, and a runtime that has it so
//	telling.go events.go missing.go                    what watch tells: log, metrics, events, and list
//	import.go from.go                                  a topology file from what is there, or from another program's
//	graph.go graphserve.go                             what is connected to what, as a drawing and as a page
//	exec.go iproute2.go                                run a program of the host in a guest
//	capture.go                                         the packets of a guest's interface
//	wait.go here.go                                    wait, and --wait inside a container
//	onhost.go                                          --on-host, with which an image starts
//	completion.go lookup.go                            completion in a shell, and what it looks up
//	help.go                                            help and version
package main

import (
	"context"
	"errors"
	"io"
	"log"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/internal/fault"
)

// version is set when a release is built (make build).
var version = "devel"

func main() {
	log.SetOutput(io.Discard) // net/http logs there what it thinks of a daemon's answers
	work := undoHelper(os.Args)
	if work == nil {
		work = setBackHelper(os.Args)
	}
	if work == nil {
		work = attach.Helper(os.Args)
	}
	if work != nil {
		ctx, caught := withSignals(context.Background())
		caught()
		os.Exit(exitCode(work(ctx, os.Stdout)))
	}
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// run carries out one command line and returns the exit code.
func run(args []string, stdout, stderr io.Writer) int {
	results := &keenWriter{Writer: stdout}
	out := &output{stdout: results, stderr: stderr}
	err := dispatch(context.Background(), args, out)
	if err == nil && results.err != nil {
		err = unwritten(results.err)
	}
	if errors.Is(results.err, syscall.EPIPE) && errors.Is(err, syscall.EPIPE) && fault.CodeOf(err) != fault.Residue {
		return 128 + int(syscall.SIGPIPE) // as of a program that it kills
	}
	out.fail(err)
	return exitCode(err)
}

// withSignals returns a context that the first signal cancels, with the signal as its
// cause. The program then undoes what it has begun, and a second signal does not
// interrupt that. Signals stay caught until the process ends: a late one must not kill
// it, because its exit code would then say that the finished work was undone.
//
// To catch them takes the runtime a thread, and some time: it is done while the command
// looks at what is there. Call caught, which waits for it, before anything that has to be
// undone.
//
// Signals that mean something else to the command are excepted.
func withSignals(parent context.Context, except ...os.Signal) (_ context.Context, caught func()) {
	ctx, cancel := context.WithCancelCause(parent)
	set := make(chan struct{})
	go func() {
		signals := make(chan os.Signal, 1)
		for _, s := range []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
			if !slices.Contains(except, s) && !signal.Ignored(s) { // nohup(1) ignores SIGHUP
				signal.Notify(signals, s)
			}
		}
		// A reader that has gone away, as head does, must not kill what has to be undone: a
		// signal that is asked for is an error of the write (os/signal). exec resets it.
		signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
		close(set)
		if s, ok := (<-signals).(syscall.Signal); ok {
			cancel(&fault.Error{Code: fault.Interrupted, Op: "stop", Err: interrupted{s}})
		}
	}()
	return ctx, func() { <-set }
}
