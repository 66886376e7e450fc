package topology

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/plainfile"
	"github.com/gopipework/gopipework/internal/plainname"
	"github.com/gopipework/gopipework/internal/spec"
	"github.com/gopipework/gopipework/internal/typo"
	yaml "go.yaml.in/yaml/v3"
)

// MaxFile bounds a file, in bytes. It is enough for ten thousand entries.
const MaxFile = 1 << 20

// Read reads a file. The error of a file that makes no sense has the code
// fault.Invalid, and *Problems in it.
func Read(path string, g Grammar) (File, error) {
	text, err := plainfile.ReadFile(path, MaxFile)
	if err != nil {
		return File{}, unreadable(path, err)
	}
	return Parse(path, text, g)
}

func unreadable(path string, err error) error {
	if errors.Is(err, plainfile.ErrTooLarge) {
		return fault.New(fault.Invalid, "read", path, "it has more than %d bytes", MaxFile).WithHint("split it, and give each part a name of its own")
	}
	missing := errors.Is(err, fs.ErrNotExist)
	if inner := errors.Unwrap(err); inner != nil {
		err = inner // path is in it already
	}
	e := fault.New(fault.Invalid, "read", path, "%w", err)
	if missing {
		e.WithHint("gopipework import prints a file for what is attached now")
	}
	return e
}

// Parse reads what a file holds; path is only for its name and the places of errors.
func Parse(path string, text []byte, g Grammar) (File, error) {
	r := reader{path: path, grammar: g, file: File{Path: path}}
	if len(text) > MaxFile {
		return File{}, unreadable(path, plainfile.ErrTooLarge)
	}
	r.root(r.syntax(text))
	r.file.Entries = append(r.file.Entries, r.links...) // they may stand in front of the attachments
	if r.file.Name == "" && len(r.found) == 0 {
		r.file.Name = strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
		r.checkName(Pos{File: path, Line: 1, Column: 1}, r.file.Name)
	}
	r.refuseClashes()
	if err := invalid(path, r.found); err != nil {
		return File{}, err
	}
	return r.file, nil
}

// reader reads one file, and collects what is wrong with it.
type reader struct {
	path    string
	grammar Grammar
	file    File
	links   []Entry
	found   []*Problem
}

func (r *reader) wrong(pos Pos, err error) { r.found = append(r.found, &Problem{pos, err}) }

// tooMany reports whether a file has so much wrong with it that the rest need not be read.
func (r *reader) tooMany() bool { return len(r.found) > 50*maxProblems }

func (r *reader) at(n *yaml.Node) Pos { return Pos{File: r.path, Line: n.Line, Column: n.Column} }

// The keys of a file.
const (
	keyName        = "name"
	keyBridges     = "bridges"
	keyAttachments = "attachments"
	keyLinks       = "links"
)

var fileKeys = []string{keyName, keyBridges, keyAttachments, keyLinks}

// root reads the whole file.
func (r *reader) root(n *yaml.Node) {
	if n == nil || isNull(n) {
		return
	}
	for _, p := range r.pairs(n, "a file", fileKeys) {
		switch p.key.Value {
		case keyName:
			if name, ok := r.text(p.key.Value, p.value); ok {
				r.file.Name = name
				r.checkName(r.at(p.value), name)
			}
		case keyBridges:
			r.bridges(p.value)
		case keyAttachments:
			r.list(p, func(n *yaml.Node) { r.entry(n, r.attachment, r.attachmentMap) })
		case keyLinks:
			r.list(p, func(n *yaml.Node) { r.entry(n, r.link, r.linkMap) })
		}
	}
}

func (r *reader) checkName(pos Pos, name string) {
	if !plainname.Is(name) || len(name) > spec.MaxOriginName {
		r.wrong(pos, fault.New(fault.Invalid, "read name", strconv.Quote(name), "a name is made of at most %d letters, digits, '_', '.' and '-', and begins with a letter, a digit or '_'", spec.MaxOriginName).
			WithHint("give the file a name of its own: name: lab"))
	}
}

// pair is a key of a map, and what it has.
type pair struct{ key, value *yaml.Node }

// pairs returns the keys of a map that are known, in their order. It refuses the others,
// with the one that was meant if there is one, and those that are there twice. With nil
// for known, every key is. what is the thing that the map describes.
func (r *reader) pairs(n *yaml.Node, what string, known []string) (all []pair) {
	if n.Kind != yaml.MappingNode {
		r.wrongKind(n, what, "a map: a key, a colon, a space and the value")
		return nil
	}
	first := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		p := pair{n.Content[i], n.Content[i+1]}
		if p.key.Kind != yaml.ScalarNode || isNull(p.key) {
			r.wrongKind(p.key, "a key", "a word")
			continue
		}
		key := p.key.Value
		if before := first[key]; before != nil {
			r.wrong(r.at(p.key), fault.New(fault.Invalid, "read key", strconv.Quote(key), "it is in line %d already", before.Line))
			continue
		}
		first[key] = p.key
		if known != nil && !slices.Contains(known, key) {
			r.unknownKey(p.key, what, known)
			continue
		}
		all = append(all, p)
	}
	return all
}

