// Package hostclient runs a DHCP client of the host, udhcpc, dhclient or dhcpcd, for an
// interface of a guest.
//
//	ask.go      the words of a line, and which options a client may be given
//	client.go   the clients' command lines
//	event.go    what a client tells its script, read into a lease
//	scratch.go  the files that a client sees
//	serve.go    the process that looks after one client
//	start.go    starting and ending such a process
//	pidfile.go  the pid file of one that stays
//
// The client is the host's binary in the guest's network namespace. In a mount
// namespace of its own all files are read-only but for empty directories where
// it keeps what it needs, so that nothing of the host is written. Its script is
// this program, which hands what the client says to the process that looks
// after it; there it is checked, as the built-in client's leases are, and set.
//
// A client that stays has a pid file, /run/CLIENT.GUEST.pid, which is locked as
// long as somebody looks after the client: it and the kernel are all that is
// remembered. The client dies with the process that looks after it, and both end with
// the guest and with the interface.
package hostclient
