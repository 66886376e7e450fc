package attach

import (
	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/guestnet"
	"github.com/gopipework/gopipework/internal/source"
)

// planInet plans addresses and routes, and the announcement to the neighbours. IPv4
// is complete before the wait for IPv6 begins.
func planInet(j *build.Job, d *build.Draft) error {
	guestnet.PlanProbe(j, d)
	guestnet.PlanAddresses(j, d, false)
	if j.Traits.UpLate && !guestnet.AsksFirst(j) {
		guestnet.PlanUp(j, d)
		guestnet.PlanCarrier(j, d)
	}
	if err := guestnet.PlanFollowing(j, d, false); err != nil {
		return err
	}
	guestnet.PlanAddresses(j, d, true)
	if err := guestnet.PlanFollowing(j, d, true); err != nil {
		return err
	}
	if s := source.SourceFrom(j.From); s != nil {
		return s.Get(j, d)
	}
	return nil
}
