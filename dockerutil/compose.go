package dockerutil

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/plainname"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
)

// The labels by which Compose knows its containers.
const (
	labelProject = "com.docker.compose.project"
	labelService = "com.docker.compose.service"
	labelNumber  = "com.docker.compose.container-number"
	labelOneOff  = "com.docker.compose.oneoff" // "True" for one of "docker compose run"
	labelHook    = "com.docker.compose.hook"   // only on one that runs a hook, for a moment
)

// parseCompose reads PROJECT/SERVICE or PROJECT/SERVICE/NUMBER.
func parseCompose(word, rest string) (wordRef, error) {
	const shape = "write compose:PROJECT/SERVICE, or compose:PROJECT/SERVICE/NUMBER for one of several containers"
	project, service, ok := strings.Cut(rest, "/")
	service, number, numbered := strings.Cut(service, "/")
	switch {
	case !ok:
		return wordRef{}, refuse(fault.Usage, word, "it names no service").WithHint(shape)
	case !isName(project):
		return wordRef{}, refuse(fault.Usage, word, "%q is no project of Compose", project).WithHint(shape)
	case len(service) > maxName || !plainname.Is(service):
		return wordRef{}, refuse(fault.Usage, word, "%q is no service of Compose", service).WithHint(shape)
	}
	r := wordRef{Runtime: RuntimeCompose, Namespace: project, Name: service}
	if numbered {
		n, err := strconv.Atoi(number)
		if err != nil || n < 1 || strconv.Itoa(n) != number {
			return wordRef{}, refuse(fault.Usage, word, "%q is no number of a container", number).WithHint(shape)
		}
		r.Number = n
	}
	return r, nil
}

// replica is a container of a service of Compose.
type replica struct {
	id      string
	image   string
	ref     wordRef // its word, with its number
	running bool
	created int64
}

// replicaOf returns what Compose has written on a container. ok: it is one of a service.
func replicaOf(c container.Summary) (_ replica, ok bool) {
	r := wordRef{Runtime: RuntimeCompose, Namespace: c.Labels[labelProject], Name: c.Labels[labelService]}
	var err error
	r.Number, err = strconv.Atoi(c.Labels[labelNumber])
	if r.Namespace == "" || r.Name == "" || err != nil || strings.EqualFold(c.Labels[labelOneOff], "true") || c.Labels[labelHook] != "" {
		return replica{}, false
	}
	return replica{c.ID, c.ImageID, r, c.State == container.StateRunning || c.State == container.StatePaused, c.Created}, true
}

// isOf reports whether a container with those labels is one that the word can mean.
func (r wordRef) isOf(label map[string]string) bool {
	return label[labelProject] == r.Namespace && label[labelService] == r.Name &&
		(r.Number == 0 || label[labelNumber] == strconv.Itoa(r.Number))
}

// pick returns the container that the word means, of those of its service. While Compose
// makes a container anew there are two of one number, of which at most one runs.
func (r wordRef) pick(all []replica) (id string, err error) {
	all = slices.DeleteFunc(slices.Clone(all), func(one replica) bool { return r.Number != 0 && one.ref.Number != r.Number })
	if len(all) == 0 {
		return "", r.fault(fault.NotFound, "%w of that service", errNoContainer).
			WithHint("docker compose -p %s ps -a lists those of the project; docker compose ls -a lists the projects", r.Namespace)
	}
	slices.SortFunc(all, func(a, b replica) int { return cmp.Compare(a.ref.Number, b.ref.Number) })
	var words []string
	for _, one := range slices.CompactFunc(slices.Clone(all), func(a, b replica) bool { return a.ref == b.ref }) {
		words = append(words, one.ref.String())
	}
	if len(words) > 1 {
		either := strings.Join(words[:min(len(words), 8)], " or ")
		return "", r.fault(fault.Conflict, "the service has %d containers", len(words)).WithHint("write %s", either)
	}
	best := slices.MaxFunc(all, func(a, b replica) int {
		switch {
		case a.running && !b.running:
			return 1
		case b.running && !a.running:
			return -1
		}
		return cmp.Compare(a.created, b.created)
	})
	return best.id, nil
}

