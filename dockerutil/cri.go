package dockerutil

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guests"
)

const errNoCRI = absence("no CRI answers")

// criSockets returns where the kubelet's runtime may listen: at the address that crictl is
// configured with, or at the default addresses of containerd and CRI-O.
func criSockets(containerd string) []string {
	if set := os.Getenv("CONTAINER_RUNTIME_ENDPOINT"); set != "" {
		return []string{strings.TrimPrefix(set, "unix://")}
	}
	return []string{containerd, "/run/crio/crio.sock"}
}

// criHere reports whether to ask for a bare word. The CRI knows IDs only.
func (f *finder) criHere(name string) bool {
	for _, socket := range f.cri {
		if exists(socket) {
			return beginsID(name)
		}
	}
	return false
}

// findCRI asks for a container with that ID or prefix, and then for a pod.
func (f *finder) findCRI(ctx context.Context, r wordRef) (*Guest, error) {
	ctx, cancel := f.bounded(ctx)
	defer cancel()
	var kept error // the most useful one: from a runtime that answered
	for _, socket := range f.cri {
		c := &cri{ref: r, socket: socket, caller: newCaller(ctx, socket)}
		g, err := f.take(ctx, r, source{c.inspect, c.stopped, c.caller.dialer}, RuntimeCRI)
		c.caller.close()
		if !unknown(err) {
			return g, err
		}
		if kept == nil || absent(kept) {
			kept = err
		}
	}
	if kept == nil {
		kept = r.fault(fault.Runtime, "%w: no socket of it is known", errNoCRI)
	}
	return nil, kept
}

// cri asks a runtime of the kubelet for one guest word.
type cri struct {
	ref    wordRef
	socket string
	caller *caller
}

// The calls of k8s.io/cri-api.
const (
	criContainer = "runtime.v1.RuntimeService/ContainerStatus"
	criPod       = "runtime.v1.RuntimeService/PodSandboxStatus"
)

// criInfo is what containerd and CRI-O add to a verbose status. The CRI itself does not
// tell PIDs.
type criInfo struct {
	PID         int    `json:"pid"`
	SandboxID   string `json:"sandboxID"`
	RuntimeSpec struct {
		Linux struct {
			Namespaces []struct{ Type, Path string }
		}
	} `json:"runtimeSpec"`
}

// inspect implements a source. An ID does not show whether it is that of a container or
// of a pod.
func (c *cri) inspect(ctx context.Context, name string) (*found, error) {
	request := appendNumber(appendText(nil, 1, name), 2, 1) // 1 the ID, 2 verbose
	understand := c.container
	answer, err := c.caller.call(ctx, "", criContainer, request)
	if refusedWith(err, rpcNotFound) {
		understand = c.pod
		answer, err = c.caller.call(ctx, "", criPod, request)
	}
	if err != nil {
		return nil, c.explain(ctx, err)
	}
	status := answer.in(1)
	var info criInfo
	if text := answer.entry(2, "info"); text != "" {
		if err := json.Unmarshal([]byte(text), &info); err != nil {
			return nil, c.broken(err)
		}
	}
	if info.PID < 0 || info.PID > maxPID {
		return nil, c.broken(fmt.Errorf("%d is no process ID", info.PID))
	}
	seen := &found{
		id:      status.text(1),
		name:    status.in(2).text(1), // metadata: 1 name
		sandbox: networkPath(info),
		local:   c.caller.dialer.seen(),
	}
	if !isID(seen.id) {
		return nil, c.broken(fmt.Errorf("%q is no container ID", seen.id))
	}
	if !isName(seen.name) {
		seen.name = guests.ShortID(seen.id)
	}
	understand(seen, status, info)
	return seen, nil
}

// container reads a ContainerStatus: 3 state, 5 started_at, 7 exit_code.
func (c *cri) container(seen *found, status protobuf, info criInfo) {
	const created, running, exited = 0, 1, 2
	seen.shares = guests.ShortID(info.SandboxID)
	if !isID(info.SandboxID) {
		seen.shares = ""
	}
	switch state := status.number(3); state {
	case running:
		seen.pid = info.PID
		seen.started = time.Unix(0, int64(status.number(5)))
		if seen.pid == 0 {
			seen.idle = "its runtime does not say which process it is"
			seen.hint = "to name a process, write pid:N"
		}
	case created:
		seen.idle, seen.comingUp = "it was created and is not started yet", true
	case exited:
		seen.idle = fmt.Sprintf("it has exited, with code %d", int32(status.number(7)))
		seen.hint = "its pod is still there, and has the same namespace: crictl pods"
	default:
		seen.idle = fmt.Sprintf("it has no process, its state is %d", state)
	}
}

// pod reads a PodSandboxStatus: 3 state, 6 linux{1 namespaces{2 options{1 network}}}.
// A pod of CRI-O may be a namespace without a process.
func (c *cri) pod(seen *found, status protobuf, info criInfo) {
	const ready, node = 0, 2
	seen.onHost = status.in(6).in(1).in(2).number(1) == node
	switch {
	case status.number(3) != ready:
		seen.idle = "the pod is not ready: it was stopped, or its sandbox has died"
		seen.hint = "crictl pods shows its successor"
	case info.PID > 0:
		seen.pid = info.PID
	case seen.sandbox == "" && !seen.onHost:
		seen.idle = "its runtime does not say which namespace it has"
	}
}

// networkPath returns where the runtime has mounted the network namespace.
func networkPath(info criInfo) string {
	for _, n := range info.RuntimeSpec.Linux.Namespaces {
		if n.Type == "network" {
			return n.Path
		}
	}
	return ""
}

// explain returns the error for a failed call.
func (c *cri) explain(ctx context.Context, err error) error {
	if stopped := c.stopped(ctx); stopped != nil {
		return stopped
	}
	if dialErr := c.caller.dialer.failure(); dialErr != nil {
		return c.ref.unreachable(dialErr, "the CRI", c.socket, errNoCRI, c.start(), c.instead())
	}
	var refused *rpcError
	switch {
	case ambiguous(err):
		return c.ref.refuseAmbiguous()
	case refusedWith(err, rpcNotFound):
		return c.ref.hintPID(c.ref.fault(fault.NotFound, "%w, and no such pod", errNoContainer))
	case errors.As(err, &refused) && refused.code == rpcUnimplemented:
		// A containerd that serves Docker alone has its CRI turned off.
		return c.ref.fault(fault.Runtime, "%w at %s: %w", errNoCRI, c.socket, clipped{err}).WithHint("%s", c.start())
	}
	return c.broken(err)
}

// stopped implements a source.
func (c *cri) stopped(ctx context.Context) error {
	return c.ref.stopped(ctx, "the CRI at "+c.socket, c.instead())
}

func (c *cri) broken(err error) error {
	return c.ref.fault(fault.Runtime, "the CRI at %s: %w", c.socket, clipped{err}).WithHint("%s", c.instead())
}

func (c *cri) start() string {
	return "start it, or set CONTAINER_RUNTIME_ENDPOINT to where it listens"
}

func (c *cri) instead() string { return "see whether crictl ps works" }
