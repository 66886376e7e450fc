package dockerutil

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guests"
)

const errNoContainerd = absence("no containerd listens")

// nerdctlName is the label in which nerdctl keeps the name of a container.
const nerdctlName = "nerdctl/name"

// engineNamespaces are those that Docker and the CRI use. For a bare word the engines
// themselves are asked about the containers in there.
var engineNamespaces = []string{"moby", "k8s.io"}

// beginsID reports whether an ID can begin with s.
func beginsID(s string) bool { return len(s) <= 64 && strings.Trim(s, "0123456789abcdef") == "" }

func (f *finder) containerdHere(string) bool { return exists(f.containerd) }

// findContainerd asks containerd about one of its namespaces, or about all.
func (f *finder) findContainerd(ctx context.Context, r wordRef) (*Guest, error) {
	return f.askContainerd(ctx, r, nil)
}

func (f *finder) findContainerdBare(ctx context.Context, r wordRef) (*Guest, error) {
	return f.askContainerd(ctx, r, engineNamespaces)
}

func (f *finder) askContainerd(ctx context.Context, r wordRef, except []string) (*Guest, error) {
	ctx, cancel := f.bounded(ctx)
	defer cancel()
	c := &containerd{ref: r, socket: f.containerd, caller: newCaller(ctx, f.containerd)}
	defer c.caller.close()
	if err := c.locate(ctx, except); err != nil {
		return nil, err
	}
	return f.take(ctx, r, source{c.inspect, c.stopped, c.caller.dialer}, RuntimeContainerd)
}

// containerd asks containerd for one guest word.
type containerd struct {
	ref    wordRef
	socket string
	caller *caller
	at     address // the container, once it is located
}

// address identifies a container of containerd.
type address struct {
	namespace, id string
	name          string // given by nerdctl, or ""
}

func (a address) String() string { return RuntimeContainerd + ":" + a.namespace + "/" + a.id }

// The calls, as package.Service/Method of github.com/containerd/containerd/api. The
// numbers of the fields are explained where they are used.
const (
	listNamespaces = "containerd.services.namespaces.v1.Namespaces/List"
	listContainers = "containerd.services.containers.v1.Containers/List"
	getTask        = "containerd.services.tasks.v1.Tasks/Get"
)

// locate finds the one container that the word means: the one with that ID or name, or
// else the one whose ID begins with it.
func (c *containerd) locate(ctx context.Context, except []string) error {
	namespaces := []string{c.ref.Namespace}
	if c.ref.Namespace == "" {
		answer, err := c.caller.call(ctx, "", listNamespaces, nil)
		if err != nil {
			return c.explain(ctx, err)
		}
		namespaces = nil
		for _, n := range answer.all(1) { // namespaces: 1 name
			if name := n.text(1); isName(name) && !slices.Contains(except, name) {
				namespaces = append(namespaces, name)
			}
		}
	}
	var exact, begins []address
	for _, namespace := range namespaces {
		list, err := c.list(ctx, namespace)
		if err != nil {
			return err
		}
		for _, a := range list {
			if a.id == c.ref.Name || a.name == c.ref.Name {
				exact = append(exact, a)
			} else {
				begins = append(begins, a)
			}
		}
	}
	if len(exact) == 0 {
		exact = begins
	}
	switch len(exact) {
	case 0:
		return c.ref.hintPID(c.ref.fault(fault.NotFound, "%w", errNoContainer))
	case 1:
		c.at = exact[0]
		return nil
	}
	var words []string
	for _, a := range exact {
		words = append(words, a.String())
	}
	if len(words) > 4 {
		words = append(words[:4], "another")
	}
	return c.ref.fault(fault.Conflict, "several containers are called that").
		WithHint("write %s", strings.Join(words, " or "))
}