func (r *reader) unknownKey(key *yaml.Node, what string, known []string) {
	e := fault.New(fault.Invalid, "read key", strconv.Quote(key.Value), "%s has no such key", what)
	if best := typo.Nearest(key.Value, known); best != "" {
		e.WithHint("%s", best)
	} else {
		e.WithHint("the keys are %s", strings.Join(known, ", "))
	}
	r.wrong(r.at(key), e)
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// wrongKind notes that something is not what it is to be.
func (r *reader) wrongKind(n *yaml.Node, what, want string) {
	is := "a word"
	switch {
	case isNull(n):
		is = "empty"
	case n.Kind == yaml.MappingNode:
		is = "a map"
	case n.Kind == yaml.SequenceNode:
		is = "a list"
	case n.Tag == "!!bool":
		is = "true or false"
	}
	r.wrong(r.at(n), fault.New(fault.Invalid, "read", what, "it is %s, and has to be %s", is, want))
}

// list calls read with each element of a list. Nothing at all is an empty list.
func (r *reader) list(p pair, read func(*yaml.Node)) {
	switch {
	case isNull(p.value):
	case p.value.Kind != yaml.SequenceNode:
		r.wrongKind(p.value, p.key.Value, "a list, each entry in a line that begins with \"- \"")
	default:
		for _, n := range p.value.Content {
			if read(n); r.tooMany() {
				return
			}
		}
	}
}

// text reads a word as it stands in the file: 010 and 1_000 are no numbers here. false:
// it is none, which is noted.
func (r *reader) text(what string, n *yaml.Node) (string, bool) {
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" || n.Tag == "!!bool" {
		r.wrongKind(n, what, "a word or number, in quotes if YAML takes it for something else")
		return "", false
	}
	if strings.ContainsFunc(n.Value, func(c rune) bool { return unicode.IsControl(c) && c != '\n' && c != '\t' }) {
		r.wrong(r.at(n), fault.New(fault.Invalid, "read", what, "it has a control character in it"))
		return "", false
	}
	return n.Value, true
}

// word reads a word of a line out of a map.
func (r *reader) word(what string, n *yaml.Node) (string, bool) {
	text, ok := r.text(what, n)
	if ok && (text == "" || strings.ContainsAny(text, "\n\t")) {
		r.wrong(r.at(n), fault.New(fault.Invalid, "read", what, "it is empty, or more than one line"))
		return "", false
	}
	return text, ok
}

// flag reads true or false.
func (r *reader) flag(what string, n *yaml.Node) bool {
	if n.Kind != yaml.ScalarNode || n.Tag != "!!bool" {
		r.wrongKind(n, what, "true or false")
		return false
	}
	return strings.EqualFold(n.Value, "true")
}

// words reads a word, or a list of them.
func (r *reader) words(what string, n *yaml.Node) (all []*yaml.Node) {
	nodes := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		nodes = n.Content
	}
	for _, n := range nodes {
		if _, ok := r.word(what, n); ok {
			all = append(all, n)
		}
	}
	return all
}

// The keys of a bridge.
const (
	keyAddress       = "address"
	keyMTU           = "mtu"
	keyUplink        = "uplink"
	keyForce         = "force"
	keyVLANFiltering = "vlan-filtering"
)

var bridgeKeys = []string{keyAddress, keyMTU, keyUplink, keyForce, keyVLANFiltering}

func (r *reader) bridges(n *yaml.Node) {
	if isNull(n) {
		return
	}
	for _, p := range r.pairs(n, keyBridges, nil) {
		if why := spec.CheckName(p.key.Value); why != "" {
			r.wrong(r.at(p.key), fault.New(fault.Invalid, "read bridge", strconv.Quote(p.key.Value), "%s", why))
			continue
		}
		r.file.Bridges = append(r.file.Bridges, r.bridge(p))
	}
}

func (r *reader) bridge(b pair) Bridge {
	out := Bridge{Pos: r.at(b.key), Name: b.key.Value}
	if isNull(b.value) {
		return out
	}
	var mtu *yaml.Node
	for _, p := range r.pairs(b.value, "a bridge", bridgeKeys) {
		switch key := p.key.Value; key {
		case keyAddress:
			for _, n := range r.words(key, p.value) {
				a, err := spec.ParsePrefix(n.Value)
				if err != nil {
					r.wrong(r.at(n), err)
					continue
				}
				out.Address = append(out.Address, a)
			}
		case keyMTU:
			mtu = p.value
		case keyUplink:
			out.Uplink, _ = r.word(key, p.value)
			if why := spec.CheckName(out.Uplink); out.Uplink != "" && why != "" {
				r.wrong(r.at(p.value), fault.New(fault.Invalid, "read uplink", strconv.Quote(out.Uplink), "%s", why))
			}
		case keyForce:
			out.Force = r.flag(key, p.value)
		case keyVLANFiltering:
			out.VLANFiltering = r.flag(key, p.value)
		}
	}
	if mtu == nil {
		return out
	}
	if word, ok := r.word(keyMTU, mtu); ok {
		var err error
		if out.MTU, err = spec.ParseMTU(word, spec.HasFamily(out.Address, true)); err != nil {
			r.wrong(r.at(mtu), err)
		}
	}
	return out
}
