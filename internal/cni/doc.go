// Package cni speaks the protocol by which container engines ask a plugin for interfaces:
// CNI 0.3.1 to 1.1.0, see https://www.cni.dev/docs/spec.
//
//	call.go    what the caller says in the environment
//	config.go  the network's configuration, from stdin
//	words.go   what it asks for, in the words of the command line
//	ipam.go    the plugin that gives out addresses
//	extra.go   what a pod asks for beside its own interface
//	result.go  what the caller is told of a success
//	failure.go what it is told of a failure
//
// It looks at nothing but its input, and prints nothing. It changes nothing either: only the
// plugin that gives out addresses, which it runs, keeps a record of them.
package cni
