package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/urfave/cli/v2"
)

var (
	jsonFlag   = &cli.BoolFlag{Name: "json", Usage: "print one JSON document on stdout, on success or failure"}
	dryRunFlag = &cli.BoolFlag{Name: "dry-run", Usage: "change nothing; print the commands that would do the same"}
	vFlag      = &cli.BoolFlag{Name: "v", Usage: "print each step on stderr as it runs"}
)

// timeoutFlag returns --timeout, with the default that package attach applies.
func timeoutFlag(usage string) cli.Flag {
	return &cli.DurationFlag{Name: "timeout", Usage: usage, DefaultText: "30s"}
}

// awaitFlag is the flag of the commands that can wait for their guests to run.
var awaitFlag = &cli.DurationFlag{Name: "await", Usage: "if the guest does not run yet, wait up to `DURATION` until it does", DefaultText: "do not wait"}

// shapeNames are the flags for the rate and quality of a link.
var shapeNames = []string{"rate-in", "rate-out", "loss", "delay", "jitter"}

func shapeFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "rate-in", Usage: "limit what the guest receives to `RATE`: 10mbit, 512kbit; none for no limit"},
		&cli.StringFlag{Name: "rate-out", Usage: "limit what the guest sends to `RATE`"},
		&cli.StringFlag{Name: "loss", Usage: "drop `PERCENT` of what the guest sends: 1%, 0.1%; none for no loss"},
		&cli.StringFlag{Name: "delay", Usage: "delay what the guest sends by `TIME`: 100ms, 1.5ms; none for no delay"},
		&cli.StringFlag{Name: "jitter", Usage: "vary the delay by up to `TIME` either way"},
	}
}

// flags are the flags of a line that was read: of the command line, or of one in a file.
type flags interface {
	String(name string) string
	StringSlice(name string) []string
	Bool(name string) bool

	// LocalFlagNames returns the names of those that are on the line.
	LocalFlagNames() []string
}

func shapeWords(c flags) (attach.ShapeWords, error) {
	w := attach.ShapeWords{
		RateIn: c.String("rate-in"), RateOut: c.String("rate-out"),
		Loss: c.String("loss"), Delay: c.String("delay"), Jitter: c.String("jitter"),
	}
	return w, noneEmpty(c, shapeNames...)
}

// given returns the names of the flags on the line. To ask the library's IsSet about
// each takes longer: it goes through the names of all flags, with an expression.
func given(c flags) []string { return c.LocalFlagNames() }

// noneEmpty refuses a flag whose value is the empty string.
func noneEmpty(c flags, names ...string) error {
	given := given(c)
	for _, name := range names {
		if slices.Contains(given, name) && c.String(name) == "" {
			return fault.BadWord("read flag", dashed(name), "its value is empty")
		}
	}
	return nil
}

// words returns the words of a command. It refuses empty ones, and fewer than least or
// more than most.
func words(c *cli.Context, least, most int) ([]string, error) {
	w := c.Args().Slice()
	if i := slices.Index(w, ""); i >= 0 {
		return nil, fault.BadWord("read words", "", "word %d of %d is empty", i+1, len(w))
	}
	if len(w) < least || len(w) > most {
		takes := c.Command.ArgsUsage
		if takes == "" {
			takes = "no words"
		}
		return nil, fault.BadWord("read words", strings.Join(w, " "), "%s takes %s", c.Command.Name, takes).
			WithHint("gopipework help %s", c.Command.Name)
	}
	return w, nil
}

// badFlag rewrites the flag library's error about a value.
func badFlag(c *cli.Context, err error, _ bool) error {
	for _, flag := range []string{"timeout", "await", "confirm", "for"} {
		var value string
		if _, other := fmt.Sscanf(err.Error(), "invalid value %q for flag -"+flag, &value); other == nil {
			e := fault.BadWord("read flag", "--"+flag, "%q is not a duration", value)
			if _, err := strconv.ParseUint(value, 10, 32); err == nil {
				return e.WithHint("--%s %ss, for seconds", flag, value)
			}
			return e.WithHint("write it as in --%s 30s, 1m30s or 500ms", flag)
		}
	}
	return fault.BadWord("read flags of", c.Command.Name, "%w", err).WithHint("gopipework help %s", c.Command.Name)
}
