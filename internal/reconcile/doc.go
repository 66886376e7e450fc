// Package reconcile makes the host as a list of entries says: it holds what is wanted
// against what there is, tells the difference, and carries it out.
//
//	wanted.go      what is wanted: the entries of a file, with what it says about bridges
//	difference.go  Compare: what is wanted against what there is, from plain data
//	bridge.go      what the host has on bridges
//	same.go        how one attachment differs from its entry
//	text.go        a difference as lines
//	settle.go      what only the kernel can tell: it asks attach, and changes nothing
//	do.go          carries a difference out, guests side by side
//	restore.go     what is attached again if its successor fails
//	back.go        how what was carried out is undone later, by another process
//	replace.go     an attachment in the place of another, for a line
//	setback.go     how a set for a limited time is undone
//	asked.go       what asks for an attachment that is there
//
// Where the entries come from does not matter here: a file is only their first source.
package reconcile
