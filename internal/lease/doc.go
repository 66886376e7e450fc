// Package lease gets an IPv4 address from a DHCP server for an interface of a
// guest, and keeps it as long as the guest lives (RFC 2131).
//
//	options.go   what stands after "dhcp:" on a line
//	ask.go       what a client says about itself, and the messages it sends
//	lease.go     what a server says, checked
//	policy.go    which addresses a host can have
//	client.go    getting, extending and giving back one lease
//	wire.go, packet.go, namespace.go   the network under it
//	keep.go      keeping one lease: renew, rebind, withdraw, begin again
//	apply.go     what a lease does to an interface
//	clock.go     time
//
// Everything that a server says is checked before it is believed: a [Lease]
// holds nothing that an interface cannot have. Its address is given to the
// kernel with the lifetime that it has, so that it goes when the lease ends,
// whoever else has died by then; its routes name the address as their source,
// and go with it.
package lease
