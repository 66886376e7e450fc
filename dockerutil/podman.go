package dockerutil

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/moby/moby/api/types/container"

	"github.com/gopipework/gopipework/internal/fault"
)

// podmanBrand takes no settings from the environment, because the variables are Docker's.
var podmanBrand = brand{
	title:   "podman",
	command: "podman",
	none:    absence("no podman listens"),
	start:   "start podman.socket, or see where CONTAINER_HOST says that it listens",
}

// podmanSockets returns the socket of this user's podman and that of another podman, which
// may be "". Root's own is that of the machine. For anybody else the other one is.
func podmanSockets() (own, another string) {
	own = "/run/podman/podman.sock"
	if dir := os.Getenv("XDG_RUNTIME_DIR"); strings.HasPrefix(dir, "/") {
		another = dir + "/podman/podman.sock"
	}
	if os.Geteuid() != 0 && another != "" {
		return another, own
	}
	return own, another
}

func (f *finder) podmanHere(string) bool {
	return f.podmanHost != "" || exists(f.podmanOwn) || exists(f.podmanOther) || f.command("podman") != ""
}

// findPodman asks podman through its socket if it listens, and through its command if it
// does not. podman needs no daemon, and usually none runs.
func (f *finder) findPodman(ctx context.Context, r wordRef) (*Guest, error) {
	ctx, cancel := f.bounded(ctx)
	defer cancel()
	if f.podmanHost != "" {
		return f.askPodman(ctx, r, f.podmanHost)
	}
	g, err := f.askOwnPodman(ctx, r)
	if !unknown(err) || !exists(f.podmanOther) {
		return g, err
	}
	g, otherErr := f.askPodman(ctx, r, "unix://"+f.podmanOther)
	if absent(otherErr) {
		return nil, err
	}
	return g, otherErr
}

func (f *finder) askOwnPodman(ctx context.Context, r wordRef) (*Guest, error) {
	if exists(f.podmanOwn) {
		g, err := f.askPodman(ctx, r, "unix://"+f.podmanOwn)
		if !absent(err) {
			return g, err
		}
	}
	path := f.command("podman")
	if path == "" {
		return nil, r.fault(fault.Runtime, "%w at %s, and there is no podman command", podmanBrand.none, f.podmanOwn).
			WithHint("install podman, or set CONTAINER_HOST to where it listens")
	}
	p := podmanCommand{r, path}
	return f.take(ctx, r, source{inspect: p.inspect, stopped: p.stopped}, RuntimePodman)
}

// askPodman asks the podman that listens at host.
func (f *finder) askPodman(ctx context.Context, r wordRef, host string) (*Guest, error) {
	if strings.HasPrefix(host, "ssh://") {
		return nil, r.fault(fault.Runtime, "podman at %s: %w", host, errElsewhere).
			WithHint("run gopipework where podman runs")
	}
	d, err := daemonAt(ctx, r, podmanBrand, host)
	if err != nil {
		return nil, r.fault(fault.Usage, "choose podman: %w", err).WithHint("see CONTAINER_HOST")
	}
	defer d.close()
	return f.take(ctx, r, d.source(nil), RuntimePodman)
}

// podmanCommand asks podman for one guest word, through its command.
type podmanCommand struct {
	ref  wordRef
	path string
}

// inspect implements a source.
func (p podmanCommand) inspect(ctx context.Context, name string) (*found, error) {
	out, err := run(ctx, p.path, "container", "inspect", "--format", "json", name)
	if stopped := p.stopped(ctx); stopped != nil {
		return nil, stopped
	}
	var refused *refusal
	switch {
	case ambiguous(err):
		return nil, p.ref.refuseAmbiguous()
	case errors.As(err, &refused) && strings.Contains(strings.ToLower(refused.text), "no such container"):
		return nil, p.ref.hintPID(p.ref.fault(fault.NotFound, "%w", errNoContainer))
	case err != nil:
		return nil, p.broken(err)
	}
	answer, err := readPodman(out)
	if err != nil {
		return nil, p.broken(err)
	}
	c, err := p.ref.understand(answer, "podman")
	if err != nil {
		return nil, p.broken(err)
	}
	return c, nil
}

// readPodman reads the fields that the command's answer has in common with Docker's. Other
// fields differ in type.
func readPodman(text []byte) (container.InspectResponse, error) {
	var answers []struct {
		ID    string `json:"Id"`
		Name  string
		State *struct {
			Status                      string
			Running, Paused, Restarting bool
			Pid, ExitCode               int
			StartedAt                   string
		}
		NetworkSettings struct{ SandboxKey string }
		HostConfig      struct{ NetworkMode string }
	}
	if err := json.Unmarshal(text, &answers); err != nil {
		return container.InspectResponse{}, err
	}
	if len(answers) != 1 {
		return container.InspectResponse{}, fmt.Errorf("%d containers where one was asked for", len(answers))
	}
	a := answers[0]
	c := container.InspectResponse{
		ID:              a.ID,
		Name:            a.Name,
		HostConfig:      &container.HostConfig{NetworkMode: container.NetworkMode(a.HostConfig.NetworkMode)},
		NetworkSettings: &container.NetworkSettings{SandboxKey: a.NetworkSettings.SandboxKey},
	}
	if s := a.State; s != nil {
		c.State = &container.State{
			Status: container.ContainerState(s.Status), Running: s.Running, Paused: s.Paused,
			Restarting: s.Restarting, Pid: s.Pid, ExitCode: s.ExitCode, StartedAt: s.StartedAt,
		}
	}
	return c, nil
}

// stopped implements a source.
func (p podmanCommand) stopped(ctx context.Context) error {
	return p.ref.stopped(ctx, "the podman command", "see whether podman ps works")
}

func (p podmanCommand) broken(err error) error {
	return p.ref.fault(fault.Runtime, "the podman command: %w", clipped{err}).
		WithHint("see whether podman ps works")
}
