package topology

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/shell"
	"github.com/gopipework/gopipework/internal/spec"
	"github.com/gopipework/gopipework/internal/yamlfile"
	yaml "go.yaml.in/yaml/v3"
)

// part is a word of a line, and where it stands in the file.
type part struct {
	word string
	pos  Pos
}

// line is the words of an entry.
type line struct {
	pos   Pos
	parts []part
}

func (l *line) add(pos Pos, words ...string) {
	for _, w := range words {
		l.parts = append(l.parts, part{w, pos})
	}
}

func (l *line) words() (words []string) {
	for _, p := range l.parts {
		words = append(words, p.word)
	}
	return words
}

// place returns where what an error is about stands: the word that it names, or the one
// that the named thing is a part of, or else the entry.
func (l *line) place(err error) Pos {
	var e *fault.Error
	if !errors.As(err, &e) {
		return l.pos
	}
	object := e.Object
	if word, err := strconv.Unquote(object); err == nil {
		object = word
	}
	if object == "" {
		return l.pos
	}
	for _, is := range []func(string) bool{
		func(w string) bool { return w == object },
		func(w string) bool { return strings.Contains(w, object) },
	} {
		if i := slices.IndexFunc(l.parts, func(p part) bool { return is(p.word) }); i >= 0 {
			return l.parts[i].pos
		}
	}
	return l.pos
}

// entry reads one element of a list: a line, or a map that is turned into one.
func (r *reader) entry(n *yaml.Node, read func(line), asMap func(*yaml.Node) (line, bool)) {
	switch {
	case n.Kind == yaml.MappingNode:
		if l, ok := asMap(n); ok {
			read(l)
		}
	case n.Kind == yaml.ScalarNode && !yamlfile.IsNull(n):
		if l, ok := r.typed(n); ok {
			read(l)
		}
	default:
		r.WrongKind(n, "an entry", "a line as it is typed, or a map")
	}
}

// typed splits a line as it is typed.
func (r *reader) typed(n *yaml.Node) (line, bool) {
	l := line{pos: r.At(n)}
	text, ok := r.Text("a line", n)
	if !ok {
		return l, false
	}
	at := func(int) Pos { return l.pos }
	if n.Style == 0 && !strings.Contains(text, "\n") { // only then are the characters those of the file
		at = func(runes int) Pos {
			p := l.pos
			p.Column += runes
			return p
		}
	}
	words, err := shell.Split(text)
	if err != nil {
		place := l.pos
		var e *shell.SplitError
		if errors.As(err, &e) {
			place = at(e.At)
		}
		r.Wrong(place, fault.New(fault.Invalid, "read line", "", "%w", err))
		return l, false
	}
	for _, w := range words {
		l.add(at(w.At), w.Text)
	}
	switch {
	case len(words) == 0:
		r.Wrong(l.pos, fault.New(fault.Invalid, "read line", "", "it is empty"))
		return l, false
	case words[0].Text == "gopipework":
		r.Wrong(l.pos, fault.New(fault.Invalid, "read line", "", "an entry is what follows gopipework").WithHint("%s", shell.Line(l.words()[1:])))
		return l, false
	}
	return l, true
}

// attachment reads the words of an attach line.
func (r *reader) attachment(l line) {
	s, err := r.grammar.Attach(l.words())
	if err != nil {
		r.Wrong(l.place(err), err)
		return
	}
	r.file.Entries = append(r.file.Entries, Entry{Pos: l.pos, Words: l.words(), Attach: &s})
}

// link reads the words of a link line.
func (r *reader) link(l line) {
	s, err := r.grammar.Link(l.words())
	if err != nil {
		r.Wrong(l.place(err), err)
		return
	}
	r.links = append(r.links, Entry{Pos: l.pos, Words: l.words(), Link: &s})
}

// The keys of a map that stand for the words of a line.
const (
	keyTo    = "to"
	keyGuest = "guest"
	keyVLAN  = "vlan"
	keyMAC   = "mac"
	keyEnds  = "ends"
)

var (
	attachKeys = []string{keyTo, keyGuest, keyAddress, keyMAC, keyVLAN}
	linkKeys   = []string{keyEnds}
)

// keysWith returns the keys that stand for words, and those that stand for flags.
func keysWith(words []string, flags []Flag) []string {
	keys := slices.Clone(words)
	for _, f := range flags {
		keys = append(keys, f.Name)
	}
	return keys
}