// list returns the containers of a namespace that the word can mean. A name contains no
// character that is special in a filter, and only the dot is special in a regular
// expression.
func (c *containerd) list(ctx context.Context, namespace string) ([]address, error) {
	request := appendText(nil, 1, fmt.Sprintf("id==%q", c.ref.Name)) // filters: any of them
	request = appendText(request, 1, fmt.Sprintf("labels.%q==%q", nerdctlName, c.ref.Name))
	if beginsID(c.ref.Name) {
		request = appendText(request, 1, fmt.Sprintf("id~=%q", "^"+c.ref.Name+"[0-9a-f]*$"))
	}
	answer, err := c.caller.call(ctx, namespace, listContainers, request)
	if err != nil {
		return nil, c.explain(ctx, err)
	}
	var list []address
	for _, m := range answer.all(1) { // containers: 1 id, 2 labels
		a := address{namespace, m.text(1), m.entry(2, nerdctlName)}
		// Only a generated ID can be abbreviated: "web" is not short for "web2".
		begins := isID(a.id) && strings.HasPrefix(a.id, c.ref.Name)
		if a.id != c.ref.Name && a.name != c.ref.Name && !begins {
			continue
		}
		if !isName(a.id) {
			return nil, c.broken(fmt.Errorf("%q is no container ID", a.id))
		}
		list = append(list, a)
	}
	return list, nil
}

// The states of a task (api/types/task).
const (
	taskCreated = 1 + iota
	taskRunning
	taskStopped
	taskPaused
	taskPausing
)

// inspect implements a source, for the container that was located.
func (c *containerd) inspect(ctx context.Context, _ string) (*found, error) {
	seen := &found{id: c.at.id, name: c.at.name}
	if !isName(seen.name) {
		seen.name = guests.ShortID(c.at.id)
	}
	answer, err := c.caller.call(ctx, c.at.namespace, getTask, appendText(nil, 1, c.at.id))
	if refusedWith(err, rpcNotFound) {
		seen.idle, seen.hint = "it has no task: it was never started, or has ended", c.start()
		return seen, nil
	}
	if err != nil {
		return nil, c.explain(ctx, err)
	}
	task := answer.in(1) // process: 3 pid, 4 status, 9 exit_status
	pid, status := task.number(3), task.number(4)
	if pid > maxPID {
		return nil, c.broken(fmt.Errorf("%d is no process ID", pid))
	}
	seen.local = c.caller.dialer.seen()
	switch status {
	case taskCreated, taskRunning, taskPaused, taskPausing:
		seen.pid = int(pid)
	case taskStopped:
		seen.idle, seen.hint = fmt.Sprintf("it has exited, with code %d", task.number(9)), c.start()
		return seen, nil
	}
	if seen.pid == 0 {
		seen.idle = fmt.Sprintf("it has no process, its state is %d", status)
	}
	return seen, nil
}

// start returns the command that starts the container.
func (c *containerd) start() string {
	if c.at.name != "" {
		return "nerdctl -n " + c.at.namespace + " start " + c.ref.Name
	}
	return "ctr -n " + c.at.namespace + " tasks start -d " + c.at.id
}

// explain returns the error for a failed call.
func (c *containerd) explain(ctx context.Context, err error) error {
	if stopped := c.stopped(ctx); stopped != nil {
		return stopped
	}
	if dialErr := c.caller.dialer.failure(); dialErr != nil {
		return c.ref.unreachable(dialErr, "containerd", c.socket, errNoContainerd,
			"start containerd, or set CONTAINERD_ADDRESS to where it listens", c.instead())
	}
	return c.broken(err)
}

// stopped implements a source.
func (c *containerd) stopped(ctx context.Context) error {
	return c.ref.stopped(ctx, "containerd at "+c.socket, c.instead())
}

func (c *containerd) broken(err error) error {
	return c.ref.fault(fault.Runtime, "containerd at %s: %w", c.socket, clipped{err}).WithHint("%s", c.instead())
}

func (c *containerd) instead() string { return "see whether ctr namespaces ls works" }
