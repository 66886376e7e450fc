// Package dockerutil finds the network namespace that belongs to a guest word:
// a container of Docker or of another runtime, a process, a name under
// /run/netns, or a path.
//
//	guest, err := dockerutil.Find(ctx, "web") // or "podman:web", "pid:4711", "netns:blue"
//
// A Guest is an open descriptor. A container's PID is only the way to it: the
// number is turned into a pidfd, the process behind it is shown to be the
// container's, and the namespace is taken from the pidfd. A PID that is used
// again, or that counts on another machine, therefore finds nothing instead of
// the wrong namespace.
//
// Every runtime is asked by its own interface: Docker and podman by Docker's API,
// podman without a socket and systemd-machined by their commands, containerd and
// the CRI by gRPC, LXC by the socket of each container. They differ in what they
// say (a source), and are pinned alike.
//
// It finds the runtimes as their own commands do, by their environment variables
// (DOCKER_HOST, CONTAINER_HOST, CONTAINERD_ADDRESS and so on). Every error is an
// *attach.Error. The package prints nothing; net/http, which it uses, may write to the
// standard logger when a daemon breaks the protocol.
//
// The package knows no network: what is done in the namespace is for others, such as
// package attach.
package dockerutil
