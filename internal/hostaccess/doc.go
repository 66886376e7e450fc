// Package hostaccess gives the host a way to macvlans on its card (--host-access): a
// macvlan of its own there, and a route by it for each address.
package hostaccess
