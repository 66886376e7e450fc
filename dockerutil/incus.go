package dockerutil

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"

	"github.com/gopipework/gopipework/internal/fault"
)

const errNoIncus = absence("no Incus listens")

// incusSockets returns where Incus may listen, in the order of its own command.
func incusSockets() []string {
	if socket := os.Getenv("INCUS_SOCKET"); socket != "" {
		return []string{socket}
	}
	if dir := os.Getenv("INCUS_DIR"); dir != "" {
		return []string{filepath.Join(dir, "unix.socket")}
	}
	return []string{"/run/incus/unix.socket", "/var/lib/incus/unix.socket"}
}

// incusSocket returns the first socket that exists, else the last one.
func (f *finder) incusSocket() (socket string) {
	for _, socket = range f.incus {
		if exists(socket) {
			break
		}
	}
	return socket
}

func (f *finder) incusHere(string) bool { return exists(f.incusSocket()) }

// findIncus asks Incus for an instance, in the project that its own command would use.
func (f *finder) findIncus(ctx context.Context, r wordRef) (*Guest, error) {
	ctx, cancel := f.bounded(ctx)
	defer cancel()
	i := f.openIncus(ctx, r)
	return f.take(ctx, r, source{i.inspect, i.stopped, i.dialer}, RuntimeIncus)
}

// openIncus prepares to ask Incus until ctx is done; nothing is sent yet.
func (f *finder) openIncus(ctx context.Context, r wordRef) *incus {
	i := &incus{ref: r, socket: f.incusSocket()}
	i.dialer = &dialer{ctx: ctx, proto: "unix", addr: i.socket}
	i.http = &http.Client{Transport: &http.Transport{DialContext: i.dialer.dial, DisableKeepAlives: true}}
	return i
}

// incus asks Incus for one guest word.
type incus struct {
	ref    wordRef
	socket string
	http   *http.Client
	dialer *dialer
}

// incusInstance is the answer to GET /1.0/instances/NAME?recursion=1, as far as it is
// needed.
type incusInstance struct {
	Name     string `json:"name"`
	Type     string `json:"type"`     // container or virtual-machine
	Location string `json:"location"` // a machine of the cluster, or "none"
	State    *struct {
		Status string `json:"status"`
		PID    int    `json:"pid"`
	} `json:"state"`
}

// inspect implements a source.
func (i *incus) inspect(ctx context.Context, name string) (*found, error) {
	query := url.Values{"recursion": {"1"}}
	if project := os.Getenv("INCUS_PROJECT"); project != "" {
		query.Set("project", project)
	}
	var c incusInstance
	if err := i.get(ctx, "/1.0/instances/"+url.PathEscape(name)+"?"+query.Encode(), &c); err != nil {
		return nil, err
	}
	switch {
	case c.Name != name || c.State == nil || c.State.PID > maxPID:
		return nil, i.broken(errors.New("the answer is not about this instance, or impossible"))
	case c.Type != "container":
		return nil, i.ref.fault(fault.Unsupported, "it is a %s, which has no network namespace", clipped{errors.New(c.Type)}).
			WithHint("incus config device add plugs a network card into a virtual machine")
	}
	if err := i.here(ctx, c.Location); err != nil {
		return nil, err
	}
	seen := &found{id: name, name: name, local: i.dialer.seen()}
	switch c.State.Status {
	case "Running", "Ready", "Freezing", "Frozen", "Thawed":
		seen.pid = max(c.State.PID, 0)
	case "Starting":
		seen.comingUp = true
	}
	if seen.pid == 0 {
		seen.idle, seen.hint = "it is not running", "incus start "+name
	}
	return seen, nil
}

// here checks that an instance of a cluster runs on this machine. Its PID is one of the
// machine on which it runs.
func (i *incus) here(ctx context.Context, location string) error {
	if location == "" || location == "none" {
		return nil
	}
	var server struct {
		Environment struct {
			Name string `json:"server_name"`
		} `json:"environment"`
	}
	if err := i.get(ctx, "/1.0", &server); err != nil {
		return err
	}
	if server.Environment.Name != location {
		return i.ref.fault(fault.Runtime, "it runs on %q, a machine of the cluster: %w", location, errElsewhere).
			WithHint("run gopipework there")
	}
	return nil
}

// get requests path, and decodes the answer into v.
func (i *incus) get(ctx context.Context, path string, v any) error {
	ask, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://incus"+path, nil)
	if err != nil {
		return i.broken(err)
	}
	answer, err := i.http.Do(ask)
	if err != nil {
		return i.explain(ctx, err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK && answer.StatusCode != http.StatusNotFound {
		return i.broken(fmt.Errorf("it answers with %q", answer.Status)) // what follows may have no end
	}
	envelope := struct {
		Type     string          `json:"type"`
		Error    string          `json:"error"`
		Code     int             `json:"error_code"`
		Metadata json.RawMessage `json:"metadata"`
	}{}
	err = json.NewDecoder(answer.Body).Decode(&envelope)
	switch {
	case err != nil:
		return i.explain(ctx, err)
	case envelope.Type == "error" && envelope.Code == http.StatusNotFound:
		return i.ref.fault(fault.NotFound, "%w: Incus knows no such instance", errNoContainer).
			WithHint("incus list --all-projects lists the instances; INCUS_PROJECT says which project is meant")
	case envelope.Type != "sync":
		return i.broken(fmt.Errorf("it answers: %s", envelope.Error))
	}
	if err := json.Unmarshal(envelope.Metadata, v); err != nil {
		return i.broken(err)
	}
	return nil
}

// explain returns the error for a failed question.
func (i *incus) explain(ctx context.Context, err error) error {
	if stopped := i.stopped(ctx); stopped != nil {
		return stopped
	}
	if dialErr := i.dialer.failure(); dialErr != nil {
		return i.ref.unreachable(dialErr, "Incus", i.socket, errNoIncus,
			"start Incus, or set INCUS_SOCKET to where it listens", i.instead())
	}
	return i.broken(err)
}

// stopped implements a source.
func (i *incus) stopped(ctx context.Context) error {
	return i.ref.stopped(ctx, "Incus at "+i.socket, i.instead())
}

func (i *incus) broken(err error) error {
	return i.ref.fault(fault.Runtime, "Incus at %s: %w", i.socket, clipped{err}).WithHint("%s", i.instead())
}

func (i *incus) instead() string { return "see whether incus list works" }
