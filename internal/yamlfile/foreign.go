package yamlfile

import (
	"bytes"
	"errors"
	"io"

	"github.com/gopipework/gopipework/internal/fault"
	yaml "go.yaml.in/yaml/v3"
)

// Foreign reads a file of another program as YAML, or JSON, and returns the roots of its
// documents. Aliases stay as they are: what they multiply is for the caller to bound.
func (r *Reader) Foreign(text []byte) (roots []*Node) {
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	if pos, why := r.strayCharacter(text); why != "" {
		r.Wrong(pos, fault.New(fault.Invalid, opSyntax, "", "%s", why))
		return nil
	}
	for d := yaml.NewDecoder(bytes.NewReader(text)); ; {
		var doc yaml.Node
		switch err := d.Decode(&doc); {
		case errors.Is(err, io.EOF):
			return roots
		case err != nil:
			r.noYAML(text, err)
			return nil
		}
		roots = append(roots, doc.Content[0])
	}
}

// Behind returns what a node stands for: the node itself, or what its alias names.
func Behind(n *Node) *Node {
	const most = 10 // an alias can name another
	for tries := 0; n != nil && n.Kind == yaml.AliasNode && tries < most; tries++ {
		n = n.Alias
	}
	return n
}

// IsMap reports whether a node is a map.
func IsMap(n *Node) bool { return n.Kind == yaml.MappingNode }

// IsList reports whether a node is a list.
func IsList(n *Node) bool { return n.Kind == yaml.SequenceNode }

// IsWord reports whether a node is neither.
func IsWord(n *Node) bool { return n.Kind == yaml.ScalarNode }

// IsLiteral reports whether a word is a text that stands in the file line by line.
func IsLiteral(n *Node) bool { return n.Style&yaml.LiteralStyle != 0 }
