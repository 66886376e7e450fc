// Package plan carries plans out: lists of steps, each of which can do and undo itself
// and prints itself as a command.
//
//	step.go, plan.go                what a step is, and how all of them are done, or undone
//	machine.go, kernel.go, lock.go  the namespaces, held open and locked, and what is asked of them
//	wait.go                         waiting for something that changes in one of them
//	link.go, inet.go, markstep.go   the steps that every kind of link needs
//	route.go                        the steps that change routes which are there
//	mark.go                         what shows that a link is ours
//
// # Locks
//
// A run holds the lock of the guest's namespace, and the host's while it changes
// anything there. It takes the guest's first, so that a run which waits for one guest
// does not make other guests wait. A lock is an address in the host's namespace, where
// no guest can take it (lock.go). The host's lock is let go as soon as the host's part
// is done, so that the second that IPv6 takes to look for a duplicate address does not
// add up over many guests. An undo takes it again, which keeps the order.
package plan
