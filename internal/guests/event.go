package guests

// Happening is what an Event is about.
type Happening int

// The happenings.
const (
	Started Happening = iota + 1
	Ended             // its process, or its namespace
	Renamed           // the event has its new name
	Removed
	Changed // one of those that the event can mean may have started or ended

	// Unplugged: the host has lost a link of ours to the guest, or a card that was lent to it
	// is on the host again.
	Unplugged

	Lent // a card of the host

	// Followed and Deaf are about an engine. From now on its events are told, or they are
	// not: what happened in between is not known.
	Followed
	Deaf
)

// String returns the happening as a word.
func (h Happening) String() string {
	words := [...]string{"unknown", "started", "ended", "renamed", "removed", "changed", "unplugged", "lent", "followed", "deaf"}
	return words[min(max(int(h), 0), len(words)-1)]
}

// Event is what became of a guest, as its engine tells it or, for a named namespace, the
// kernel.
type Event struct {
	What    Happening
	Runtime string // as in GuestInfo

	// ID and Name are those of the guest, or "" if the event can mean any of the runtime.
	ID, Name string

	// Labels are those of a container, among a few other words of its engine.
	Labels map[string]string

	Engine string // of Followed and Deaf: what listens where
	Err    error  // of Deaf: why
}
