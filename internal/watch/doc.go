// Package watch keeps a host as its sources ask: it wakes when something may have changed,
// compares what is wanted with what there is, and makes it so.
//
// It keeps nothing that matters in memory. Events only wake it; what is done comes from the
// comparison, so that it can be killed and started at any time.
//
//	watch.go   Watcher: wakes, and what each leads to
//	source.go  Source: a place where it stands what is wanted
//	files.go   the sources that are files: kept lines, topology files, a directory of them
package watch
