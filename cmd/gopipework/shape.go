package main

import (
	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/urfave/cli/v2"
)

// shapeNames are the flags that say how fast and how well a link carries.
var shapeNames = []string{"rate-in", "rate-out", "loss", "delay", "jitter"}

func shapeFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "rate-in", Usage: "let in no more than `RATE`: 10mbit, 512kbit; none: no limit"},
		&cli.StringFlag{Name: "rate-out", Usage: "let out no more than `RATE`"},
		&cli.StringFlag{Name: "loss", Usage: "lose that `PERCENT` of what goes out: 1%, 0.1%; none: no loss"},
		&cli.StringFlag{Name: "delay", Usage: "hold back what goes out by `TIME`: 100ms, 1.5ms; none: no delay"},
		&cli.StringFlag{Name: "jitter", Usage: "vary the delay by `TIME`, either way"},
	}
}

func shapeWords(c *cli.Context) (attach.ShapeWords, error) {
	w := attach.ShapeWords{
		RateIn: c.String("rate-in"), RateOut: c.String("rate-out"),
		Loss: c.String("loss"), Delay: c.String("delay"), Jitter: c.String("jitter"),
	}
	return w, noneEmpty(c, shapeNames...)
}

// noneEmpty refuses a flag that is given without a value.
func noneEmpty(c *cli.Context, names ...string) error {
	for _, name := range names {
		if c.IsSet(name) && c.String(name) == "" {
			return fault.BadWord("read flag", dashed(name), "its value is empty")
		}
	}
	return nil
}
