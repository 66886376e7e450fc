package main

import (
	"errors"

	"github.com/gopipework/gopipework/internal/convert"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/plainfile"
	"github.com/gopipework/gopipework/internal/topology"
	"github.com/urfave/cli/v2"
)

var fromFlag = &cli.StringFlag{Name: "from", Usage: "read FILE in the format of another program, `FORMAT` containerlab, cni or compose, print a topology file that says the same, and do nothing else"}

// from prints the topology file for a file of another program.
func (o *output) from(c *cli.Context) error {
	if flags := given(c); len(flags) > 1 {
		return fault.BadWord("read flag", "--from", "it goes with no other flag").WithHint("gopipework apply --from FORMAT FILE > lab.yaml; gopipework apply -f lab.yaml")
	}
	w, err := words(c, 0, 1)
	if err != nil {
		return err
	}
	var path string
	var text []byte
	if len(w) > 0 { // without, an unknown format is still told
		path = w[0]
		if text, path, err = readForeign(path); err != nil {
			return err
		}
	}
	draft, warnings, err := convert.Draft(c.String("from"), path, text, grammar())
	switch {
	case err != nil && fault.CodeOf(err) == fault.Usage:
		return err
	case len(w) == 0:
		return fault.BadWord("read words", "", "apply --from takes a file").WithHint("gopipework apply --from %s FILE", c.String("from"))
	case err != nil:
		return err
	}
	for _, one := range warnings {
		o.say("warning: %s", one)
	}
	if _, err := o.stdout.Write(draft.Text()); err != nil {
		return unwritten(err)
	}
	return nil
}

// readForeign reads a file, or for "-" standard input, and returns what to call it.
func readForeign(path string) ([]byte, string, error) {
	if text, name, err := readStream(path); text != nil || err != nil {
		return text, name, err
	}
	text, err := plainfile.ReadFile(path, topology.MaxFile)
	if err != nil {
		if inner := errors.Unwrap(err); inner != nil {
			err = inner // path is in it already
		}
		return nil, path, fault.New(fault.Invalid, "read", path, "%w", err)
	}
	return text, path, nil
}
