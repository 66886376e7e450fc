package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/gopipework/gopipework/dockerutil"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/intent"
	"github.com/gopipework/gopipework/internal/report"
	"github.com/urfave/cli/v2"
)

const composeName = "compose"

func (o *output) composeEntry() *cli.Command {
	return &cli.Command{
		Name:      composeName,
		Usage:     "what Docker Compose runs for a service whose provider is gopipework: record its lines for watch, or drop them",
		ArgsUsage: "--project-name NAME up|down SERVICE",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "project-name", Usage: "`NAME` of the project; down without SERVICE drops the lines of all its services"},
			&cli.StringSliceFlag{Name: lineOption, Usage: "a `LINE` as it is typed, without gopipework; a bare name in it is that of a service of the project; may be repeated"},
		},
		Action: o.composeCommand,
	}
}

// lineOption is the option of a provider in a Compose file, which is a flag here.
const lineOption = "line"

// message is what a provider says to Compose: a line of JSON on stdout for each. Compose
// discards stderr, fails on any other type, and shows the first line of an "info".
type message struct {
	Type    string `json:"type"` // "info" or "error"
	Message string `json:"message"`
}

// tellCompose prints a message.
func (o *output) tellCompose(kind, format string, args ...any) error {
	var lines []string
	for line := range strings.SplitSeq(fmt.Sprintf(format, args...), "\n") {
		lines = append(lines, clean(line))
	}
	return o.document(message{kind, strings.Join(lines, "\n")})
}

func (o *output) composeCommand(c *cli.Context) error {
	w, err := words(c, 1, 2)
	if err != nil {
		return err
	}
	if w[0] == "metadata" && len(w) == 1 {
		return o.composeMetadata(c)
	}
	if w[0] != "up" && w[0] != "down" {
		return fault.BadWord("read words", w[0], "compose does not have it").WithHint("up, down or metadata")
	}
	project := c.String("project-name")
	if project == "" {
		return fault.BadWord("read flags of", composeName, "it needs the name of the project").WithHint("--project-name NAME")
	}
	if w[0] == "down" && len(w) == 1 {
		return o.composeDown(c, intent.Service{Project: project})
	}
	s, err := intent.Parse(project, append(w, "")[1])
	if err != nil {
		return err
	}
	if w[0] == "down" {
		return o.composeDown(c, s)
	}
	return o.composeUp(c, s)
}

// composeUp records what a service asks for.
func (o *output) composeUp(c *cli.Context, s intent.Service) error {
	g := grammar()
	var lines [][]string
	for _, line := range c.StringSlice(lineOption) {
		words, guest, err := s.Line(g, line)
		if err == nil {
			err = dockerutil.CheckWord(guest)
		}
		if err != nil {
			return fault.New(fault.Usage, "read line", strconv.Quote(line), "%w", err).WithHint("%s", fault.HintOf(err))
		}
		lines = append(lines, words)
	}
	if len(lines) == 0 {
		return fault.BadWord("read flags of", composeName+" up", "the service asks for nothing").
			WithHint("in the Compose file: provider: {type: gopipework, options: {line: [\"brtest web 192.168.1.2/24\"]}}")
	}
	if _, err := intent.Record(c.Context, g, s, lines); err != nil {
		return stopped(c.Context, err)
	}
	recorded := fmt.Sprintf("%d lines are", len(lines))
	if len(lines) == 1 {
		recorded = "1 line is"
	}
	if !watchRuns(c.Context) {
		return o.tellCompose("info", "%s recorded, but gopipework watch does not run: systemctl enable --now gopipework, or gopipework watch", recorded)
	}
	return o.tellCompose("info", "%s recorded for gopipework watch", recorded)
}

// composeDown drops what a service, or a whole project, asks for.
func (o *output) composeDown(c *cli.Context, s intent.Service) error {
	dropped, err := intent.Drop(c.Context, s)
	if err != nil {
		return stopped(c.Context, err)
	}
	if len(dropped) > 0 && !watchRuns(c.Context) {
		return o.tellCompose("info", "the lines are dropped, but gopipework watch does not run: what is attached for them stays until it does")
	}
	return nil
}

// watchRuns reports whether a gopipework watch is there to make what is recorded.
func watchRuns(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_, err := report.AskMissing(ctx)
	return !errors.Is(err, report.ErrNoWatch)
}

// metadata tells Compose, and editors of Compose files, which options there are. Without
// "stop" in it, Compose does not run gopipework when containers stop.
type metadata struct {
	Description string   `json:"description"`
	Up          metaVerb `json:"up"`
	Down        metaVerb `json:"down"`
}

type metaVerb struct {
	Parameters []metaParameter `json:"parameters"`
}

type metaParameter struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	Required    bool   `json:"required"`
	Type        string `json:"type"`
}

func (o *output) composeMetadata(*cli.Context) error {
	b, err := json.MarshalIndent(metadata{
		Description: "Plug containers into networks of the host",
		Up: metaVerb{[]metaParameter{{
			Name: lineOption, Required: true, Type: "string",
			Description: "what is typed after gopipework, such as brtest web 192.168.1.2/24; several in a list. A bare name is that of a service",
		}}},
		Down: metaVerb{[]metaParameter{}},
	}, "", "  ")
	if err != nil {
		return err
	}
	o.stdout.Write(append(b, '\n'))
	return nil
}
