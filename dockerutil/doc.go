// Package dockerutil finds the network namespace that belongs to a guest word: that of a
// container of Docker or another runtime, of a process, of a name under /run/netns, or
// of a path.
//
//	guest, err := dockerutil.Find(ctx, "web") // or "podman:web", "pid:4711", "netns:blue"
//
// A Guest is an open descriptor. The PID of a container only leads to it: the PID is
// turned into a pidfd, the process behind it is checked to be the container's, and the
// namespace is taken from the pidfd. If the PID has been reused, or is one of another
// machine, the search therefore fails instead of finding the wrong namespace.
//
// Each runtime is asked through its own interface: Docker and podman through Docker's
// API, podman without a socket and systemd-machined through their commands, containerd
// and the CRI through gRPC, Incus through its REST API, and LXC through the socket of
// each container. Only this part (a source) differs; the rest of the search is shared.
//
// It finds the runtimes as their own commands do, by their environment variables
// (DOCKER_HOST, CONTAINER_HOST, CONTAINERD_ADDRESS and so on). Every error is an
// *attach.Error. The package prints nothing; net/http, which it uses, may write to the
// standard logger when a daemon breaks the protocol.
//
// The package changes nothing, and knows nothing of links, addresses and routes.
//
// In the files:
//
//	ref.go            guest words, taken apart
//	find.go           Find, and the search for bare words, processes, names and paths
//	findall.go        finds the guests of many words at once
//	others.go         the runtimes that a bare word is tried with besides Docker
//	await.go          Await: the same, as soon as the guest runs
//	follow.go         Follow: what becomes of all guests
//	stream.go         the events of Docker and podman
//	running.go runninglists.go   the guests of all engines that run
//	labels.go         the containers that have labels with a prefix
//	stored.go         the same of one container, as Docker keeps it in files
//	compose.go        the containers of a service of Docker Compose, known by their labels
//	source.go         from a container's name to its namespace, for any runtime
//	sandbox.go        a namespace by the path where its runtime has mounted it
//	process.go        a process, held by a pidfd, and whose container it is in
//	guest.go          what is found
//	netns.go          whether a namespace is the host's
//	errors.go         errors and hints
//
// The sources:
//
//	docker.go endpoint.go         Docker, and where it listens
//	network.go                    its networks
//	podman.go                     podman
//	containerd.go cri.go          containerd, and the runtime of a kubelet
//	grpc.go protobuf.go           the protocol of these two
//	lxc.go incus.go machine.go    LXC, Incus and systemd-machined
//	dialer.go peer.go             connections to their sockets, and who listens there
//	command.go                    running their commands
package dockerutil
