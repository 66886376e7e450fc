//go:build linux

package e2e

// ovsFaults are those of Open vSwitch bridges.
var ovsFaults = []fault{}
