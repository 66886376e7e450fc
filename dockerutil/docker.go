package dockerutil

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
)

var (
	errNoDocker    = errors.New("no Docker daemon listens")
	errNoContainer = errors.New("no such container")
	errElsewhere   = errors.New("the daemon is not on this machine")
)

// brand is an engine that speaks Docker's API.
type brand struct {
	title   string       // its name in messages
	command string       // its own command, for hints
	none    error        // the error when nobody listens
	start   string       // the hint for that
	options []client.Opt // where the client gets its settings
}

var dockerBrand = brand{
	title:   "Docker",
	command: "docker",
	none:    errNoDocker,
	start:   "start Docker, or set DOCKER_HOST to where it listens",
	options: []client.Opt{client.FromEnv},
}

// daemon is Docker, or a podman that listens on a socket, asked for one guest word.
type daemon struct {
	ref     wordRef
	brand   brand
	client  *client.Client
	dialer  *dialer
	options []client.Opt // of the client, without a version of the API
	settled bool         // the version has been negotiated, or was set by the user
}

// findContainer asks Docker for a container and opens its namespace.
func (f *finder) findContainer(ctx context.Context, r wordRef) (*Guest, error) {
	bounded := f.bounded
	var all *census
	if f.containers != nil {
		switch all = f.containers(); {
		case r.Runtime != RuntimeCompose && all.lacks(r.Name, f.prefix):
			return nil, r.noContainer()
		case all != nil && all.hangs: // it would do so for every word
			bounded = f.expired
		}
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	d, err := openDaemon(ctx, r)
	if err != nil {
		return nil, err
	}
	defer d.close()
	return f.take(ctx, r, d.source(all), RuntimeDocker)
}

// openDaemon prepares to ask Docker until ctx is done; nothing is sent yet.
func openDaemon(ctx context.Context, r wordRef) (*daemon, error) {
	host, err := dockerHost()
	if err != nil {
		return nil, r.misconfigured(err)
	}
	d, err := daemonAt(ctx, r, dockerBrand, host)
	if err != nil {
		return nil, r.misconfigured(err)
	}
	d.settled = os.Getenv(client.EnvOverrideAPIVersion) != ""
	return d, nil
}

// dockerHost returns where Docker listens.
func dockerHost() (string, error) {
	host, err := endpoint()
	return cmp.Or(host, client.DefaultDockerHost), err
}

// daemonAt prepares to ask the daemon that listens at host until ctx is done.
func daemonAt(ctx context.Context, r wordRef, b brand, host string) (*daemon, error) {
	url, err := client.ParseHostURL(host)
	if err != nil {
		return nil, err
	}
	d := &daemon{ref: r, brand: b, dialer: &dialer{ctx: ctx, proto: url.Scheme, addr: url.Host}}
	d.options = append(d.options, b.options...)
	d.options = append(d.options, client.WithHost(host), client.WithDialContext(d.dialer.dial),
		client.WithHTTPResponseHook(d.dialer.response))
	// Negotiating the version takes a round trip, a third of the whole time. Podman and
	// the engines 19.03 to 28, and those since 29.3, accept the client's lowest version.
	// With the others, inspect negotiates.
	d.client, err = client.New(append(d.options, client.WithAPIVersion(client.MinAPIVersion))...)
	if err != nil {
		return nil, err
	}
	return d, nil
}

// negotiate replaces the client by one that asks for the version first. The present
// client cannot do so, because a client negotiates only down from its own version.
func (d *daemon) negotiate() error {
	c, err := client.New(d.options...)
	if err != nil {
		return d.ref.misconfigured(err)
	}
	d.close()
	d.client, d.settled = c, true
	return nil
}

func (d *daemon) close() { d.client.Close() }

// inspect implements a source.
func (d *daemon) inspect(ctx context.Context, name string) (*found, error) {
	answer, err := d.client.ContainerInspect(ctx, name, client.ContainerInspectOptions{})
	if cerrdefs.IsInvalidArgument(err) && !d.settled && !ambiguous(err) {
		// The engine may not accept our version of the API.
		if err := d.negotiate(); err != nil {
			return nil, err
		}
		return d.inspect(ctx, name)
	}
	if err != nil {
		return nil, d.explain(ctx, err)
	}
	c, err := d.ref.understand(answer.Container, d.brand.command)
	if err != nil {
		return nil, d.broken(err)
	}
	return c, nil
}

// understand reads an answer. It refuses an impossible PID or ID, because these decide
// which process is used. It replaces a name that Docker would not accept by the short ID.
func (r wordRef) understand(answer container.InspectResponse, command string) (*found, error) {
	if !isID(answer.ID) {
		return nil, fmt.Errorf("%q is no container ID", answer.ID)
	}
	if answer.State == nil || answer.State.Pid < 0 || answer.State.Pid > maxPID {
		return nil, errors.New("the state of the container is missing or impossible")
	}
	c := &found{id: answer.ID, name: strings.TrimPrefix(answer.Name, "/")}
	if !isName(c.name) {
		c.name = guests.ShortID(c.id)
	}
	// Docker counts a paused container as running, podman's command does not.
	state := answer.State
	if state.Running || state.Paused {
		c.pid = state.Pid
	}
	if c.pid == 0 {
		c.comingUp = state.Running || state.Restarting
		c.idle, c.hint = r.idle(*state, command)
	}
	// If the time cannot be parsed it stays zero, when no process was started.
	c.started, _ = time.Parse(time.RFC3339Nano, state.StartedAt)
	if answer.NetworkSettings != nil {
		c.sandbox = answer.NetworkSettings.SandboxKey
		c.public = published(answer.NetworkSettings.Ports)
	}
	if answer.HostConfig != nil {
		c.onHost = answer.HostConfig.NetworkMode.IsHost()
		c.shares = guests.ShortID(answer.HostConfig.NetworkMode.ConnectedContainer())
		mode := answer.HostConfig.NetworkMode
		c.joined = mode.IsDefault() || mode.IsBridge() || mode.IsUserDefined()
	}
	return c, nil
}

// published reports whether a port is bound to an address of the host that other machines
// can reach.
func published(ports network.PortMap) bool {
	for _, bindings := range ports {
		if slices.ContainsFunc(bindings, func(b network.PortBinding) bool { return !b.HostIP.IsLoopback() }) {
			return true
		}
	}
	return false
}

// idle returns a text that says why a container has no process, and a hint.
func (r wordRef) idle(s container.State, command string) (text, hint string) {
	switch s.Status {
	case container.StateCreated:
		return "it was created and never started", r.command(command, "start")
	case container.StateExited:
		return fmt.Sprintf("it has exited, with code %d", s.ExitCode), r.command(command, "start")
	case container.StateRestarting:
		return fmt.Sprintf("it keeps restarting, last after exit code %d", s.ExitCode),
			r.command(command, "logs") + " says why it does not stay up"
	case container.StateRemoving:
		return "it is being removed", ""
	case container.StateDead:
		return "it is dead: Docker could not remove all of it", ""
	}
	return fmt.Sprintf("it has no process, its state is %q", clipped{errors.New(string(s.Status))}), ""
}

// explain returns the error for a failed question.
func (d *daemon) explain(ctx context.Context, err error) error {
	if stopped := d.stopped(ctx); stopped != nil {
		return stopped
	}
	if dialErr := d.dialer.failure(); dialErr != nil {
		return d.unreachable(dialErr)
	}
	switch {
	case ambiguous(err):
		return d.ref.refuseAmbiguous()
	case cerrdefs.IsNotFound(err):
		return d.ref.noContainer()
	}
	return d.broken(err)
}

// stopped implements a source.
func (d *daemon) stopped(ctx context.Context) error {
	return d.ref.stopped(ctx, d.place(), d.instead())
}

// place names the daemon and its address.
func (d *daemon) place() string { return d.brand.title + " at " + d.client.DaemonHost() }

// unreachable returns the error for a failed connection.
func (d *daemon) unreachable(err error) error {
	return d.ref.unreachable(err, d.brand.title, d.client.DaemonHost(), d.brand.none, d.brand.start, d.instead())
}

func (d *daemon) broken(err error) error {
	return d.ref.fault(fault.Runtime, "%s: %w", d.place(), clipped{err}).
		WithHint("%s", d.instead())
}

// instead returns the hint for a daemon that fails. A bare word may have meant a named
// namespace, which was not looked for in this case.
func (d *daemon) instead() string {
	if d.ref.Runtime == "" {
		return "see whether docker ps works; a namespace in /run/netns can be named without Docker: netns:" + d.ref.Name
	}
	return "see whether " + d.brand.command + " ps works"
}

func (r wordRef) misconfigured(err error) error {
	switch {
	case errors.Is(err, errElsewhere):
		return r.fault(fault.Runtime, "Docker at %w", err).
			WithHint("run gopipework where Docker runs")
	case errors.Is(err, fs.ErrPermission):
		return r.fault(fault.Permission, "choose Docker: %w", err).WithHint("run it as root")
	}
	return r.fault(fault.Usage, "choose Docker: %w", err).
		WithHint("see DOCKER_HOST, DOCKER_CONTEXT, DOCKER_API_VERSION and docker context ls")
}
