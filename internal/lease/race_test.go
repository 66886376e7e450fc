//go:build race

package lease

// The race detector has a process sleep for a second when it exits, and needs
// several times the memory.
const raced = true
