package attach

// An addressSource is all that is known of one way to get addresses from elsewhere than
// the line. Each has a file of its own and a place in the registry. What another source
// has given before is found as well: each looks for itself.
type addressSource interface {
	kind() SourceKind
	// sysctls are those of the interface that it needs, by path.
	sysctls() []needed
	// get plans for the addresses, and for what follows from them.
	get(*job, *draft) error
	// differ tells how what it gives an interface that is there differs from what is
	// asked for.
	differ(*job, differ)
	// repair plans for what has ended that an interface needs which is there.
	repair(*job, *draft) error
	// keeps says how it keeps the addresses of the interface that is there; "": it
	// does not.
	keeps(Inside) string
	// clear plans for what a killed run has left.
	clear(*job, *draft)
	// detach plans for an end of what it does for an attachment.
	detach(departure, Pair, *removal)
}

// needed is a sysctl of an interface.
type needed struct{ path, value string }

// addressSources is the registry.
var addressSources = []addressSource{hostClient{}, dhcp{}, dhcp6{}, slaac{}}

// source is what gives the addresses; nil: they are on the line.
func (j *job) source() addressSource {
	for _, s := range addressSources {
		if s.kind() == j.From.Kind {
			return s
		}
	}
	return nil
}

// kept says what keeps the addresses of the interface that is there; "": nothing does.
func (in Inside) kept() string {
	for _, s := range addressSources {
		if why := s.keeps(in); why != "" {
			return why
		}
	}
	return ""
}

// passively is for a source that leaves nothing behind.
type passively struct{}

func (passively) repair(*job, *draft) error        { return nil }
func (passively) clear(*job, *draft)               {}
func (passively) detach(departure, Pair, *removal) {}
