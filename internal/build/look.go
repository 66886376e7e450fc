package build

import (
	"context"
	"errors"

	"github.com/gopipework/gopipework/bridge"
	"github.com/gopipework/gopipework/bridge/firewall"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
)

// Looker reads one thing after the other; the first error sticks.
type Looker struct{ Err error }

func (o *Looker) Look(at string, read func() error) {
	if o.Err == nil {
		o.Err = fault.Explain("look at", at, read())
	}
}

// OVS looks at the host's Open vSwitch.
func (o *Looker) OVS(ctx context.Context, k plan.Kernel) (ovs bridge.OVS) {
	o.Look("Open vSwitch", func() error {
		return k.Run(func() (err error) { ovs, err = bridge.ObserveOVS(ctx); return err })
	})
	return ovs
}

// ByName returns nil for a link that is not there.
func (o *Looker) ByName(k plan.Kernel, name string) (l *rtnl.Link) {
	o.Look(name, func() (err error) {
		l, err = k.LinkByName(name)
		return ours.UnlessNotFound(err)
	})
	return l
}

// Observer reads the facts of one spec.
type Observer struct {
	Looker
	Host, Guest plan.Kernel
	Rules       *firewall.Reading // of the host
}

// WithHint adds a hint to an error that has none.
func WithHint(err error, hint string) error {
	if f := (*fault.Error)(nil); errors.As(err, &f) && f.Hint == "" {
		f.Hint = hint
	}
	return err
}
