package doctor

import (
	"net/netip"
)

// far is somebody whom a packet of the guest's is for.
type far struct {
	addr netip.Addr
	name string // for a person
	end  *end   // nil: it cannot be entered
}

// targets returns the addresses that the target has.
func (w *walker) targets() ([]netip.Addr, error) {
	if w.ask.To.Addr.IsValid() {
		return []netip.Addr{w.ask.To.Addr}, nil
	}
	return nil, nil
}

// findFar finds the far ends.
func (w *walker) findFar() error { return nil }

// lookFar adds a hop for each far end.
func (w *walker) lookFar() {}
