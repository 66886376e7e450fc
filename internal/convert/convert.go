// Package convert reads files of other programs that say what is to be attached to
// containers, and drafts a topology file of ours that says the same. Whatever has no
// counterpart is a warning with its place. It executes nothing, and looks at no host.
//
//	convert.go       the formats, and what comes out
//	thing.go         maps of a foreign file: what nobody reads of one is told
//	containerlab.go  the links of a lab of containerlab
//	cni.go           network configurations of CNI, also in a NetworkAttachmentDefinition
//	compose.go       labels and providers of a Compose file
package convert

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/plainname"
	"github.com/gopipework/gopipework/internal/shell"
	"github.com/gopipework/gopipework/internal/spec"
	"github.com/gopipework/gopipework/internal/topology"
	"github.com/gopipework/gopipework/internal/typo"
	"github.com/gopipework/gopipework/internal/yamlfile"
)

// Warning is something that has no counterpart in a topology file.
type Warning struct {
	yamlfile.Pos
	Text string
}

func (w Warning) String() string { return w.Pos.String() + ": " + w.Text }

// format is one that can be read.
type format struct {
	name string
	read func(*converter, []*yamlfile.Node)
}

func formats() []format {
	return []format{
		{"containerlab", (*converter).containerlab},
		{"cni", (*converter).cni},
		{"compose", (*converter).compose},
	}
}

// Formats returns the names of the formats.
func Formats() (names []string) {
	for _, f := range formats() {
		names = append(names, f.name)
	}
	return names
}

// Draft reads a file in a format, and returns the topology file for it. Its path is only
// for the places, and for what the format takes a name from.
func Draft(from, path string, text []byte, g topology.Grammar) (topology.Draft, []Warning, error) {
	all := formats()
	n := slices.IndexFunc(all, func(f format) bool { return f.name == from })
	if n < 0 {
		hint := "the formats are " + strings.Join(Formats(), ", ")
		if best := typo.Nearest(from, Formats()); best != "" {
			hint = "--from " + best + "; " + hint
		}
		return topology.Draft{}, nil, fault.BadWord("read flag", "--from", "%q is no format", from).WithHint("%s", hint)
	}
	c := &converter{Reader: yamlfile.Reader{Path: path}, grammar: g}
	if len(text) > topology.MaxFile {
		return topology.Draft{}, nil, fault.New(fault.Invalid, "read", path, "it has more than %d bytes", topology.MaxFile)
	}
	switch docs := c.Foreign(text); {
	case len(c.Found) > 0:
	case len(docs) == 0:
		c.Wrong(yamlfile.Pos{File: path, Line: 1, Column: 1}, fault.New(fault.Invalid, "read", "the file", "it is empty"))
	default:
		all[n].read(c, docs)
	}
	if err := yamlfile.Invalid(path, c.Found); err != nil {
		return topology.Draft{}, nil, err
	}
	c.draft.Comments = []string{fmt.Sprintf("Made by \"gopipework apply --from %s\" from %s.", from, filepath.Base(path))}
	c.settle()
	slices.SortStableFunc(c.warnings, func(a, b Warning) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	return c.draft, c.warnings, nil
}

// converter converts one file.
type converter struct {
	yamlfile.Reader
	grammar  topology.Grammar
	draft    topology.Draft
	places   []yamlfile.Pos // of the entries of the draft
	warnings []Warning
}

// most bounds what comes of a file: aliases can make much of little.
const (
	most         = 10_000
	mostWarnings = 1_000
)

// warn notes that what stands at a node has no counterpart.
func (c *converter) warn(n *yamlfile.Node, format string, args ...any) {
	c.warnAt(c.At(n), format, args...)
}

func (c *converter) warnAt(at yamlfile.Pos, format string, args ...any) {
	w := Warning{at, fmt.Sprintf(format, args...)}
	if len(c.warnings) < mostWarnings && !slices.Contains(c.warnings, w) {
		c.warnings = append(c.warnings, w)
	}
}

// name gives the draft the name that the file has, if it can be one.
func (c *converter) name(n *yamlfile.Node, name string) {
	if plainname.Is(name) && len(name) <= spec.MaxOriginName {
		c.draft.Name = name
	} else if n != nil {
		c.warn(n, "%q cannot be the name of a topology: give the file one with name:", name)
	}
}

// attach adds an attachment, if its line is one.
func (c *converter) attach(n *yamlfile.Node, words ...string) { c.add(n, false, words) }

// link adds a link.
func (c *converter) link(n *yamlfile.Node, words ...string) { c.add(n, true, words) }

func (c *converter) add(n *yamlfile.Node, link bool, words []string) {
	if len(c.draft.Entries) == most {
		c.Wrong(c.At(n), fault.New(fault.Invalid, "read", "the file", "it asks for more than %d attachments", most))
		return
	}
	var err error
	if link {
		_, err = c.grammar.Link(words)
	} else {
		_, err = c.grammar.Attach(words)
	}
	if err != nil {
		c.warn(n, "left out, as no line says it: %s: %v", shell.Line(words), err)
		return
	}
	c.draft.Entries = append(c.draft.Entries, topology.DraftEntry{Words: words, Link: link})
	c.places = append(c.places, c.At(n))
}

// settle leaves out the entries that cannot be together in one file.
func (c *converter) settle() {
	for {
		f := topology.File{}
		for n, e := range c.draft.Entries {
			entry := topology.Entry{Pos: c.places[n], Words: e.Words}
			if e.Link {
				if s, err := c.grammar.Link(e.Words); err == nil {
					entry.Link = &s
				}
			} else if s, err := c.grammar.Attach(e.Words); err == nil {
				entry.Attach = &s
			}
			f.Entries = append(f.Entries, entry)
		}
		clashing := map[yamlfile.Pos]bool{}
		for _, p := range topology.Clashing(f) {
			clashing[p.Pos] = true
			c.warnAt(p.Pos, "left out: %v", p.Err)
		}
		if len(clashing) == 0 {
			return
		}
		left := c.draft.Entries[:0:0]
		var places []yamlfile.Pos
		for n, e := range c.draft.Entries {
			if !clashing[c.places[n]] {
				left, places = append(left, e), append(places, c.places[n])
			}
		}
		c.draft.Entries, c.places = left, places
	}
}
