package kind

import (
	"context"
	"errors"
	"fmt"

	"github.com/gopipework/gopipework/bridge"
	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/spec"
	"golang.org/x/sys/unix"
)

// Ports that are isolated: they reach whatever is on the switch but each other. Open vSwitch
// calls such a port protected.

// notIsolated is why a kind has no isolated ports.
func notIsolated(word spec.Kind) string {
	return fmt.Sprintf("--isolated is for a port of a bridge, and this is of the kind %s", word)
}

// isolatedDiffers holds a port that is there against what is asked.
func isolatedDiffers(j *build.Job, there bool, differ build.Differ) {
	if there != j.Isolated {
		differ(spec.PortIsolation, spec.OnOff(there), spec.OnOff(j.Isolated))
	}
}

// SetIsolated plans for the port to be isolated, or not.
func (linuxBridge) SetIsolated(c build.Change, d *build.Draft, on bool) error {
	port := c.There.Found.Port
	switch {
	case c.There.OwnOn == nil:
		return c.Refuse(fault.Conflict, "%s is in no bridge", port.Name)
	case port.Port.Isolated != on:
		d.Add(Isolate{port: port.Name, on: on})
	}
	return nil
}

// Isolate isolates a port of a Linux bridge, or ends that.
type Isolate struct {
	port string
	on   bool
}

func (s Isolate) Do(_ context.Context, m *plan.Machine) error {
	i, err := m.Find(plan.OnHost, s.port)
	if err != nil {
		return fault.Explain("find", s.port, err)
	}
	if err = m.Host().SetPortIsolated(i, s.on); errors.Is(err, unix.EOPNOTSUPP) {
		return fault.New(fault.Unsupported, "isolate", s.port, "%w", err).WithHint("isolated ports need Linux 4.18")
	}
	return fault.Explain("isolate", s.port, err)
}

func (s Isolate) Undo(_ context.Context, m *plan.Machine) error {
	i, err := m.Find(plan.OnHost, s.port)
	if err == nil {
		err = m.Host().SetPortIsolated(i, !s.on)
	}
	return fault.IgnoreAbsent("isolate", s.port, err)
}

func (Isolate) Nature() plan.Nature { return plan.Undoable }

func (s Isolate) String() string {
	return "bridge link set dev " + s.port + " isolated " + spec.OnOff(s.on)
}

// ProtectOVSPort does the same in Open vSwitch.
type ProtectOVSPort struct {
	bridge.OVSPort
	on bool
}

func (s ProtectOVSPort) Do(ctx context.Context, m *plan.Machine) error {
	return m.Host().Run(func() error { return s.Protect(ctx, s.on) })
}

func (s ProtectOVSPort) Undo(ctx context.Context, m *plan.Machine) error {
	return m.Host().Run(func() error { return s.Protect(ctx, !s.on) })
}

func (ProtectOVSPort) Nature() plan.Nature { return plan.Undoable }

func (s ProtectOVSPort) String() string { return s.ProtectCommand(s.on) }
