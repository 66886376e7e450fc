//go:build linux

package e2e

// farFaults are those of whom packets are for.
var farFaults = []fault{}
