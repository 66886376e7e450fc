package spec

import "github.com/gopipework/gopipework/internal/fault"

// Selection is which of a guest's attachments to detach.
type Selection struct {
	IfName string // "" for the only one
	All    bool

	Origin Origin // only of what this one asked for, and of what is half made; "": of all
	Guest  string // only of guests that their marks give this ID; "": of all
}

// ParseSelection reads the words of a detach after its guest.
func ParseSelection(ifName string, all bool) (Selection, error) {
	if ifName != "" && all {
		return Selection{}, fault.BadWord("read interface name", ifName, "--all means every interface, not just this one").
			WithHint("leave out one of the two")
	}
	name, err := parseAnyName(ifName)
	return Selection{IfName: name, All: all}, err
}
