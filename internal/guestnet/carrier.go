package guestnet

import (
	"context"
	"time"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/plan"
)

// CarrierPatience is how long a card that has just been set up may take to find
// its partner: most have done so after three seconds.
var CarrierPatience = 5 * time.Second

// AwaitCarrier waits until a card that was set up has a carrier. Without one it
// goes on: the cable may be plugged in later.
type AwaitCarrier struct {
	plan.Place
	Link string
	Card string // the name that it has on the host
}

func (s AwaitCarrier) Do(ctx context.Context, m *plan.Machine) error {
	patience := time.Now().Add(CarrierPatience)
	return m.Await(ctx, s.Side, func() (bool, error) {
		i, err := m.Find(s.Side, s.Link)
		if err != nil {
			return false, fault.Explain("find", s.Link, err)
		}
		l, err := s.Kernel(m).LinkByIndex(i)
		if err != nil {
			return false, fault.Explain("find", s.Link, err)
		}
		if !l.Carrier && time.Now().After(patience) {
			m.Warn(plan.NoCarrier(s.Card) + ": nothing can be heard on it")
			return true, nil
		}
		return l.Carrier, nil
	})
}

func (s AwaitCarrier) Undo(context.Context, *plan.Machine) error { return nil }

func (AwaitCarrier) Nature() plan.Nature { return plan.Passive }

func (s AwaitCarrier) String() string { return "# wait until " + s.Card + " has a carrier" }
