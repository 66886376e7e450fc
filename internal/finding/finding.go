// Package finding has the table of what keeps packets from flowing: what is seen, why it
// matters, and what mends it. "doctor", the warnings of an attach, the manual page and
// the tests are made from it.
package finding

import (
	"fmt"
	"slices"
	"strings"

	"github.com/gopipework/gopipework/internal/plan"
)

// Kind is one thing that can be found. Its number and its name do not change.
type Kind struct {
	ID   int    // as in GP107
	Name string // as in forward-drop
	Seen string // what is seen
	Why  string // why it matters
	Mend string // what mends it
}

// Code is how the kind is printed: GP107.
func (k *Kind) Code() string { return fmt.Sprintf("GP%d", k.ID) }

// String is the code and the name.
func (k *Kind) String() string { return k.Code() + " " + k.Name }

// Finding is what was found at one place.
type Finding struct {
	*Kind
	Reason   string   // one sentence that names the objects
	Evidence []string // what the kernel said, or what was seen on the wire
	Mend     []string // commands for a root shell that mend it, in their order; none: only a person can

	// Sure: no packet of an ordinary kind passes. Otherwise only some are stopped, or it
	// cannot be told, and a probe has to show whether packets flow.
	Sure bool

	// Fix is Mend as steps, if what they change is ours.
	Fix []plan.Step
	// Again: the same attach line again mends it.
	Again bool
	// With are the flags with which the same attach line mends it.
	With []string
}

// Commands returns Mend, or what Fix prints.
func (f Finding) Commands() []string {
	if len(f.Mend) > 0 {
		return f.Mend
	}
	return plan.Plan{Steps: f.Fix}.Commands()
}

// Surely returns a finding that stops all packets, with its reason.
func (k *Kind) Surely(format string, args ...any) Finding {
	return Finding{Kind: k, Reason: fmt.Sprintf(format, args...), Sure: true}
}

// Perhaps returns a finding that stops some packets, or may stop them, with its reason.
func (k *Kind) Perhaps(format string, args ...any) Finding {
	return Finding{Kind: k, Reason: fmt.Sprintf(format, args...)}
}

// MendedBy returns f with the commands that mend it.
func (f Finding) MendedBy(commands ...string) Finding {
	f.Mend = append(slices.Clip(f.Mend), commands...)
	return f
}

// FixedBy returns f with the steps that mend it, which change only what is ours.
func (f Finding) FixedBy(steps ...plan.Step) Finding {
	f.Fix = append(slices.Clip(f.Fix), steps...)
	return f
}

// SeenBy returns f with evidence.
func (f Finding) SeenBy(evidence ...string) Finding {
	f.Evidence = append(slices.Clip(f.Evidence), evidence...)
	return f
}

// Warning is the finding in one line: its reason, and what mends or shows it.
func (f Finding) Warning() string {
	more := f.Commands()
	if len(more) == 0 {
		more = f.Evidence
	}
	if len(more) == 0 {
		return f.Reason
	}
	return f.Reason + " (" + strings.Join(more, "; ") + ")"
}

// Named returns the kind with a name or a code, or nil.
func Named(word string) *Kind {
	for _, k := range All {
		if word == k.Name || word == k.Code() {
			return k
		}
	}
	return nil
}
