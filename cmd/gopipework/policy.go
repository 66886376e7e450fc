package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/gopipework/gopipework/dockerutil"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/labels"
	"github.com/gopipework/gopipework/internal/policy"
	"github.com/gopipework/gopipework/internal/shell"
	"github.com/gopipework/gopipework/internal/spec"
	"github.com/urfave/cli/v2"
)

var policyFlag = &cli.StringFlag{Name: "policy", Usage: "the `FILE` that says what labels and annotations may ask for", DefaultText: policy.Path}

// errRefused makes policy check exit with 1: what was to be said has been said.
var errRefused = errors.New("refused")

func (o *output) policyEntry() *cli.Command {
	return &cli.Command{
		Name:      "policy",
		Usage:     "check the policy for labels and annotations, or say whether it allows a guest a line",
		ArgsUsage: "check [GUEST LINE]",
		Flags:     []cli.Flag{policyFlag, jsonFlag},
		Action:    o.policyCommand,
	}
}

func (o *output) policyCommand(c *cli.Context) error {
	w, err := words(c, 1, 3)
	if err != nil {
		if f := (*fault.Error)(nil); errors.As(err, &f) && c.Args().Len() > 3 && c.Args().First() == "check" {
			f.Hint = "put the line between quotes: gopipework policy check " + shell.Quote(c.Args().Get(1)) + ` "` + shell.Line(c.Args().Slice()[2:]) + `"`
		}
		return err
	}
	switch {
	case w[0] != "check":
		return fault.BadWord("read words", w[0], "policy has no such command").WithHint("gopipework policy check")
	case len(w) == 2:
		return fault.BadWord("read words", w[1], "it needs the line of a label too").WithHint(`gopipework policy check %s "brtest 192.168.1.2/24"`, shell.Quote(w[1]))
	}
	p, err := readPolicy(c)
	if err != nil {
		return err
	}
	if len(w) == 1 {
		return o.policyRead(p)
	}
	return o.policyDecision(p, w[1], w[2])
}

// readPolicy reads the file that the line names, or the usual one.
func readPolicy(c *cli.Context) (policy.Policy, error) {
	path, err := policyPath(c)
	if err != nil {
		return policy.Policy{}, err
	}
	p, err := policy.Read(path)
	if err == nil && p.Missing && path != policy.Path {
		return p, fault.New(fault.Invalid, "read", path, "%w", fs.ErrNotExist)
	}
	return p, err
}

func policyPath(c *cli.Context) (string, error) {
	if !slices.Contains(given(c), policyFlag.Name) {
		return policy.Path, nil
	}
	return c.String(policyFlag.Name), noneEmpty(c, policyFlag.Name)
}

// policyRead says that a policy makes sense.
func (o *output) policyRead(p policy.Policy) error {
	if o.json {
		return o.document(map[string]any{"policy": map[string]any{"file": p.Path, "entries": len(p.Entries)}})
	}
	switch n := len(p.Entries); {
	case p.Missing:
		o.say("there is no %s, so nothing is allowed", p.Path)
	case n == 1:
		o.print(p.Path + ": 1 entry")
	default:
		o.print(fmt.Sprintf("%s: %d entries", p.Path, n))
	}
	return nil
}

// decision is the JSON of a decision.
type decision struct {
	Allowed bool   `json:"allowed"`
	Guest   string `json:"guest"`
	Line    string `json:"line"`
	File    string `json:"file"`
	Row     int    `json:"row,omitempty"` // of the entry that decides; left out: there is none
	Column  int    `json:"column,omitempty"`
	Reason  string `json:"reason,omitempty"`
}

// policyDecision says what would be decided about a label.
func (o *output) policyDecision(p policy.Policy, guest, line string) error {
	d := decision{Guest: guest, Line: line, File: p.Path}
	hint := ""
	if r, _, err := labels.Grammar(labelGrammar()).Line(guest, "", line); err != nil {
		d.Reason, hint = err.Error(), fault.HintOf(err)
	} else {
		is := p.Decide(policy.ParseGuest(guest), r)
		d.Allowed, d.Reason, d.Row, d.Column = is.Allowed, is.Reason, is.Place.Line, is.Place.Column
	}
	switch {
	case o.json:
		if err := o.document(map[string]any{"decision": d}); err != nil {
			return err
		}
	case d.Allowed:
		o.print(fmt.Sprintf("allowed by %s:%d:%d", d.File, d.Row, d.Column))
	default:
		o.say("refused: %s", d.Reason)
		if hint != "" {
			o.say("hint: %s", hint)
		}
	}
	if !d.Allowed {
		return errRefused
	}
	return nil
}

// labelGrammar returns what reads the words of a label: those of an attach without the
// guest, and without -i.
func labelGrammar() labels.Grammar {
	cmd := (&output{}).attachEntry()
	return func(guest, ifName string, words []string) (policy.Request, []string, error) {
		line, f, err := readLine(cmd, words)
		if err != nil {
			return policy.Request{}, nil, err
		}
		if guest := namedGuest(line); guest != "" {
			return policy.Request{}, nil, fault.BadWord("read line", shell.Line(line), "the line of a label or an annotation has no guest").
				WithHint("leave %s out", shell.Quote(guest))
		}
		if len(line) == 0 || len(line) < spec.LeastWords(line[0])-1 || len(line) > 3 { // without the guest
			return policy.Request{}, nil, fault.BadWord("read line", "", "it has %d words, and is to be HOSTIF ADDRESS[@GATEWAY] [MAC][@VLAN]", len(line)).
				WithHint("brtest 192.168.1.2/24@192.168.1.1")
		}
		r := policy.Request{Flags: f.LocalFlagNames()}
		slices.Sort(r.Flags)
		if ifName != "" && !slices.Contains(r.Flags, "i") { // the policy refuses the flag
			f["i"] = []string{ifName}
		}
		if r.Spec, err = attachSpec(slices.Insert(line, 1, guest), f); err != nil {
			return policy.Request{}, nil, err
		}
		return r, attachLine(r.Spec), nil
	}
}

// namedGuest returns the guest that a line has which is to have none; "": it has none, as far as
// the line tells.
func namedGuest(line []string) string {
	if len(line) < 3 || isAddress(line[1]) || !isAddress(line[2]) {
		return ""
	}
	return line[1]
}

// labelSource returns the labels of containers as a source of watch.
func labelSource(path string) labels.Source {
	list := dockerutil.NewLabels(labels.Prefix)
	return labels.Source{
		Policy: path, Grammar: labelGrammar(),
		Containers: func(ctx context.Context) ([]labels.Container, error) {
			found, err := list.List(ctx)
			var all []labels.Container
			for _, c := range found {
				all = append(all, labels.Container{
					Runtime: c.Runtime, ID: c.ID, Name: c.Name, Running: c.Running, Created: c.Created,
					Member: memberOf(c), Labels: c.Labels,
				})
			}
			return all, err
		},
	}
}

// memberOf returns the service of Compose that a container belongs to.
func memberOf(c dockerutil.Labelled) policy.Member {
	if c.Project == "" {
		return policy.Member{}
	}
	return policy.Member{Of: policy.Compose, Group: c.Project, Name: c.Service}
}
