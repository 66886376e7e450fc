package dockerutil

import (
	"context"
	"errors"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
)

// Labelled is a container that has labels with a certain prefix.
type Labelled struct {
	Runtime  string
	ID, Name string
	Running  bool
	Created  time.Time
	Labels   map[string]string // only those with the prefix

	// Project and Service are those of Compose, if it was who made the container that said
	// so. An image can carry Compose's labels too, and then these are empty.
	Project, Service string
}

// Labels lists containers by the prefix of the keys of their labels. It remembers what it
// has learned about engines and images.
type Labels struct {
	prefix string
	*finder
	seen   map[string]bool // engines that have answered, by where they listen
	images forgeries
}

// NewLabels returns a list of the containers with a label whose key begins with prefix.
func NewLabels(prefix string) *Labels {
	return &Labels{prefix: prefix, finder: newFinder(), seen: map[string]bool{}}
}

// errNoEngine is in the error if there is nobody to ask.
var errNoEngine = errors.New("neither Docker nor podman listens")

// List asks Docker, and root's podman if that has a socket. An engine that does not answer
// is an error, unless it has never answered and the other one does: its containers may run
// all the same. It must not be called side by side.
func (l *Labels) List(ctx context.Context) (all []Labelled, err error) {
	host, err := dockerHost()
	if err != nil {
		return nil, wordRef{}.misconfigured(err)
	}
	podman := l.podmanHost
	if podman == "" {
		podman = "unix://" + l.podmanOwn
	}
	heard := false
	for _, e := range []struct {
		runtime, host string
		brand         brand
	}{{RuntimeDocker, host, dockerBrand}, {RuntimePodman, podman, podmanBrand}} {
		if strings.HasPrefix(e.host, "ssh://") || e.host == "unix://" {
			continue
		}
		its, err := l.ask(ctx, e.runtime, e.host, e.brand)
		switch {
		case err == nil:
			heard, l.seen[e.host] = true, true
			all = append(all, its...)
		case l.seen[e.host] || !errors.Is(err, e.brand.none):
			return nil, err
		}
	}
	if !heard {
		return nil, fault.New(fault.Runtime, "list", "labels", "%w", errNoEngine).WithHint("%s", dockerBrand.start)
	}
	return all, nil
}

// ask lists the containers of one engine.
func (l *Labels) ask(ctx context.Context, runtime, host string, b brand) (all []Labelled, err error) {
	ctx, cancel := l.bounded(ctx)
	defer cancel()
	d, err := daemonAt(ctx, wordRef{Runtime: runtime}, b, host)
	if err != nil {
		return nil, wordRef{}.misconfigured(err)
	}
	defer func() { d.close() }()
	found, err := d.summaries(ctx, client.Filters{})
	if err != nil {
		return nil, err
	}
	for _, c := range found {
		one, err := l.listed(ctx, d, c, false)
		if err != nil {
			return nil, err
		}
		if one.Labels != nil {
			one.Runtime = runtime
			all = append(all, one)
		}
	}
	return all, nil
}

// Of tells what Docker knows of the container with that ID and root file system, also while it is
// being started: an inspect of it would then get no answer until it has started. With whole its
// name and its service of Compose are told even if it has no label with the prefix.
//
// Docker's own files say it. Docker itself is asked only for what they do not say, since it
// answers nobody while it starts the containers that ran before it was restarted itself.
func (l *Labels) Of(ctx context.Context, id, rootfs string, whole bool) (Labelled, error) {
	ctx, cancel := l.bounded(ctx)
	defer cancel()
	one, err := l.stored(id, rootfs, whole)
	if err == nil {
		return one, nil
	}
	d, err := openDaemon(ctx, wordRef{Runtime: RuntimeDocker, Name: id})
	if err != nil {
		return Labelled{}, err
	}
	defer func() { d.close() }()
	found, err := d.summaries(ctx, client.Filters{}.Add("id", id))
	if err != nil {
		return Labelled{}, err
	}
	if len(found) == 0 {
		return Labelled{}, d.ref.noContainer()
	}
	one, err = l.listed(ctx, d, found[0], whole)
	one.Runtime = RuntimeDocker
	return one, err
}

// summaries returns containers, those that do not run too.
func (d *daemon) summaries(ctx context.Context, filters client.Filters) ([]container.Summary, error) {
	answer, err := d.client.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: filters})
	if cerrdefs.IsInvalidArgument(err) && !d.settled { // see inspect
		if err := d.negotiate(); err != nil {
			return nil, err
		}
		return d.summaries(ctx, filters)
	}
	if err != nil {
		return nil, d.explain(ctx, err)
	}
	return answer.Items, nil
}

// listed is what an engine tells about a container.
func (l *Labels) listed(ctx context.Context, d *daemon, c container.Summary, whole bool) (Labelled, error) {
	one, err := l.labelled(c, whole, func() (bool, error) { return l.images.ask(ctx, d, c.ImageID) })
	if err == nil && one.told(whole) && !isID(c.ID) {
		err = d.broken(errors.New("it lists a container without an ID"))
	}
	return one, err
}

// told reports whether a container has labels, or is asked for without.
func (one Labelled) told(whole bool) bool { return whole || one.Labels != nil }

// labelled is what is told about a container: with whole, or if it has labels, all of it.
// forged reports whether its image carries labels of Compose.
func (l *Labels) labelled(c container.Summary, whole bool, forged func() (bool, error)) (Labelled, error) {
	one := Labelled{ID: c.ID, Name: guests.ShortID(c.ID), Created: time.Unix(c.Created, 0)}
	one.Running = c.State == container.StateRunning || c.State == container.StatePaused
	for key, value := range c.Labels {
		if strings.HasPrefix(key, l.prefix) {
			if one.Labels == nil {
				one.Labels = map[string]string{}
			}
			one.Labels[key] = value
		}
	}
	if !one.told(whole) {
		return one, nil
	}
	for _, n := range c.Names { // a name of a legacy link has two slashes
		if n = strings.TrimPrefix(n, "/"); isName(n) {
			one.Name = n
		}
	}
	s, ok := replicaOf(c)
	if !ok {
		return one, nil
	}
	is, err := forged()
	if err == nil && !is {
		one.Project, one.Service = s.ref.Namespace, s.ref.Name
	}
	return one, err
}
