package lease

// What became of a lease.
type What string

const (
	TakenOver What = "taken over" // it goes on in this process, in which it was not kept before
	Acquired  What = "acquired"
	Renewed   What = "renewed"
	Lost      What = "lost"     // refused, or over: its address was withdrawn
	Released  What = "released" // because somebody asked for that
	Ended     What = "ended"    // with its guest, or its interface
	Trouble   What = "trouble"  // there is none, or no new one, and Err says why
)

// Event is what became of the lease of an interface.
type Event struct {
	What   What
	Guest  string // as on a command line; "": it is about no guest
	IfName string // as the interface was called at first
	Lease  *Lease // the one that it is about; nil: there was none yet
	Err    error  // why
}

// change is what it means that a lease was and now is, with trouble where told was before.
func change(was, now *Lease, told, trouble string) What {
	switch {
	case now == nil && was != nil:
		return Lost
	case now != nil && (was == nil || was.Address != now.Address):
		return Acquired
	case now != nil && was.At != now.At:
		return Renewed
	case trouble != "" && trouble != told:
		return Trouble
	}
	return ""
}
