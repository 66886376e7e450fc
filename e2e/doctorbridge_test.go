//go:build linux

package e2e

// bridgeFaults are those of the pair, and of Linux bridges.
var bridgeFaults = []fault{}
