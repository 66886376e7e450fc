//go:build linux

// Command bench times gopipework and its alternatives side by side, on a host of
// its own with a real Docker Engine. Whatever is timed is started in the same way:
// straight from this process, whose one thread is in the host's namespaces, with
// no shell and no nsenter in front of one and not of the other.
//
//	main.go      what is measured, in which order
//	stage.go     the host, its guests, and starting a program on it
//	place.go     building and placing the programs that are compared
//	race.go      taking turns, medians, tables
//	start.go     what a process costs before it does anything
//	docker.go    the quickest docker command and kind of network; the API without a command
//	attach.go    attach and detach of one container, in every way there is
//	commands.go  the commands that a person would type
//	kernel.go    the fewest netlink messages that make what gopipework makes
//	requests.go  what an attach asks of the kernel and of Docker
//	apply.go     apply of a file with many attachments, and once more
//	growth.go    attach and list with many guests
//	bounds.go    what may cost how much
package main

import (
	"cmp"
	"flag"
	"fmt"
	"os"

	"github.com/gopipework/gopipework/e2e/host"
)

func main() {
	host.Main()
	rounds := flag.Int("rounds", 31, "how often each line is timed")
	ports := flag.Int("ports", 500, "how many namespaces are plugged into one bridge")
	entries := flag.Int("entries", 100, "how many attachments the file has that is applied")
	flag.StringVar(&olderProgram, "old", os.Getenv("BENCH_OLD"), "an older gopipework, shown beside ours (or BENCH_OLD)")
	flag.Parse()
	if err := run(*rounds, *ports, *entries); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(rounds, ports, entries int) (err error) {
	h, err := host.Start()
	if err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, h.Close()) }()
	s, err := newStage(h)
	if err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, s.leave()) }()
	var f figures
	for _, part := range []func() error{
		func() error { return s.measureStart(10*rounds, &f) },
		func() error { return s.chooseDocker(max(rounds/3, 3)) },
		func() error { return s.measureAttach(rounds, &f) },
		func() error { return s.countRequests() },
		func() error { return s.measureMemory(&f) },
		func() error { return s.measureApply(entries, max(rounds/6, 3)) },
		func() error { return s.measureGrowth(ports, &f) },
	} {
		if err := part(); err != nil {
			return err
		}
	}
	return f.judge(os.Stdout)
}
