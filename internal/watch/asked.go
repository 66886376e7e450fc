package watch

import (
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/reconcile"
	"github.com/gopipework/gopipework/internal/report"
	"github.com/gopipework/gopipework/internal/topology"
)

// answer is what a source asks for.
type answer struct {
	lists  []List
	asking bool // it is being asked
	again  bool // something has changed meanwhile
	known  bool // it has answered

	failures int         // in a row
	retry    *time.Timer // after a failure; nil: there was none
}

// ask asks a source what is wanted now.
func (w *Watcher) ask(n int) {
	if w.asked[n].asking {
		w.asked[n].again = true
		return
	}
	w.asked[n].asking = true
	go func() {
		lists, err := w.Sources[n].Wanted(w.ctx)
		w.turn(func() { w.answered(n, lists, err) })
	}()
}

// answered takes what a source asks for.
func (w *Watcher) answered(n int, lists []List, err error) {
	a := &w.asked[n]
	w.Report.Read(w.Sources[n].String(), states(w.Sources[n].String(), lists, err))
	if !isMissing(err) {
		lists = withUntold(a.lists, lists)
	}
	before := a.lists
	a.lists = lists
	w.changed(before, lists)
	for m := range w.asked[n:] {
		for _, origin := range w.namesakes(n + m) {
			w.tell(report.Event{Kind: report.Warning, Origin: string(origin), Name: w.Sources[n+m].String(),
				Reason: "it asks for nothing, because another file has the same name", Hint: "give it a name of its own: name: lab"}, nil)
		}
	}
	if !a.known { // what is there may be wanted by nobody
		a.known = true
		w.lookAtAll()
	}
	w.askAgain(n, err)
	if a.asking = false; a.again {
		a.again = false
		w.ask(n)
	}
}

// askAgain has a source asked again that could not answer, such as an engine that was too
// busy: nothing may tell that it can now. A file that makes no sense is read again when
// somebody writes it.
func (w *Watcher) askAgain(n int, err error) {
	a := &w.asked[n]
	if a.retry != nil {
		a.retry.Stop()
	}
	if isMissing(err) || fault.CodeOf(err) == fault.Invalid {
		a.failures = 0
		return
	}
	a.retry = w.after(again(a.failures), func() { w.ask(n) })
	a.failures++
}

// withUntold returns the lists of an answer in which something is missing that cannot be told
// now. Where an origin has fewer lists than before, those from before count: of two files with
// one name, the one that counts may be the one that cannot be read.
func withUntold(before, now []List) []List {
	count := func(lists []List, origin attach.Origin) (n int) {
		for _, l := range lists {
			if l.Origin == origin {
				n++
			}
		}
		return n
	}
	untold := func(l List) bool { return count(now, l.Origin) < count(before, l.Origin) }
	all := slices.DeleteFunc(slices.Clone(now), untold)
	for _, l := range before {
		if untold(l) {
			all = append(all, l)
		}
	}
	return all
}

// manyWords is from how many guests on a look at all of them is less work than one at each.
const manyWords = 8

// changed looks at what is asked for in another way than before.
func (w *Watcher) changed(before, now []List) {
	var words []string // of new entries
	gone := false      // or there is something that only a look at everything finds
	for _, l := range others(before, now) {
		w.Report.Wanted(string(l.Origin), nil)
		if name, is := strings.CutPrefix(string(l.Origin), "file:"); is && len(l.Entries) > 0 {
			w.tell(report.Event{Kind: report.Warning, Origin: string(l.Origin), Reason: "its file is gone, and what is attached for it stays",
				Hint: "gopipework destroy " + name + " detaches it"}, nil)
		}
	}
	for _, l := range now {
		was := ofOrigin(before, l.Origin)
		if reflect.DeepEqual(was, l) {
			continue
		}
		added, lost := compareEntries(was.Entries, l.Entries)
		words = append(words, reconcile.Words(added)...)
		gone = gone || lost || len(bridgeWords(added)) > 0
		var lines []string
		for _, e := range l.Entries {
			lines = append(lines, reconcile.Item{Entry: e}.Line())
		}
		for _, e := range l.Refused {
			lines = append(lines, e.Line)
		}
		w.Report.Wanted(string(l.Origin), lines)
		for _, e := range l.Refused {
			w.tell(e, nil)
		}
	}
	w.know()
	w.parks.wants(w.wanted(""))
	for _, word := range words {
		if g := w.guests[word]; g != nil { // nil: another list of that origin counts
			g.failures = 0 // what failed is not what is asked for now
		}
	}
	if gone || len(words) > manyWords {
		w.lookAtAll()
		return
	}
	for _, word := range words {
		w.check(word)
	}
}

