package main

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"time"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/labels"
	"github.com/gopipework/gopipework/internal/policy"
	"github.com/gopipework/gopipework/internal/shell"
)

// What a guest asks for itself as it starts, by labels or annotations: for a hook, and for a
// plugin of CNI. It gets all of it, or nothing.

// allowed reads what a guest asks for. What the policy refuses is an error.
func allowed(asks labels.Container, p policy.Policy) (all []attach.Spec, err error) {
	entries, refused := labels.Wanted([]labels.Container{asks}, p, labelGrammar())
	if len(refused) > 0 {
		r := refused[0]
		hint := cmp.Or(r.Hint, asksBy(asks)+" asks for it"+checking(asks, r.IfName, p)) // its own: it makes no sense, whatever is allowed
		return nil, fault.New(fault.Failed, "attach", cmp.Or(r.IfName, "an interface")+" to "+r.Guest, "refused: %s", r.Reason).
			WithHint("%s", hint)
	}
	for _, e := range entries {
		all = append(all, *e.Attach)
	}
	return all, nil
}

// asksBy names what a guest asks by.
func asksBy(asks labels.Container) string {
	if asks.Member.Of == policy.Nomad {
		return "an argument of the job's network"
	}
	return "the guest's " + string(asks.Origin())
}

// checking tells, in a hint, the command that says what the policy decides about an interface. "":
// there is none.
func checking(asks labels.Container, ifName string, p policy.Policy) string {
	guest, line := asks.Asks(ifName)
	if ifName == "" || guest == "" || line == "" {
		return ""
	}
	command := []string{"gopipework", "policy", "check", guest, line}
	if p.Path != policy.Path {
		command = append(command, "--"+policyFlag.Name, p.Path)
	}
	return "; " + shell.Line(command) + " says what is allowed"
}

// attachAll attaches a guest to all of it. What was attached before something fails is detached.
// An address that somebody else on the bridge or card has is refused: two containers of an image,
// or pods of a template, ask for the same.
func attachAll(ctx context.Context, all []attach.Spec, g *attach.Guest, opt attach.Options) (made []attach.Result, err error) {
	opt.Alone = true
	for _, s := range all {
		s.Guest = g.Word()
		r, err := attach.Attach(ctx, s, g, opt)
		if err != nil {
			return nil, undoAll(ctx, made, g, opt, err)
		}
		made = append(made, r)
	}
	return made, nil
}

// undoTimeout bounds how long it takes to detach what was attached before something failed. A
// runtime gives a hook that much time after its own.
const undoTimeout = 5 * time.Second

// undoAll detaches what was attached before something failed.
func undoAll(ctx context.Context, made []attach.Result, g *attach.Guest, opt attach.Options, failed error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	for _, r := range made {
		if opt.DryRun || !r.Changed {
			continue
		}
		name := r.Attachments[0].Interface.Name
		if _, err := attach.Detach(ctx, attach.Selection{IfName: name, Origin: opt.Origin}, g, opt); err != nil {
			failed = notUndone(failed, err, name+" of "+g.Word())
		}
	}
	return failed
}

// notUndone is the error of an attach that has failed and could not be undone: why, and what is
// left, including what either error lists. The code that CNI has for it is that of failed.
func notUndone(failed, undone error, residue string) error {
	e := fault.New(fault.Residue, "undo", "", "%[2]w (after: %[1]w)", failed, undone)
	e.Residue = []string{residue}
	for _, err := range []error{undone, failed} {
		if f := (*fault.Error)(nil); errors.As(err, &f) {
			e.Residue = append(e.Residue, f.Residue...)
		}
	}
	return e.WithHint("still in force: %s", strings.Join(e.Residue, "; "))
}
