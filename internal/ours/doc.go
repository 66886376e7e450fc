// Package ours tells what of a host and its guests gopipework made or lent, and where
// that is: the guests' namespaces, links on a card in any of them, lent cards and what
// they were like, and what else uses a link of the host before it is deleted. It
// deletes nothing else.
package ours
