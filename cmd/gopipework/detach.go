package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/kept"
	"github.com/gopipework/gopipework/internal/shell"
	"github.com/gopipework/gopipework/internal/spec"
	"github.com/urfave/cli/v2"
)

func (o *output) detachEntry() *cli.Command {
	return &cli.Command{
		Name:      "detach",
		Aliases:   []string{"rm"},
		Usage:     "remove one attachment of a guest, or all of them",
		ArgsUsage: "GUEST [IFNAME]",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "all", Usage: "remove every attachment of the guest"},
			dryRunFlag, jsonFlag, vFlag,
			timeoutFlag("give up after `DURATION`"),
		},
		Action: o.detachCommand,
	}
}

func (o *output) detachCommand(c *cli.Context) error {
	w, err := words(c, 1, 2)
	if err != nil {
		return err
	}
	sel, err := attach.ParseSelection(append(w, "")[1], c.Bool("all"))
	if err != nil {
		return err
	}
	err = o.withGuest(c, w[0], func(ctx context.Context, g *attach.Guest, opt attach.Options) error {
		r, err := attach.Detach(ctx, sel, g, opt)
		if err == nil {
			err = dropKept(ctx, sel, w[0], g, opt, &r)
		}
		if err != nil {
			return err
		}
		if len(r.Attachments) == 0 && len(w) > 1 {
			r.Warnings = append(r.Warnings, g.Word()+" has no attachment "+w[1]+": nothing was changed")
		}
		warnComesBack(ctx, &r)
		return o.result(r, opt.DryRun, false)
	})
	if f := (*fault.Error)(nil); errors.As(err, &f) && (f.Code == fault.Gone || f.Code == fault.NotFound) {
		f.Hint = "its interfaces went with it; gopipework gc cleans up what may remain on the host"
		if lines, err := kept.Read(grammar()); err == nil && len(kept.Of(lines, kept.Guest{Word: w[0]}, "")) > 0 {
			f.Hint += "; gopipework forget " + shell.Quote(w[0]) + " drops what is kept for it"
		}
		if where := attach.WhereLent(w[0], attach.Options{}); where != "" {
			f.Hint = where
		}
	}
	return err
}

// warnComesBack warns of what a running watch attaches again: the detach has dropped a kept
// line, and cannot change what a file, a service or a label says.
func warnComesBack(ctx context.Context, r *attach.Result) {
	if !slices.ContainsFunc(r.Attachments, func(a attach.Attachment) bool { return whereToEnd(a.Origin) != "" }) || !watchRuns(ctx) {
		return
	}
	for _, a := range r.Attachments {
		if where := whereToEnd(a.Origin); where != "" {
			r.Warnings = append(r.Warnings, fmt.Sprintf("%s of %s belongs to %s: a watch that follows it attaches it again; %s", a.Interface.Name, a.Guest.Word(), a.Origin, where))
		}
	}
}

// whereToEnd says how an origin no longer asks for something. "": a detach ends that.
func whereToEnd(o attach.Origin) string {
	switch {
	case !o.Claims() || o == attach.OriginKeep || o == spec.OriginAnnotation || o.IsNetwork():
		return ""
	case o == attach.OriginLabel:
		return "create the container without the label, or change the policy"
	case o.IsService():
		return "take the line out of the Compose file, and run docker compose up"
	}
	return "delete the entry in the file"
}
