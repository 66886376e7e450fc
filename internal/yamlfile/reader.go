package yamlfile

import (
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/typo"
	yaml "go.yaml.in/yaml/v3"
)

// Node is a part of a file.
type Node = yaml.Node

// Reader reads one file, and collects what is wrong with it. The zero Reader reads a file
// without a name.
type Reader struct {
	Path  string     // the file's name in the places
	Found []*Problem // in the order in which they were found
}

// Wrong notes a problem.
func (r *Reader) Wrong(pos Pos, err error) { r.Found = append(r.Found, &Problem{pos, err}) }

// TooMany reports whether a file has so much wrong with it that the rest need not be read.
func (r *Reader) TooMany() bool { return len(r.Found) > 50*maxProblems }

// At returns where a part of the file begins.
func (r *Reader) At(n *Node) Pos { return Pos{File: r.Path, Line: n.Line, Column: n.Column} }

// Pair is a key of a map, and what it has.
type Pair struct{ Key, Value *Node }

// Pairs returns the keys of a map that are known, in their order. It refuses the others,
// with the one that was meant if there is one, and those that are there twice. With nil
// for known, every key is. what is the thing that the map describes.
func (r *Reader) Pairs(n *Node, what string, known []string) (all []Pair) {
	if n.Kind != yaml.MappingNode {
		r.WrongKind(n, what, "a map: a key, a colon, a space and the value")
		return nil
	}
	first := map[string]*Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		p := Pair{n.Content[i], n.Content[i+1]}
		if p.Key.Kind != yaml.ScalarNode || IsNull(p.Key) {
			r.WrongKind(p.Key, "a key", "a word")
			continue
		}
		key := p.Key.Value
		if before := first[key]; before != nil {
			r.Wrong(r.At(p.Key), fault.New(fault.Invalid, "read key", strconv.Quote(key), "it is in line %d already", before.Line))
			continue
		}
		first[key] = p.Key
		if known != nil && !slices.Contains(known, key) {
			r.unknownKey(p.Key, what, known)
			continue
		}
		all = append(all, p)
	}
	return all
}

func (r *Reader) unknownKey(key *Node, what string, known []string) {
	e := fault.New(fault.Invalid, "read key", strconv.Quote(key.Value), "%s has no such key", what)
	if best := typo.Nearest(key.Value, known); best != "" {
		e.WithHint("%s", best)
	} else {
		e.WithHint("the keys are %s", strings.Join(known, ", "))
	}
	r.Wrong(r.At(key), e)
}

// IsNull reports whether there is nothing where a value could be.
func IsNull(n *Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// WrongKind notes that something is not what it is to be.
func (r *Reader) WrongKind(n *Node, what, want string) {
	is := "a word"
	switch {
	case IsNull(n):
		is = "empty"
	case n.Kind == yaml.MappingNode:
		is = "a map"
	case n.Kind == yaml.SequenceNode:
		is = "a list"
	case n.Tag == "!!bool":
		is = "true or false"
	}
	r.Wrong(r.At(n), fault.New(fault.Invalid, "read", what, "it is %s, and has to be %s", is, want))
}

// List calls read with each element of a list. Nothing at all is an empty list.
func (r *Reader) List(p Pair, read func(*Node)) {
	switch {
	case IsNull(p.Value):
	case p.Value.Kind != yaml.SequenceNode:
		r.WrongKind(p.Value, p.Key.Value, "a list, each entry in a line that begins with \"- \"")
	default:
		for _, n := range p.Value.Content {
			if read(n); r.TooMany() {
				return
			}
		}
	}
}

// Text reads a word as it stands in the file: 010 and 1_000 are no numbers here. false:
// it is none, which is noted.
func (r *Reader) Text(what string, n *Node) (string, bool) {
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" || n.Tag == "!!bool" {
		r.WrongKind(n, what, "a word or number, in quotes if YAML takes it for something else")
		return "", false
	}
	if strings.ContainsFunc(n.Value, func(c rune) bool { return unicode.IsControl(c) && c != '\n' && c != '\t' }) {
		r.Wrong(r.At(n), fault.New(fault.Invalid, "read", what, "it has a control character in it"))
		return "", false
	}
	return n.Value, true
}

// Word reads a word of a line out of a map.
func (r *Reader) Word(what string, n *Node) (string, bool) {
	text, ok := r.Text(what, n)
	if ok && (text == "" || strings.ContainsAny(text, "\n\t")) {
		r.Wrong(r.At(n), fault.New(fault.Invalid, "read", what, "it is empty, or more than one line"))
		return "", false
	}
	return text, ok
}

// Flag reads true or false.
func (r *Reader) Flag(what string, n *Node) bool {
	if n.Kind != yaml.ScalarNode || n.Tag != "!!bool" {
		r.WrongKind(n, what, "true or false")
		return false
	}
	return strings.EqualFold(n.Value, "true")
}

// Words reads a word, or a list of them.
func (r *Reader) Words(what string, n *Node) (all []*Node) {
	nodes := []*Node{n}
	if n.Kind == yaml.SequenceNode {
		nodes = n.Content
	}
	for _, n := range nodes {
		if _, ok := r.Word(what, n); ok {
			all = append(all, n)
		}
	}
	return all
}
