// Package oci reads what an OCI runtime such as runc tells a hook about a container, and
// adds a hook to a container that the runtime is about to create.
//
//	state.go   the state of a container, and whose it is
//	bundle.go  a hook in the config.json of a bundle
//	args.go    the command line of a runtime
//
// The formats are those of github.com/opencontainers/runtime-spec.
package oci
