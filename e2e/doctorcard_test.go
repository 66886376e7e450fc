//go:build linux

package e2e

// cardFaults are those of links on a card.
var cardFaults = []fault{}
