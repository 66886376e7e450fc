// Package watch keeps a host as its sources ask: it wakes when something may have changed,
// compares what is wanted with what there is, and makes it so.
//
// It keeps nothing that matters in memory. Events only wake it; what is done comes from the
// comparison, so that it can be killed and started at any time.
//
//	watch.go   Watcher: its loop, and what wakes it
//	asked.go   what the sources ask for
//	look.go    compares, for all guests or for one
//	work.go    carries out what a look has found, and tries again what failed
//	clean.go   cleans up after guests that have ended
//	hold.go    keeps lent cards from going with their guests
//	lock.go    Alone: one watch at a time
//	source.go  Source: a place where it stands what is wanted
//	leases.go  keeping all leases in this process
//	park.go    the ports of guests that are away
//	files.go   the sources that are files: kept lines, topology files, a directory of them
//	compose.go the source that services of Docker Compose are
//
// One goroutine, the loop, has all of the state. It never waits for anything but its next
// turn: whatever reads, looks or works has a goroutine of its own, and comes back with a
// turn for the loop.
package watch
