package dockerutil

import (
	"context"
	"encoding/json"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/client"
)

// How each engine is asked for all its guests that run.

func (f *finder) listDocker(ctx context.Context) ([]running, error) {
	d, err := openDaemon(ctx, wordRef{})
	if err != nil {
		return nil, err
	}
	return d.list(ctx, RuntimeDocker)
}

// list asks an engine with Docker's API, and closes it.
func (d *daemon) list(ctx context.Context, runtime string) (list []running, err error) {
	defer func() { d.close() }()
	answer, err := d.client.ContainerList(ctx, client.ContainerListOptions{})
	if cerrdefs.IsInvalidArgument(err) && !d.settled { // see inspect
		if err := d.negotiate(); err != nil {
			return nil, err
		}
		answer, err = d.client.ContainerList(ctx, client.ContainerListOptions{})
	}
	if err != nil {
		return nil, d.explain(ctx, err)
	}
	for _, c := range answer.Items {
		if !isID(c.ID) {
			continue
		}
		name := ""
		for _, n := range c.Names { // a name of a legacy link has two slashes
			if n = strings.TrimPrefix(n, "/"); isName(n) {
				name = n
			}
		}
		list = append(list, guestOf(runtime, c.ID, name))
	}
	return list, nil
}

// listPodman asks those that listen. The command takes a tenth of a second to say that there
// is nothing: it is run only if a container is there that may be podman's.
func (f *finder) listPodman(ctx context.Context, inside map[string]contained) (list []running, err error) {
	heard := false
	for _, host := range f.podmanHosts() {
		if strings.HasPrefix(host, "ssh://") {
			continue
		}
		d, openErr := daemonAt(ctx, wordRef{Runtime: RuntimePodman}, podmanBrand, host)
		if openErr != nil {
			return nil, openErr
		}
		its, askErr := d.list(ctx, RuntimePodman)
		list, heard, err = append(list, its...), heard || askErr == nil, saysMore(err, askErr)
	}
	path := f.command("podman")
	if heard || f.podmanHost != "" || path == "" || !f.mayBePodmans(inside) {
		return list, err
	}
	out, err := run(ctx, path, "ps", "--format", "json")
	if err != nil {
		return nil, podmanCommand{wordRef{Runtime: RuntimePodman}, path}.broken(err)
	}
	var answers []struct {
		ID    string `json:"Id"`
		Names []string
	}
	if err := json.Unmarshal(out, &answers); err != nil {
		return nil, podmanCommand{wordRef{Runtime: RuntimePodman}, path}.broken(err)
	}
	for _, a := range answers {
		if isID(a.ID) {
			list = append(list, guestOf(RuntimePodman, a.ID, strings.Join(a.Names, ",")))
		}
	}
	return list, nil
}

// mayBePodmans reports whether the cgroup of a process says that podman made it.
func (f *finder) mayBePodmans(inside map[string]contained) bool {
	return slices.ContainsFunc(slices.Collect(maps.Values(inside)), func(c contained) bool { return c.podman })
}

// The calls of k8s.io/cri-api and containerd that list.
const (
	criPods       = "runtime.v1.RuntimeService/ListPodSandbox"
	criContainers = "runtime.v1.RuntimeService/ListContainers"
	listTasks     = "containerd.services.tasks.v1.Tasks/List"
)

// listCRI lists pods and then containers, so that a namespace is the pod's.
func (f *finder) listCRI(ctx context.Context) (list []running, err error) {
	for _, socket := range f.cri {
		if !exists(socket) {
			continue
		}
		c := &cri{ref: wordRef{Runtime: RuntimeCRI}, socket: socket, caller: newCaller(ctx, socket)}
		its, askErr := c.list(ctx)
		c.caller.close()
		list, err = append(list, its...), saysMore(err, askErr)
	}
	if len(list) > 0 {
		err = nil
	}
	return list, err
}

func (c *cri) list(ctx context.Context) (list []running, err error) {
	const ready, up = 0, 1
	pods, err := c.caller.call(ctx, "", criPods, nil)
	if err != nil {
		return nil, c.explain(ctx, err)
	}
	for _, p := range pods.all(1) { // items: 1 id, 2 metadata{1 name}, 3 state
		if p.number(3) == ready && isID(p.text(1)) {
			list = append(list, guestOf(RuntimeCRI, p.text(1), p.in(2).text(1)))
		}
	}
	containers, err := c.caller.call(ctx, "", criContainers, nil)
	if err != nil {
		return nil, c.explain(ctx, err)
	}
	for _, m := range containers.all(1) { // containers: 1 id, 3 metadata{1 name}, 6 state
		if m.number(6) == up && isID(m.text(1)) {
			list = append(list, guestOf(RuntimeCRI, m.text(1), m.in(3).text(1)))
		}
	}
	return list, nil
}

// listContainerd lists the containers that no other engine has made there.
func (f *finder) listContainerd(ctx context.Context) (list []running, err error) {
	c := &containerd{ref: wordRef{Runtime: RuntimeContainerd}, socket: f.containerd, caller: newCaller(ctx, f.containerd)}
	defer c.caller.close()
	answer, err := c.caller.call(ctx, "", listNamespaces, nil)
	if err != nil {
		return nil, c.explain(ctx, err)
	}
	for _, n := range answer.all(1) {
		namespace := n.text(1)
		if !isName(namespace) || slices.Contains(engineNamespaces, namespace) {
			continue
		}
		tasks, err := c.caller.call(ctx, namespace, listTasks, nil)
		if err != nil {
			return nil, c.explain(ctx, err)
		}
		names, err := c.caller.call(ctx, namespace, listContainers, nil)
		if err != nil {
			return nil, c.explain(ctx, err)
		}
		nameOf := map[string]string{}
		for _, m := range names.all(1) {
			nameOf[m.text(1)] = m.entry(2, nerdctlName)
		}
		for _, t := range tasks.all(1) { // tasks: 1 container_id, 2 id, 4 status
			id := t.text(1)
			if id == "" {
				id = t.text(2)
			}
			if status := t.number(4); isName(id) && status != taskStopped {
				one := guestOf(RuntimeContainerd, id, nameOf[id])
				one.word.Namespace = namespace
				list = append(list, one)
			}
		}
	}
	return list, nil
}

func (f *finder) listIncus(ctx context.Context) (list []running, err error) {
	query := url.Values{"recursion": {"1"}}
	if project := os.Getenv("INCUS_PROJECT"); project != "" {
		query.Set("project", project)
	}
	var all []struct {
		Name   string `json:"name"`
		Type   string `json:"type"`
		Status string `json:"status"`
	}
	if err := f.openIncus(ctx, wordRef{Runtime: RuntimeIncus}).get(ctx, "/1.0/instances?"+query.Encode(), &all); err != nil {
		return nil, err
	}
	for _, one := range all {
		if one.Type == "container" && one.Status != "Stopped" && isName(one.Name) {
			list = append(list, guestOf(RuntimeIncus, one.Name, one.Name))
		}
	}
	return list, nil
}
