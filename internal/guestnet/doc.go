// Package guestnet plans what is set up inside a guest, whatever kind of link leads
// there: addresses, routes and their ranks, rules for replies, name servers, shaping. It
// also finds what keeps packets of the guest from flowing.
//
//	inside.go             addresses, and what follows when they are there
//	sysctl.go             sysctls that the line asks for
//	probe.go              whether somebody has an address already
//	announce.go           telling the neighbours who has it now
//	carrier.go            waiting for a card that was set up
//	routers.go            what an interface makes of router advertisements
//	routes.go             routes, and which default route wins
//	setroutes.go          other routes, for an interface that is there
//	vrf.go                the VRF that the interface is in
//	replies.go            replies that leave by the interface whose address they carry
//	setreplies.go         the same for an interface that is there
//	sourcerouting.go      the rules and tables for that which are there
//	dns.go                name servers
//	setdns.go             others, for an interface that is there
//	resolv.go             the file that they are in, and the note of what was in it
//	shape.go, inbound.go  rate, delay and loss, of what the guest sends and of what it gets
package guestnet