// attachmentMap turns a map into the words of an attach line.
func (r *reader) attachmentMap(n *yaml.Node) (line, bool) {
	before := len(r.Found)
	word := map[string]part{}
	var flags line
	for _, p := range r.Pairs(n, "an attachment", keysWith(attachKeys, r.grammar.AttachFlags)) {
		switch key := p.Key.Value; key {
		case keyAddress:
			var all []string
			for _, n := range r.Words(key, p.Value) {
				all = append(all, n.Value)
			}
			word[key] = part{strings.Join(all, ","), r.At(p.Value)}
		case keyTo, keyGuest, keyMAC, keyVLAN:
			text, _ := r.Word(key, p.Value)
			word[key] = part{text, r.At(p.Value)}
		default:
			r.flagOf(&flags, p, r.grammar.AttachFlags)
		}
	}
	l := line{pos: r.At(n)}
	for _, key := range neededKeys(word[keyTo].word, word) {
		r.need(&l, key, word)
	}
	if mac, vlan := word[keyMAC], word[keyVLAN]; mac.word != "" || vlan.word != "" {
		last := part{mac.word, mac.pos}
		if vlan.word != "" {
			last = part{mac.word + "@" + vlan.word, vlan.pos}
		}
		l.parts = append(l.parts, last)
	}
	r.refuseDashes(l)
	l.parts = append(l.parts, flags.parts...)
	return l, len(r.Found) == before
}

// neededKeys returns the keys that an attachment to a host interface has to have. The file of
// a tunnel has its addresses, unless the entry has them.
func neededKeys(to string, word map[string]part) []string {
	keys := []string{keyTo, keyGuest, keyAddress}
	if _, given := word[keyAddress]; given {
		return keys
	}
	return keys[:spec.LeastWords(to)]
}

// need adds a word that a line cannot do without.
func (r *reader) need(l *line, key string, word map[string]part) {
	p, ok := word[key]
	if !ok {
		r.Wrong(l.pos, fault.New(fault.Invalid, "read", "an attachment", "it has no key %q", key))
		return
	}
	l.parts = append(l.parts, p)
}

// refuseDashes refuses a word that would be read as a flag.
func (r *reader) refuseDashes(l line) {
	for _, p := range l.parts {
		if strings.HasPrefix(p.word, "-") {
			r.Wrong(p.pos, fault.New(fault.Invalid, "read word", strconv.Quote(p.word), "it begins with a dash, as flags do"))
		}
	}
}

// flagOf adds the flag that a key stands for, as it is typed.
func (r *reader) flagOf(l *line, p yamlfile.Pair, flags []Flag) {
	f := flags[slices.IndexFunc(flags, func(f Flag) bool { return f.Name == p.Key.Value })]
	switch {
	case f.Bool:
		if r.Flag(f.Name, p.Value) {
			l.add(r.At(p.Key), f.Typed)
		}
	case f.Many:
		for _, n := range r.Words(f.Name, p.Value) {
			l.add(r.At(p.Key), f.Typed)
			l.add(r.At(n), n.Value)
		}
	default:
		if text, ok := r.Word(f.Name, p.Value); ok {
			l.add(r.At(p.Key), f.Typed)
			l.add(r.At(p.Value), text)
		}
	}
}

// linkMap turns a map into the words of a link line.
func (r *reader) linkMap(n *yaml.Node) (line, bool) {
	before := len(r.Found)
	l, flags := line{pos: r.At(n)}, line{}
	for _, p := range r.Pairs(n, "a link", keysWith(linkKeys, r.grammar.LinkFlags)) {
		if p.Key.Value != keyEnds {
			r.flagOf(&flags, p, r.grammar.LinkFlags)
			continue
		}
		if p.Value.Kind != yaml.SequenceNode || len(p.Value.Content) != 2 {
			r.WrongKind(p.Value, keyEnds, "a list of two, such as [web:to-db 10.8.0.1/30, db:to-web 10.8.0.2/30]")
			continue
		}
		for _, n := range p.Value.Content {
			if end, ok := r.typed(n); ok {
				l.parts = append(l.parts, end.parts...)
			}
		}
	}
	if len(l.parts) == 0 && len(r.Found) == before {
		r.Wrong(l.pos, fault.New(fault.Invalid, "read", "a link", "it has no key %q", keyEnds))
	}
	r.refuseDashes(l)
	l.parts = append(l.parts, flags.parts...)
	return l, len(r.Found) == before
}
