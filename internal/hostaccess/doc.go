// Package hostaccess gives the host a way to macvlans on its card (--host-access): a
// macvlan of its own there, and a route by it for each address.
//
//	access.go     the way, as an attach makes it
//	accessend.go  what of it nobody needs any more
//	set.go        the way, as a set turns it on and off
//	need.go       for which addresses it is needed
package hostaccess
