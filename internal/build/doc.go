// Package build holds the data that planning works on: the facts of this machine, the
// job (what is asked, what is there, and what follows from the two), and the draft of a
// plan. The packages above it decide.
package build
