package doctor

// cardChecks look at the card that a guest's link is on.
var cardChecks = []check{}

// cardFacts is what a person wants to know of the card.
func (w *walker) cardFacts() []string { return linkFacts(w.host.with(w.on)) }
