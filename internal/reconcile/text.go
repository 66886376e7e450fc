package reconcile

import (
	"fmt"
	"strings"
	"sync"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/internal/shell"
)

// signs are what the lines of a difference begin with.
var signs = sync.OnceValue(func() map[Action]string {
	return map[Action]string{Make: "+", Change: "~", Remove: "-", Pending: "?", Refused: "!"}
})

// String returns the item as a line: a sign, the line that is wanted, and why.
func (i Item) String() string { return signs()[i.Action] + " " + i.Line() + " (" + i.Why() + ")" }

// Line is the entry as it would be typed; of a removal, the words that detach it.
func (i Item) Line() string {
	switch {
	case i.OfBridge() && i.Action == Remove:
		return shell.Line([]string{bridgeWord, i.Bridge.Name})
	case i.OfBridge():
		return shell.Line(i.Entry.Words)
	case i.Action == Remove:
		a := i.There[0]
		return shell.Line([]string{"detach", a.Guest.Word(), a.Interface.Name})
	}
	words := i.Entry.Words
	if i.Entry.Link != nil {
		words = append([]string{"link"}, words...)
	}
	return shell.Line(words)
}

// IfName is the interface of the entry in its first guest. "": the guest is not there, or
// the item is a removal or of a bridge.
func (i Item) IfName() string {
	if len(i.names) == 0 {
		return ""
	}
	return i.names[0]
}

// Why says what makes the item one.
func (i Item) Why() string {
	switch i.Action {
	case Pending:
		return "pending: " + i.Reason
	case Change:
	default:
		return i.Reason
	}
	var what []string
	for _, d := range i.What {
		what = append(what, d.What+" "+d.There+" -> "+d.Asked)
	}
	if len(what) == 0 {
		what = append(what, i.Reason)
	}
	if i.Again {
		what = append(what, "detached and attached again")
		if len(i.What) > 0 && i.Reason != "" {
			what[len(what)-1] += ": " + i.Reason
		}
	}
	return strings.Join(what, ", ")
}

// Removed are the attachments that a removal removes, each as "IFNAME of GUEST".
func (i Item) Removed() (names []string) {
	if i.OfBridge() {
		return []string{"what the host has on bridge " + i.Bridge.Name}
	}
	for _, a := range i.There {
		names = append(names, named(a))
	}
	return names
}

func named(a attach.Attachment) string { return a.Interface.Name + " of " + a.Guest.Word() }

// Spared is the warning about a removal that nobody asked for.
func (i Item) Spared() string {
	names, is, it := i.Removed(), "is", "it"
	if len(names) > 1 {
		is, it = "are", "them"
	}
	why := "not in the file any more"
	if i.Reason == leftBehind || i.Reason == goneFromKept {
		why = i.Reason
	}
	does := "detaches"
	if i.OfBridge() {
		does = "removes"
	}
	return fmt.Sprintf("%s %s %s; --prune %s %s", strings.Join(names, " and "), is, why, does, it)
}
