// Package kind knows the kinds of host interface: what a line may ask of one, how it
// joins a guest, how an attachment that is there may differ, and what is deleted with
// it. Each has a file of its own and a place in the registry.
package kind
