// Package dropreason hears from the kernel which packets it drops, why, and in which of its
// functions: the tracepoint skb:kfree_skb, which "perf trace -e skb:kfree_skb" shows.
//
//	dropreason.go  a window of time, and what was dropped in it
//	event.go       the tracepoint's format, from tracefs
//	ring.go        the memory of each processor that the kernel writes events into
//	symbols.go     the names of the kernel's functions
//
// Everything is bound to descriptors: the events, and a mount of tracefs that is nowhere
// in the file system. So nothing is left when the process ends, in whatever way.
package dropreason

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/gopipework/gopipework/internal/fault"
	"golang.org/x/sys/unix"
)

// Drop is some packets that were dropped for the same reason in the same function.
type Drop struct {
	Reason   string // the kernel's word for it, such as "NETFILTER_DROP"; a number if it has none
	Location string // the function, such as "nft_do_chain"; "" if the kernel hides them
	Protocol uint16 // EtherType of the packets, as unix.ETH_P_IP; 0 if they had none yet
	// Own is true if this process was on the processor. What it sends over a veth pair or
	// a bridge is mostly delivered, and so dropped, before its system call returns; then
	// these are its own packets, or answers to them.
	Own   bool
	Count int
}

// String is the drop as a person reads it: "2 x NETFILTER_DROP in nft_do_chain".
func (d Drop) String() string {
	s := fmt.Sprintf("%d x %s", d.Count, d.Reason)
	if d.Location != "" {
		s += " in " + d.Location
	}
	return s
}

// Window is a stretch of time in which drops are heard of, those of all processes and
// network namespaces.
type Window struct {
	event event
	rings []*ring
}

// Open begins a window. It takes root. The error has the code unsupported on a kernel
// without the tracepoint, or, before 5.17, without a reason in it.
func Open() (*Window, error) {
	w := &Window{}
	if err := w.open(); err != nil {
		w.release()
		return nil, openFault(err)
	}
	return w, nil
}

func (w *Window) open() error {
	var err error
	if w.event, err = readEvent(); err != nil {
		return err
	}
	cpus, err := onlineCPUs()
	if err != nil {
		return err
	}
	for _, cpu := range cpus {
		r, err := openRing(w.event.id, cpu)
		if errors.Is(err, unix.ENODEV) {
			continue // it went offline
		}
		if err != nil {
			return err
		}
		w.rings = append(w.rings, r)
	}
	return nil
}

func openFault(err error) error {
	if f := (*fault.Error)(nil); errors.As(err, &f) {
		return err
	}
	out := fault.New(fault.CodeOfCause(err), "listen for dropped packets", "", "%w", err)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		out.Code = fault.Unsupported // no such event, or no tracefs
	}
	return out
}

func (w *Window) release() {
	for _, r := range w.rings {
		r.close()
	}
	w.rings = nil
}

// Close ends the window and returns what was dropped in it: this process's own first, and
// of these the most frequent. It returns the drops also if the error says that some may
// be missing.
func (w *Window) Close() ([]Drop, error) {
	counts := map[sample]int{}
	full := false
	for _, r := range w.rings {
		r.stop()
		full = r.read(func(pid uint32, raw []byte) {
			if s, ok := w.event.sample(raw); ok {
				s.own = int(pid) == os.Getpid()
				counts[s]++
			}
		}) || full
	}
	w.release()
	drops, err := w.event.drops(counts)
	if err != nil {
		return drops, fault.Explain("name the functions that drop packets", "", err)
	}
	if full {
		return drops, fault.New(fault.Limit, "listen for dropped packets", "", "there are more than can be read, so some may be missing")
	}
	return drops, nil
}

// drops puts names to what was counted.
func (e event) drops(counts map[sample]int) ([]Drop, error) {
	var at []uint64
	for s := range counts {
		at = append(at, s.location)
	}
	names, err := symbols(at)
	merged := map[Drop]int{} // several places of a function
	for s, n := range counts {
		merged[Drop{Reason: e.reason(s.reason), Location: names[s.location], Protocol: s.protocol, Own: s.own}] += n
	}
	var out []Drop
	for d, n := range merged {
		d.Count = n
		out = append(out, d)
	}
	slices.SortFunc(out, func(a, b Drop) int {
		if a.Own != b.Own {
			return map[bool]int{true: -1, false: 1}[a.Own]
		}
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Location, b.Location), cmp.Compare(a.Protocol, b.Protocol))
	})
	return out, err
}
