package firewall

import (
	"context"
	"errors"
	"slices"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/hosttool"
	"github.com/gopipework/gopipework/internal/plainname"
	"golang.org/x/sys/unix"
)

// Insert puts the rule first in its chain, waiting for other users of
// iptables no longer than ctx and five seconds.
//
// It runs iptables itself rather than through coreos/go-iptables, which starts
// the program a second time to ask its version, and cannot be interrupted.
func (r Rule) Insert(ctx context.Context) error {
	if err := r.check(); err != nil {
		return err
	}
	return r.run(ctx, "add firewall rule", r.insertNative, append([]string{"-w", "-I", r.Chain, "1"}, r.match()...))
}

// Delete deletes the rule. That it is not there is no error.
func (r Rule) Delete(ctx context.Context) error {
	if err := r.check(); err != nil {
		return err
	}
	err := r.run(ctx, "delete firewall rule", r.deleteNative, append([]string{"-w", "-D", r.Chain}, r.match()...))
	switch {
	case errors.Is(err, unix.ENOENT): // as deleteNative says
		return nil
	case err == nil, ctx.Err() != nil:
		return err
	}
	// iptables has one exit code for "no such rule" and much else: look.
	if there, lookErr := r.there(ctx); lookErr != nil || there {
		return err
	}
	return nil
}

func (r Rule) there(ctx context.Context) (bool, error) {
	fw, err := ObserveRules(ctx)
	if err != nil {
		return false, err
	}
	for _, p := range fw.Paths {
		if p.Unread != "" && p.Family == r.Family && p.Backend == r.Backend {
			return false, errors.New(p.Unread)
		}
	}
	return slices.Contains(fw.OursFor(r.Bridge, r.Port), r), nil
}

// check refuses names that iptables would read as more than one interface ("+" at
// the end is a wildcard), or as an option.
func (r Rule) check() error {
	for _, name := range []string{r.Bridge, r.Port} {
		if name != "" && !plainname.Is(name) {
			return fault.New(fault.Unsupported, "write firewall rule", r.String(),
				"iptables cannot name interface %q", name)
		}
	}
	return nil
}

// run runs iptables or, on nf_tables and where the host has none, native instead.
func (r Rule) run(ctx context.Context, op string, native func() error, args []string) error {
	bin, err := findTool(r.Family, r.Backend)
	switch {
	case err == nil:
		_, err = hosttool.Run(ctx, bin, args...)
	case r.Backend == NFT:
		err = native()
	}
	if err != nil {
		return toolFault(op, r.String(), err)
	}
	return nil
}
