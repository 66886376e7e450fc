// Package lease gets an address from a DHCP server for an interface of a guest,
// and keeps it as long as the guest lives: IPv4 (RFC 2131), or one IPv6 address
// (RFC 8415).
//
//	options.go   what stands after "dhcp:" on a line
//	ask.go       what a client says about itself, and the messages it sends
//	lease.go     what a server says, checked
//	client.go    acquiring, renewing and releasing one lease
//	await.go     waiting for an answer that can be used
//	insist.go    asking again until there is a lease
//	wire.go, packet.go, namespace.go   the network under it
//	ask6.go, lease6.go, client6.go, wire6.go   the same of DHCPv6
//	maintain.go  keeping one lease: renew, rebind, withdraw, begin again
//	apply.go     what a lease does to an interface
//	clock.go     time
//	keeper.go    keeping all leases of a guest
//	pool.go      keepers of all guests in one process
//	event.go, guard.go   what is told of a lease, and what a fault of ours comes to
//	guest.go, watch.go, outlive.go   the guest, and how its end is seen
//	reported.go  what another DHCP client reports of its lease
//	store.go     the keepers' files
//	control.go, spawn.go, sweep.go   how others reach, start and look after keepers
//
// Everything that a server says is checked before it is believed: a [Lease]
// holds nothing that an interface cannot have. Its address is given to the
// kernel with the lifetime that it has, so that it goes when the lease ends,
// whoever else has died by then; its routes name the address as their source,
// and go with it.
//
// An IPv6 address is a /128, with both its lifetimes. Routes are none of DHCPv6's:
// they come from router advertisements, which the kernel takes.
//
// # Keepers
//
// One for each guest that has a lease, a process that is started by the run that got
// the first one ([Keepers.Keep]). It ends by itself with the last one, and within a
// second of the guest: it watches the guest's process by a pidfd, or the path
// of a namespace that has none. Its record in /run/gopipework is all that a
// keeper knows: one that was killed is started again by whoever meets it next
// ([Keepers.Wake], [Keepers.Release], [Keepers.Sweep]) and goes on with the same
// lease. A lock that dies with its holder lets only one run. The guest is known
// by its namespace's cookie, which unlike a PID or an inode is never used again.
//
// A process that lives long, as "gopipework watch" does, may keep the leases of all guests
// itself, in a [Pool]. Lock, record and socket of each guest stay as they are, so that
// nobody else need know which process keeps a lease. Whoever begins to keep asks the
// keeper that runs to stop, which leaves its record, and goes on with that: the pool when
// it begins, and keepers of their own when it ends. A pool that is killed is as if each of
// its keepers had been.
package lease
