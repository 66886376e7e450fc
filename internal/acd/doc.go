// Package acd asks a network whether somebody has an IPv4 address already: address
// conflict detection, RFC 5227.
//
// Three ARP requests for the address go out, from no address, so that nobody's
// neighbour table changes by them. A host that answers meanwhile that the address is
// its own, or probes for it in the same way, has it.
//
// The RFC spreads this over four to seven seconds, partly at random, for hosts
// that are switched on together and switches that have yet to wake up. Here the
// way is known to be open when the probes begin, so that they follow each other
// in [Quick] time, and the verdict is there after a second, as with IPv6.
//
//	frame.go     an ARP packet for IPv4 on Ethernet
//	verdict.go   when to ask, and what an answer means
//	socket.go    the packet socket that carries it
package acd