// compareEntries returns the entries that are new, and reports whether others have gone.
func compareEntries(before, now []topology.Entry) (added []topology.Entry, gone bool) {
	lineOf := func(e topology.Entry) string { // a label's guest is another one if only its ID is
		return strings.Join(append(reconcile.Words([]topology.Entry{e}), reconcile.Item{Entry: e}.Line()), " ")
	}
	known := map[string]bool{}
	for _, e := range before {
		known[lineOf(e)] = true
	}
	for _, e := range now {
		line := lineOf(e)
		if !known[line] {
			added = append(added, e)
		}
		delete(known, line)
	}
	return added, len(known) > 0
}

// bridgeWords are the words for the bridges of entries.
func bridgeWords(entries []topology.Entry) (words []string) {
	for _, e := range entries {
		if name := (reconcile.Item{Entry: e}).BridgeName(); name != "" {
			words = append(words, bridgeWord+name)
		}
	}
	return words
}

// know sees to it that there is a guest for each word that an entry has, and no other.
func (w *Watcher) know() {
	wanted := map[string]bool{}
	all := w.entries("")
	for _, word := range append(reconcile.Words(all), bridgeWords(all)...) {
		wanted[word] = true
		if w.guests[word] == nil {
			w.guests[word] = &guest{}
		}
	}
	for word, g := range w.guests {
		if !wanted[word] && !g.looking && !g.working {
			g.stop()
			delete(w.guests, word)
		}
	}
}

// entries are all that are wanted, or those that concern one guest.
func (w *Watcher) entries(word string) (all []topology.Entry) {
	for _, want := range w.wanted(word) {
		all = append(all, want.Entries...)
	}
	return all
}

// wanted is what each origin asks for, of all guests or of one. Of two lists of one origin
// only the first counts.
func (w *Watcher) wanted(word string) (all []reconcile.Wanted) {
	known := map[attach.Origin]bool{}
	for _, a := range w.asked {
		for _, l := range a.lists {
			if known[l.Origin] {
				continue
			}
			known[l.Origin] = true
			want := reconcile.Wanted{Origin: l.Origin, Entries: l.Entries}
			if word != "" {
				want.Entries = slices.DeleteFunc(slices.Clone(l.Entries), func(e topology.Entry) bool {
					return !slices.Contains(reconcile.Words([]topology.Entry{e}), word)
				})
			}
			all = append(all, want)
		}
	}
	return all
}

// namesakes are those of a source's origins that an earlier list has too. Only the first one
// counts: what two files of one name ask for could not be told apart.
func (w *Watcher) namesakes(n int) (all []attach.Origin) {
	known := map[attach.Origin]bool{}
	for m, a := range w.asked[:n+1] {
		for _, l := range a.lists {
			if m == n && known[l.Origin] {
				all = append(all, l.Origin)
			}
			known[l.Origin] = true
		}
	}
	return all
}

// others are the lists whose origins are not among those of the second.
func others(lists, among []List) []List {
	return slices.DeleteFunc(slices.Clone(lists), func(l List) bool {
		return slices.ContainsFunc(among, func(m List) bool { return m.Origin == l.Origin })
	})
}

// ofOrigin is the list of an origin.
func ofOrigin(lists []List, origin attach.Origin) List {
	if n := slices.IndexFunc(lists, func(l List) bool { return l.Origin == origin }); n >= 0 {
		return lists[n]
	}
	return List{}
}
