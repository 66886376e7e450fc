package main

import (
	"context"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/dockerutil"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/graph"
	"github.com/gopipework/gopipework/internal/survey"
	"github.com/gopipework/gopipework/internal/typo"
	"github.com/urfave/cli/v2"
)

const graphName = "graph"

// The formats of graph. The first is the default.
const (
	treeFormat    = "tree"
	svgFormat     = "svg"
	dotFormat     = "dot"
	mermaidFormat = "mermaid"
	jsonFormat    = "json"
)

var graphFormats = []string{treeFormat, svgFormat, dotFormat, mermaidFormat, jsonFormat}

func (o *output) graphEntry() *cli.Command {
	return &cli.Command{
		Name:      graphName,
		Usage:     "show what is connected to what on this host, or what guests are connected to",
		ArgsUsage: "[GUEST...]",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "format", Usage: "print it as `FORMAT`: " + strings.Join(graphFormats, ", "), DefaultText: treeFormat},
			jsonFlag,
			&cli.StringFlag{Name: "serve", Usage: "serve a page for a browser that follows what happens, at `ADDRESS`: :8080 for this host alone, 0.0.0.0:8080 for all", DefaultText: "none"},
		},
		Action: o.graphCommand,
	}
}

func (o *output) graphCommand(c *cli.Context) error {
	w, err := words(c, 0, maxGraphGuests)
	if err != nil {
		return err
	}
	if slices.Contains(given(c), "serve") {
		if len(w) == 0 {
			return o.serveGraph(c, nil)
		}
		return o.withGuests(c, w, func(_ context.Context, g []*attach.Guest, _ attach.Options) error { return o.serveGraph(c, g) })
	}
	format, err := graphFormat(c)
	if err != nil {
		return err
	}
	o.json = format == jsonFormat
	if len(w) == 0 {
		return o.graphOf(c.Context, nil, format)
	}
	return o.withGuests(c, w, func(ctx context.Context, g []*attach.Guest, _ attach.Options) error {
		return o.graphOf(ctx, g, format)
	})
}

// maxGraphGuests is no limit that anybody meets.
const maxGraphGuests = 1 << 20

// graphFormat reads the flag.
func graphFormat(c *cli.Context) (string, error) {
	format, asked := c.String("format"), slices.Contains(given(c), "format")
	switch {
	case !asked && c.Bool("json"):
		return jsonFormat, nil
	case !asked:
		return treeFormat, nil
	case c.Bool("json") && format != jsonFormat:
		return "", fault.BadWord("read flags of", graphName, "--json and --format %s ask for different documents", format).WithHint("leave one of them out")
	case !slices.Contains(graphFormats, format):
		e := fault.BadWord("read flag", "--format", "there is no format %q", format)
		if best := typo.Nearest(format, graphFormats); best != "" {
			return "", e.WithHint("--format %s", best)
		}
		return "", e.WithHint("the formats are %s", strings.Join(graphFormats, ", "))
	}
	return format, nil
}

// graphOf prints what guests are connected to, or for nil the whole host.
func (o *output) graphOf(ctx context.Context, of []*attach.Guest, format string) error {
	g, err := readGraph(ctx, of)
	if err != nil {
		return err
	}
	if format == jsonFormat {
		return o.document(g)
	}
	o.warn(g.Warnings)
	text := ""
	switch format {
	case treeFormat:
		text = graph.Tree(g)
	case svgFormat:
		text = graph.SVG(g)
	case dotFormat:
		text = graph.DOT(g)
	case mermaidFormat:
		text = graph.Mermaid(g)
	}
	if _, err := o.stdout.Write([]byte(text)); err != nil {
		return unwritten(err)
	}
	return nil
}

// readGraph returns what guests are connected to, or for nil what is connected on the host.
func readGraph(ctx context.Context, of []*attach.Guest) (graph.Graph, error) {
	debug.SetGCPercent(listGarbage)
	known, warnings := runningGuests(ctx, of)
	g, err := graphFrom(ctx, known, of)
	g.Warnings = append(warnings, g.Warnings...)
	return g, err
}

// runningGuests returns those of the line, and all that the engines know.
func runningGuests(ctx context.Context, of []*attach.Guest) (known []attach.GuestInfo, warnings []string) {
	running, warnings := dockerutil.Running(ctx)
	var all []attach.GuestInfo
	for _, g := range of {
		all = append(all, g.GuestInfo)
	}
	for _, g := range append(all, running...) {
		same := func(k attach.GuestInfo) bool { return k.NetNS == g.NetNS && k.Word() == g.Word() }
		if !slices.ContainsFunc(known, same) {
			known = append(known, g)
		}
	}
	return known, warnings
}

// graphFrom is readGraph with the guests that are known.
func graphFrom(ctx context.Context, known []attach.GuestInfo, of []*attach.Guest) (graph.Graph, error) {
	g, err := survey.Read(ctx, known, nil)
	if err = stopped(ctx, err); err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return graph.Graph{}, err
	}
	if of == nil {
		return g, nil
	}
	var ids []string
	for _, n := range g.Nodes {
		if slices.ContainsFunc(of, func(g *attach.Guest) bool {
			return n.NetNS != 0 && n.NetNS == g.NetNS || n.Word != "" && n.Word == g.Word()
		}) {
			ids = append(ids, n.ID)
		}
	}
	return g.Only(ids...), nil
}