// findCompose asks Docker for a container of a service of Compose, and podman if Docker
// has none.
func (f *finder) findCompose(ctx context.Context, r wordRef) (*Guest, error) {
	g, err := f.findContainer(ctx, r)
	if err == nil || !unknown(err) {
		return g, err
	}
	for _, host := range f.podmanHosts() {
		if path, is := strings.CutPrefix(host, "unix://"); is && !exists(path) {
			continue
		}
		ctx, cancel := f.bounded(ctx)
		g, podmanErr := f.askPodman(ctx, r, host)
		cancel()
		if podmanErr == nil || !unknown(podmanErr) {
			return g, podmanErr
		}
		if errors.Is(podmanErr, errNoContainer) { // it is there, and Docker may not be
			err = podmanErr
		}
	}
	return nil, err
}

// source returns what to ask about the container that the word names.
func (d *daemon) source(known *census) source {
	s := source{d.inspect, d.stopped, d.dialer}
	if d.ref.Runtime != RuntimeCompose {
		return s
	}
	s.inspect = func(ctx context.Context, name string) (*found, error) {
		if name != d.ref.Name {
			return d.inspect(ctx, name) // an ID that it has found
		}
		all, err := d.replicas(ctx, known)
		if err != nil {
			return nil, err
		}
		own, err := d.genuine(ctx, all, known)
		if err != nil {
			return nil, err
		}
		if len(own) == 0 && len(all) > 0 {
			return nil, d.ref.fault(fault.NotFound, "%w of that service: %s says to be of it, but the labels come from its image, which can carry any", errNoContainer, guests.ShortID(all[0].id)).
				WithHint("name the container itself, with docker: or podman:")
		}
		id, err := d.ref.pick(own)
		if err != nil {
			return nil, err
		}
		return d.inspect(ctx, id)
	}
	return s
}

// genuine returns the containers without those whose labels come from their image.
func (d *daemon) genuine(ctx context.Context, all []replica, known *census) (own []replica, err error) {
	seen := &forgeries{}
	if known != nil {
		seen = &known.forgeries
	}
	for _, one := range all {
		forged, err := seen.ask(ctx, d, one.image)
		if err != nil {
			return nil, err
		}
		if !forged {
			own = append(own, one)
		}
	}
	return own, nil
}

// forgeries remembers which images carry Compose's labels. The ID of an image is a hash of
// what it is.
type forgeries struct {
	mu     sync.Mutex
	images map[string]bool
}

// ask reports whether an image carries the number of a container, which Compose writes only
// on containers: the labels of those that run it say nothing then. Compose writes project and
// service also on the images that it builds.
func (f *forgeries) ask(ctx context.Context, d *daemon, image string) (forged bool, err error) {
	f.mu.Lock() // so that nobody asks for what another is being told
	defer f.mu.Unlock()
	if forged, known := f.images[image]; known {
		return forged, nil
	}
	answer, err := d.client.ImageInspect(ctx, image)
	if cerrdefs.IsNotFound(err) { // it has been deleted, and might have
		return true, nil
	}
	if err != nil {
		return false, d.explain(ctx, err)
	}
	const most = 1000
	if f.images == nil || len(f.images) >= most {
		f.images = map[string]bool{}
	}
	if answer.Config != nil {
		_, forged = answer.Config.Labels[labelNumber]
	}
	f.images[image] = forged
	return forged, nil
}

// replicas returns the containers of the service, those that do not run too.
func (d *daemon) replicas(ctx context.Context, known *census) (all []replica, err error) {
	if known != nil && !known.hangs {
		return known.services[d.ref.service()], nil
	}
	found, err := d.summaries(ctx, client.Filters{}.Add("label", labelProject+"="+d.ref.Namespace, labelService+"="+d.ref.Name))
	if err != nil {
		return nil, err
	}
	for _, c := range found {
		if one, ok := replicaOf(c); ok && d.ref.isOf(c.Labels) {
			all = append(all, one)
		}
	}
	return all, nil
}

// service is the word without the number.
func (r wordRef) service() wordRef {
	r.Number = 0
	return r
}

// command returns the command of an engine that does what verb says to the container.
func (r wordRef) command(command, verb string) string {
	if r.Runtime == RuntimeCompose {
		command = fmt.Sprintf("%s compose -p %s", command, r.Namespace)
	}
	return command + " " + verb + " " + r.Name
}
