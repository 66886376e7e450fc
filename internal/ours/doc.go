// Package ours finds what gopipework has made or lent, on the host and in its guests: the
// guests' namespaces, the links on a card in any of them, and lent cards with the
// settings that they had. It also finds what else uses a link of the host, and deletes
// only links that are ours.
package ours
