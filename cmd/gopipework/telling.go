package main

// What watch tells, and to whom.

import (
	"context"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/report"
	"github.com/urfave/cli/v2"
)

// tellingFlags say how watch tells what it does.
func tellingFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "log", Usage: "log in `FORMAT`: text or json", DefaultText: "text on a terminal, else json"},
		&cli.StringFlag{Name: "metrics", Usage: "serve metrics for Prometheus at `ADDRESS`: :9105 for this host alone, 0.0.0.0:9105 for all", DefaultText: "none"},
	}
}

// reporter returns what watch tells its events. The others can ask it until end is called.
func (o *output) reporter(c *cli.Context) (r *report.Reporter, end func(), err error) {
	if err := noneEmpty(c, "log", "metrics"); err != nil {
		return nil, nil, err
	}
	format := report.FormatFor(o.stderr)
	switch f := c.String("log"); f {
	case "":
	case string(report.Text), string(report.JSON):
		format = report.Format(f)
	default:
		return nil, nil, fault.BadWord("read flag", "--log", "%q is no format", f).WithHint("--log text, or --log json")
	}
	r = report.New(report.Log(o.stderr, format))
	r.Version = version
	noMetrics := func() {}
	if addr := c.String("metrics"); addr != "" {
		if _, noMetrics, err = r.ServeMetrics(addr); err != nil {
			return nil, nil, err
		}
	}
	s, err := r.Serve()
	if err != nil {
		noMetrics()
		return nil, nil, err
	}
	context.AfterFunc(c.Context, r.Stopping)
	return r, func() { s.Close(); noMetrics() }, nil
}
