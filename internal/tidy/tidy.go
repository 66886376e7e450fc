// Package tidy deletes the neighbour entries that probes made, also when the process that
// sent the probes is killed.
//
// A packet that goes through the network stack of a host may enter a neighbour there, and
// one at the far end. Such an entry stays for as long as the kernel has room for it. IPv6
// also notes which size a router has said to fit, for ten minutes. So a
// process of its own looks which entries there are before the first probe, waits until
// the probes are done or their process is gone, and deletes those that were not there.
package tidy

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/spawn"
	"golang.org/x/sys/unix"
)

// Word makes a process of this program the one that deletes the entries ([Serve]).
const Word = "--tidy-neighbours"

// Link is a link whose neighbours are looked after.
type Link struct {
	Namespace *os.File // that it is in
	Index     int
	Addrs     []netip.Addr // of neighbours that probes may enter; nil: all. Multicast addresses are always among them
}

// Needed reports whether probes between the links could enter a neighbour that is not
// there yet. Where each end knows the other already, they cannot, and no process has to
// be started.
func Needed(links []Link) (bool, error) {
	for _, l := range links {
		if len(l.Addrs) == 0 {
			return true, nil
		}
		k, err := rtnl.Open(l.Namespace)
		if err != nil {
			return false, err
		}
		there, err := k.Neighbours(l.Index)
		k.Close()
		if err != nil {
			return false, fmt.Errorf("read neighbours: %w", err)
		}
		for _, a := range l.Addrs {
			if !slices.Contains(there, a) {
				return true, nil
			}
		}
	}
	return false, nil
}

// Process is the one that deletes the entries.
type Process struct {
	process *spawn.Process
	tables  []table // without a process: this one does it
}

// How long the process may take to start, and to end. Nearly all of it is spent on a
// machine that is busy.
const (
	startTime = 5 * time.Second
	endTime   = 5 * time.Second
)

// Start starts the process: program is the path of this one, which has to hand the
// arguments after [Word] to [Serve]. Neighbours that are entered after Start has returned
// will be deleted. With "" as the program this process does it itself, and if it is killed
// before, nothing does.
func Start(ctx context.Context, program string, links []Link) (*Process, error) {
	if program == "" {
		tables, err := look(links)
		return &Process{tables: tables}, err
	}
	p := spawn.Program{Command: []string{program, Word}, Within: startTime}
	for _, l := range links {
		p.Command = append(p.Command, l.word())
		p.Others = append(p.Others, l.Namespace)
	}
	p.Namespace, p.Others = p.Others[0], p.Others[1:]
	process, err := p.Start(ctx)
	if err != nil {
		if process != nil {
			process.End(endTime)
			process.Close()
		}
		return nil, fmt.Errorf("start what deletes neighbour entries: %w", err)
	}
	return &Process{process: process}, nil
}

// End deletes what was entered, and returns when that is done. No probe may be under way.
func (p *Process) End() error {
	if p.process == nil {
		defer closeAll(p.tables)
		return cleanTwice(p.tables)
	}
	p.process.End(endTime)
	return p.process.Close()
}

// word is a link as an argument of the process.
func (l Link) word() string {
	words := []string{strconv.Itoa(l.Index)}
	for _, a := range l.Addrs {
		words = append(words, a.String())
	}
	return strings.Join(words, ",")
}

func parseLink(word string) (l Link, err error) {
	words := strings.Split(word, ",")
	if l.Index, err = strconv.Atoi(words[0]); err != nil {
		return l, err
	}
	for _, w := range words[1:] {
		a, err := netip.ParseAddr(w)
		if err != nil {
			return l, err
		}
		l.Addrs = append(l.Addrs, a)
	}
	return l, nil
}

// Serve is the process. Its arguments are those after [Word], out is its standard output.
// It deletes the entries when ctx ends, or when the process that started it is gone.
func Serve(ctx context.Context, args []string, out *os.File) error {
	namespaces, starter, err := spawn.BeginIn(out, len(args))
	if err != nil {
		return err
	}
	var links []Link
	for i := 0; i < len(args) && err == nil; i++ {
		var l Link
		l, err = parseLink(args[i])
		l.Namespace = namespaces[i]
		links = append(links, l)
	}
	var tables []table
	if err == nil {
		tables, err = look(links)
	}
	if err != nil {
		starter.Refuse(err)
		return err
	}
	defer closeAll(tables)
	gone := make(chan struct{})
	if err := starter.Ready(""); err != nil {
		return err // nobody is there to send anything
	}
	stop := starter.WhenGone(func() { close(gone) })
	defer stop()
	select {
	case <-ctx.Done():
		err = cleanTwice(tables)
	case <-gone:
		err = cleanUntilQuiet(tables)
	}
	return fault.Explain("delete", "neighbour entries of a probe", err)
}

// cleanTwice cleans, and if there was something to delete does so again: one end may have
// asked the other meanwhile.
func cleanTwice(tables []table) error {
	deleted, err := clean(tables)
	if deleted && err == nil {
		_, err = clean(tables)
	}
	return err
}

// A process that was killed has left packets that are still on their way: the question
// that the one end has asked is yet to enter it at the other.
const (
	quietPause = 20 * time.Millisecond
	quietLooks = 15
	mostLooks  = 100
)

func cleanUntilQuiet(tables []table) error {
	quiet := 0
	for range mostLooks {
		deleted, err := clean(tables)
		if err != nil {
			return err
		}
		if quiet++; deleted {
			quiet = 0
		}
		if quiet == quietLooks {
			return nil
		}
		time.Sleep(quietPause)
	}
	return nil
}

// table is that of one link's neighbours.
type table struct {
	Link
	kernel  *rtnl.Conn
	before  []netip.Addr
	learned []rtnl.Learned // before
}

// look notes what is there. With an error it has left nothing open.
func look(links []Link) (tables []table, err error) {
	defer func() {
		if err != nil {
			closeAll(tables)
		}
	}()
	for _, l := range links {
		k, err := rtnl.OpenBriefly(l.Namespace)
		if err != nil {
			return tables, err
		}
		tables = append(tables, table{Link: l, kernel: k})
		t := &tables[len(tables)-1]
		if t.before, err = k.Neighbours(l.Index); err != nil {
			return tables, fmt.Errorf("read neighbours: %w", err)
		}
		if t.learned, err = k.Learned(); err != nil {
			return tables, fmt.Errorf("read what was learned from routers: %w", err)
		}
	}
	return tables, nil
}

func closeAll(tables []table) {
	for _, t := range tables {
		t.kernel.Close()
	}
}

// clean deletes, at each link, what was not there before. A namespace or link that has
// gone meanwhile has taken its entries along.
func clean(tables []table) (deleted bool, err error) {
	note := func(failed error) {
		switch {
		case failed == nil:
			deleted = true
		case !gone(failed):
			err = errors.Join(err, failed)
		}
	}
	for _, t := range tables {
		there, failed := t.kernel.Neighbours(t.Index)
		if failed != nil {
			note(failed)
		}
		for _, a := range there {
			if slices.Contains(t.before, a) || !a.IsMulticast() && t.Addrs != nil && !slices.Contains(t.Addrs, a) {
				continue
			}
			note(t.kernel.DelNeighbour(t.Index, a))
		}
		learned, failed := t.kernel.Learned()
		if failed != nil {
			note(failed)
		}
		for _, l := range learned {
			if l.Index == t.Index && !slices.Contains(t.learned, l) {
				note(t.kernel.Forget(l))
			}
		}
	}
	return deleted, err
}

func gone(err error) bool {
	return errors.Is(err, rtnl.ErrNotFound) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ESRCH)
}
