package yamlfile

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/gopipework/gopipework/internal/fault"
	yaml "go.yaml.in/yaml/v3"
)

// opSyntax is what is being done when a file is no YAML.
const opSyntax = "read YAML"

// Syntax reads a file as YAML and returns its root; nil for a file without any content,
// and for one that is no YAML or has in it what no file of ours needs.
func (r *Reader) Syntax(text []byte) *Node {
	text = bytes.TrimPrefix(text, []byte("\ufeff")) // editors on Windows begin a file with it
	if pos, why := r.strayCharacter(text); why != "" {
		r.Wrong(pos, fault.New(fault.Invalid, opSyntax, "", "%s", why))
		return nil
	}
	d := yaml.NewDecoder(bytes.NewReader(text))
	var first, second yaml.Node
	if err := d.Decode(&first); err != nil {
		if !errors.Is(err, io.EOF) {
			r.noYAML(text, err)
		}
		return nil
	}
	switch err := d.Decode(&second); {
	case err == nil:
		r.Wrong(r.At(&second), fault.New(fault.Invalid, opSyntax, "", "a second document begins here").
			WithHint("one file holds one document; leave out the ---"))
		return nil
	case !errors.Is(err, io.EOF):
		r.noYAML(text, err)
		return nil
	}
	before := len(r.Found)
	r.refuseIndirection(&first)
	if len(r.Found) > before {
		return nil
	}
	return first.Content[0]
}

// strayCharacter finds the first character that text does not have: what controls a
// terminal, what counts as the end of a line for YAML and not for an editor, and bytes
// that are not UTF-8.
func (r *Reader) strayCharacter(text []byte) (Pos, string) {
	pos := Pos{File: r.Path, Line: 1, Column: 1}
	for i := 0; i < len(text); {
		c, size := utf8.DecodeRune(text[i:])
		i += size
		switch {
		case c == utf8.RuneError && size == 1:
			return pos, "the file is not UTF-8 text"
		case c == '\n':
			pos.Line, pos.Column = pos.Line+1, 1
			continue
		case c == '\r':
			if i == len(text) || text[i] != '\n' {
				return pos, "a carriage return without a line feed"
			}
		case IsStray(c):
			return pos, "a control character"
		}
		pos.Column++
	}
	return pos, ""
}

// IsStray reports whether a character, other than the end of a line, has no place in a
// file.
func IsStray(c rune) bool {
	return c != '\t' && unicode.IsControl(c) || c == '\u2028' || c == '\u2029' || c == '\ufeff'
}

// refuseIndirection refuses what makes a file mean more than is written in it: an alias,
// which can multiply, and a tag.
func (r *Reader) refuseIndirection(n *Node) {
	const hint = "write it out: every entry stands for itself"
	switch {
	case n.Kind == yaml.AliasNode:
		r.Wrong(r.At(n), fault.New(fault.Invalid, opSyntax, "*"+n.Value, "aliases are not read").WithHint(hint))
	case n.Anchor != "":
		r.Wrong(r.At(n), fault.New(fault.Invalid, opSyntax, "&"+n.Anchor, "anchors are not read").WithHint(hint))
	case n.Style&yaml.TaggedStyle != 0:
		r.Wrong(r.At(n), fault.New(fault.Invalid, opSyntax, n.Tag, "tags are not read").WithHint("leave it out"))
	}
	for _, child := range n.Content {
		if r.refuseIndirection(child); r.TooMany() {
			return
		}
	}
}

// cause returns the library's error without the line that it puts in front, which can be
// that before, or that where a list of many lines begins.
func cause(err error) string {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		_, text, _ = strings.Cut(rest, ": ")
	}
	return text
}

// noYAML notes that a file is no YAML.
func (r *Reader) noYAML(text []byte, err error) {
	line := badLine(text)
	pos := Pos{File: r.Path, Line: line, Column: 1}
	content := lineOf(text, line)
	indent := content[:len(content)-len(bytes.TrimLeft(content, " \t"))]
	pos.Column += len(indent)
	e := fault.New(fault.Invalid, opSyntax, "", "%s", cause(err))
	if tab := bytes.IndexByte(indent, '\t'); tab >= 0 {
		pos.Column = tab + 1
		e = fault.New(fault.Invalid, opSyntax, "", "a tab cannot indent a line").WithHint("use spaces")
	}
	r.Wrong(pos, e)
}

func lineOf(text []byte, number int) []byte {
	lines := bytes.SplitN(text, []byte("\n"), number+1)
	return lines[min(number, len(lines))-1]
}

// badLine returns the number of the line with which the text stops being YAML: the lines
// before it are, and none of those after it mends it.
func badLine(text []byte) int {
	ends := lineEnds(text)
	good, bad := 0, readUntilBad(text)
	const (
		most = 128 << 10 // a larger file is read once, and not again and again
		mend = 8         // how many lines a list or a text that is begun may take to its end
	)
	if bad > len(ends) || ends[bad-1] > most {
		return bad
	}
	isGood := func(lines int) bool { return lines == 0 || isYAML(text[:ends[lines-1]]) }
	for good+1 < bad {
		from, to := good, bad
		for from+1 < to {
			if middle := (from + to) / 2; isGood(middle) {
				from = middle
			} else {
				to = middle
			}
		}
		good = from
		for later := from + 2; later < min(from+mend, bad); later++ {
			if isGood(later) {
				good = later
			}
		}
		if good == from {
			break
		}
	}
	return good + 1
}

// lineEnds returns where each line ends.
func lineEnds(text []byte) (ends []int) {
	for i, c := range text {
		if c == '\n' {
			ends = append(ends, i+1)
		}
	}
	if len(text) > 0 && text[len(text)-1] != '\n' {
		ends = append(ends, len(text))
	}
	return ends
}

func isYAML(text []byte) bool {
	return drain(bytes.NewReader(text)) == nil
}

// drain reads all documents.
func drain(from io.Reader) error {
	d := yaml.NewDecoder(from)
	for {
		var n yaml.Node
		if err := d.Decode(&n); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// readUntilBad returns the number of the line that the library was at when it gave up.
// Where its error puts it can be far from there.
func readUntilBad(text []byte) int {
	from := &slowReader{text: text}
	_ = drain(from)
	line := 1 + bytes.Count(text[:from.at], []byte("\n"))
	if strings.HasSuffix(string(text[:from.at]), "\n") && line > 1 {
		line--
	}
	return line
}

// slowReader gives a byte at a time, so that nothing is read ahead.
type slowReader struct {
	text []byte
	at   int
}

func (s *slowReader) Read(b []byte) (int, error) {
	if s.at == len(s.text) {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), 1)], s.text[s.at:])
	s.at += n
	return n, nil
}
