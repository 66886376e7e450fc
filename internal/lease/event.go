package lease

// What became of a lease.
type What string

const (
	Acquired What = "acquired"
	Renewed  What = "renewed"
	Lost     What = "lost"     // refused, or over: its address was withdrawn
	Released What = "released" // because somebody asked for that
	Trouble  What = "trouble"  // there is none, or no new one, and Err says why
)

// Event is what became of the lease of an interface.
type Event struct {
	What   What
	PID    int    // of the guest; 0 if it has none
	Path   string // of its namespace, where it has no process
	NetNS  uint64 // inode number of its namespace
	IfName string // as the interface was called at first
	Lease  *Lease // the one that it is about; nil: there was none yet
	Err    error  // why
}

// change is what became of a lease was that is now, and of trouble that was told.
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
