package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/internal/bundle"
	"github.com/gopipework/gopipework/internal/doctor"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/urfave/cli/v2"
)

// bundlePath is where doctor is to write an archive; "": nowhere.
func bundlePath(c *cli.Context) (string, error) {
	path := c.String("bundle")
	switch {
	case path != "":
		return path, bundle.Free(path)
	case c.Bool("mask"):
		return "", fault.BadWord("read flag", "--mask", "it is for an archive").WithHint("--bundle FILE --mask")
	}
	return "", noneEmpty(c, "bundle")
}

// bundle writes what doctor has found, and all facts, to an archive. report prints what was
// found.
func (o *output) bundle(ctx context.Context, path string, mask bool, way doctor.Ask, report func(*output) error, opt attach.Options) error {
	print := func(json bool, do func(*output) error) []byte {
		var out bytes.Buffer
		if err := do(&output{stdout: &out, stderr: &out, json: json}); err != nil && err != error(errBroken) && err != error(errUnseen) {
			fmt.Fprintln(&out, "# "+err.Error())
		}
		return out.Bytes()
	}
	list := func(o *output) error { return o.listOf(ctx, nil, opt) }
	files := []bundle.File{
		{Name: "version.txt", Data: []byte("gopipework " + version + "\n")},
		{Name: "report.txt", Data: print(false, report)},
		{Name: "report.json", Data: print(true, report)},
		{Name: "list.json", Data: print(true, list)},
	}
	places := []bundle.Place{{Name: "host", NS: opt.HostNS, Host: true}, {Name: "guest", NS: way.Guest.Namespace}}
	if to := way.To.Guest; to != nil {
		places = append(places, bundle.Place{Name: "to", NS: to.Namespace})
	}
	files = append(files, bundle.Collect(ctx, places...)...)
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, context.DeadlineExceeded):
		o.say("warning: the time was too short for all facts: give it longer with --timeout")
	case cause != nil:
		return cause
	}
	if mask {
		files = bundle.Mask(files, namesToMask(ctx, way, opt))
	}
	if err := bundle.Write(path, files); err != nil {
		return err
	}
	o.say("all facts are in %s", path)
	return nil
}

// namesToMask returns what every name of a guest or of the host is replaced by.
func namesToMask(ctx context.Context, way doctor.Ask, opt attach.Options) map[string]string {
	all := []guests.GuestInfo{way.Guest.GuestInfo}
	if way.To.Guest != nil {
		all = append(all, way.To.Guest.GuestInfo)
	}
	if r, err := attach.List(ctx, nil, opt); err == nil {
		for _, a := range r.Attachments {
			all = append(all, a.Guest)
		}
	}
	var names []string
	for _, g := range all {
		if g.Runtime != "pid" {
			names = append(names, filepath.Base(g.Name), g.ID)
		}
	}
	for _, dir := range ours.NamedNamespaces {
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	masked := map[string]string{}
	for _, name := range slices.Compact(names) {
		if name != "" && name != "." && name != "/" {
			masked[name] = "guest" + letters(len(masked))
		}
	}
	if name, err := os.Hostname(); err == nil && name != "localhost" {
		masked[name] = "thishost"
	}
	return masked
}

// letters counts A, B, ... Z, BA: a digit would run into one that follows a name.
func letters(n int) string {
	last := string(rune('A' + n%26))
	if n < 26 {
		return last
	}
	return letters(n/26) + last
}
