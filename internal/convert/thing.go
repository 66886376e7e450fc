package convert

import (
	"slices"
	"strings"

	"github.com/gopipework/gopipework/internal/yamlfile"
)

// thing is a map of a foreign file.
type thing struct {
	c     *converter
	node  *yamlfile.Node // where it stands
	keys  []*yamlfile.Node
	value map[string]*yamlfile.Node
	read  map[string]bool
}

// thing returns the map that a node is; an empty one, with a warning, if it is none.
func (c *converter) thing(n *yamlfile.Node, what string) *thing {
	t := &thing{c: c, node: n, value: map[string]*yamlfile.Node{}, read: map[string]bool{}}
	is := yamlfile.Behind(n)
	switch {
	case is == nil || yamlfile.IsNull(is):
	case !yamlfile.IsMap(is):
		c.warn(n, "%s is to be a map here, and is none", what)
	default:
		t.take(is, map[*yamlfile.Node]bool{})
	}
	return t
}

// take adds the keys of a map, and of those that it merges, each once: one can merge itself.
func (t *thing) take(m *yamlfile.Node, taken map[*yamlfile.Node]bool) {
	if taken[m] {
		return
	}
	taken[m] = true
	const merge = "<<"
	for i := 0; i+1 < len(m.Content); i += 2 {
		key, value := m.Content[i], m.Content[i+1]
		if _, is := t.value[key.Value]; is || !yamlfile.IsWord(key) || key.Value == merge {
			continue
		}
		t.keys, t.value[key.Value] = append(t.keys, key), value
	}
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value != merge {
			continue
		}
		from := []*yamlfile.Node{m.Content[i+1]}
		if is := yamlfile.Behind(from[0]); is != nil && yamlfile.IsList(is) {
			from = is.Content
		}
		for _, n := range from {
			if n = yamlfile.Behind(n); n != nil && yamlfile.IsMap(n) {
				t.take(n, taken)
			}
		}
	}
}

// get returns what a key has, or nil.
func (t *thing) get(key string) *yamlfile.Node {
	t.read[key] = true
	return t.value[key]
}

// text returns the word that a key has; "": none.
func (t *thing) text(key string) string {
	n := t.get(key)
	if n == nil || yamlfile.IsNull(n) {
		return ""
	}
	return t.c.text(n, key)
}

// text returns the word that a node is, if it is one.
func (c *converter) text(n *yamlfile.Node, what string) string {
	is := yamlfile.Behind(n)
	if is == nil || !yamlfile.IsWord(is) {
		c.warn(n, "%s is to be a word here, and is none", what)
		return ""
	}
	if strings.ContainsFunc(is.Value, func(r rune) bool { return r < ' ' || yamlfile.IsStray(r) }) {
		c.warn(n, "%s has a control character in it", what)
		return ""
	}
	return is.Value
}

// is reports whether a key is true.
func (t *thing) is(key string) bool { return strings.EqualFold(t.text(key), "true") }

// list returns what is in the list that a key has; a single node is a list of one.
func (t *thing) list(key string) []*yamlfile.Node {
	n := t.get(key)
	switch is := yamlfile.Behind(n); {
	case is == nil || yamlfile.IsNull(is):
		return nil
	case yamlfile.IsList(is):
		return is.Content
	}
	return []*yamlfile.Node{n}
}

// in returns the map that a key has.
func (t *thing) in(key string) *thing { return t.c.thing(t.get(key), key) }

// ignore takes keys for read that say nothing about a network.
func (t *thing) ignore(keys ...string) {
	for _, key := range keys {
		t.read[key] = true
	}
}

// rest warns of each key that nobody has read.
func (t *thing) rest(of string) {
	for _, key := range t.keys {
		if !t.read[key.Value] && !strings.HasPrefix(key.Value, "x-") {
			t.c.warn(key, "%q of %s has no counterpart", key.Value, of)
		}
	}
}

// names are the keys, in their order.
func (t *thing) names() (all []string) {
	for _, key := range t.keys {
		all = append(all, key.Value)
	}
	return slices.Clip(all)
}

// flag adds a flag and its value to words, unless that is empty.
func flag(words []string, typed, value string) []string {
	if value == "" {
		return words
	}
	return append(words, typed, value)
}
