// Package policy says what anybody but root may ask for, such as the author of an image by
// its labels: what stands in a file that root wrote, and nothing else.
//
//	policy.go   Policy, and Decide: what is asked for against the first entry for the guest
//	guest.go    who asks, and the patterns for it
//	outside.go  what of a request is outside an entry
//	options.go  the flags that an entry may grant, and those that none may
//	read.go     the file
//	trust.go    whether root alone can write it
//
// A request is a line that has been read already. Every decision is taken on the values in
// it, never on its text, so there is one reading of a line and not two.
package policy
