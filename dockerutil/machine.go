package dockerutil

import (
	"context"
	"errors"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/lazyregexp"
)

func (f *finder) machineHere(name string) bool {
	return f.machines != "" && exists(filepath.Join(f.machines, name))
}

// findMachine asks systemd-machined through its command. A D-Bus library would slow down
// every start, and few users have such guests.
func (f *finder) findMachine(ctx context.Context, r wordRef) (*Guest, error) {
	path := f.command("machinectl")
	if path == "" {
		return nil, r.fault(fault.Runtime, "%w", absence("there is no machinectl command")).
			WithHint("install systemd-container")
	}
	ctx, cancel := f.bounded(ctx)
	defer cancel()
	m := machined{r, path}
	return f.take(ctx, r, source{inspect: m.inspect, stopped: m.stopped}, RuntimeMachine)
}

// machined asks systemd-machined for one guest word.
type machined struct {
	ref  wordRef
	path string
}

// noBus matches systemd's message that it cannot reach a bus. Since version 257 it names
// the bus.
var noBus = lazyregexp.Regexp{Expr: `Failed to connect to (.* )?bus\b`}

// inspect implements a source.
func (m machined) inspect(ctx context.Context, name string) (*found, error) {
	out, err := run(ctx, m.path, "show", "--no-pager",
		"--property=Name", "--property=Leader", "--property=Unit", "--property=State", name)
	if stopped := m.stopped(ctx); stopped != nil {
		return nil, stopped
	}
	var refused *refusal
	switch {
	case errors.As(err, &refused) && strings.Contains(refused.text, "No machine '"):
		return nil, m.ref.fault(fault.NotFound, "%w: machined knows no such machine", errNoContainer).
			WithHint("machinectl list shows the machines that run; machinectl start %s", name)
	case errors.As(err, &refused) && noBus.Get().MatchString(refused.text):
		return nil, m.ref.fault(fault.Runtime, "%w: no system bus", absence("systemd-machined is not here")).
			WithHint("machines are systemd's: without systemd, name the process: pid:N")
	case err != nil:
		return nil, m.broken(err)
	}
	properties := map[string]string{}
	for line := range strings.Lines(string(out)) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		properties[key] = value
	}
	pid, err := strconv.Atoi(properties["Leader"])
	if err != nil || pid < 0 || pid > maxPID {
		return nil, m.broken(errors.New("the leader of the machine is missing or impossible"))
	}
	if properties["Name"] != name || properties["Unit"] == "" {
		return nil, m.broken(errors.New("the answer is not about this machine"))
	}
	c := &found{id: name, name: name, unit: properties["Unit"]}
	switch properties["State"] {
	case "running":
		c.pid = pid
	case "opening":
		c.idle, c.comingUp = "it does not come up", true
	default:
		c.idle, c.hint = "it is closing down", "machinectl start "+name
	}
	return c, nil
}

// stopped implements a source.
func (m machined) stopped(ctx context.Context) error {
	return m.ref.stopped(ctx, "systemd-machined", m.instead())
}

func (m machined) broken(err error) error {
	return m.ref.fault(fault.Runtime, "systemd-machined: %w", clipped{err}).WithHint("%s", m.instead())
}

func (m machined) instead() string { return "see whether machinectl list works" }
