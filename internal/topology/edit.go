package topology

import (
	"bytes"
	"slices"
	"strings"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/shell"
	"github.com/gopipework/gopipework/internal/yamlfile"
	yaml "go.yaml.in/yaml/v3"
)

// Add returns a file with one more attachment, the last, as a line as it is typed. All
// else in the file stays as it is, with its comments.
func Add(text []byte, words []string) ([]byte, error) {
	l, list, err := edit(text)
	if err != nil {
		return nil, err
	}
	entry := scalar(words)
	switch {
	case list == nil:
		l.insert(len(l.lines), keyAttachments+":\n", "  - "+entry+"\n")
	case yamlfile.IsNull(list):
		l.insert(list.Line, "  - "+entry+"\n")
	case list.Style&yaml.FlowStyle != 0:
		l.addToFlow(list, entry)
	default:
		l.insert(l.endOf(list, len(list.Content)-1), strings.Repeat(" ", list.Column-1)+"- "+entry+"\n")
	}
	return l.text(), nil
}

// Remove returns a file without the attachments that begin at those places. All else in
// the file stays as it is, with its comments.
func Remove(text []byte, places []Pos) ([]byte, error) {
	l, list, err := edit(text)
	if err != nil {
		return nil, err
	}
	if list == nil {
		return text, nil
	}
	var rest []string // built from the lines as they were: the places are theirs
	done := 0         // how many lines of them are done
	for i, n := range list.Content {
		if !slices.ContainsFunc(places, func(p Pos) bool { return p.Line == n.Line && p.Column == n.Column }) {
			continue
		}
		if list.Style&yaml.FlowStyle != 0 {
			return nil, fault.New(fault.Invalid, "edit", "line", "the list in line %d is between brackets", list.Line).
				WithHint("give each entry a line of its own, which begins with \"- \"")
		}
		rest = append(rest, l.lines[done:l.beginOf(list, i)]...)
		done = l.endOf(list, i)
	}
	l.lines = append(rest, l.lines[done:]...)
	return l.text(), nil
}

// scalar writes a line as YAML.
func scalar(words []string) string {
	out, err := yaml.Marshal(shell.Line(words))
	if err != nil { // a string is always written
		panic(err)
	}
	return strings.TrimSuffix(string(out), "\n")
}

// lines are those of a file that is edited, each with its end; next is the number of
// that with the key after the attachments, or of the one after the last.
type lines struct {
	lines []string
	next  int
}

// edit takes a file apart. list is what the key of the attachments has; nil: there is no
// such key.
func edit(text []byte) (l lines, list *yaml.Node, err error) {
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	if len(text) > 0 && text[len(text)-1] != '\n' {
		text = append(slices.Clip(text), '\n')
	}
	l = lines{lines: slices.Collect(strings.Lines(string(text)))}
	l.next = len(l.lines) + 1
	r := reader{}
	root := r.Syntax(text)
	if err := yamlfile.Invalid("", r.Found); err != nil || root == nil {
		return l, nil, err
	}
	for i := 0; i+1 < len(root.Content); i += 2 {
		switch {
		case list != nil:
			l.next = root.Content[i].Line
			return l, list, nil
		case root.Content[i].Value == keyAttachments:
			list = root.Content[i+1]
		}
	}
	return l, list, nil
}

func (l *lines) text() []byte { return []byte(strings.Join(l.lines, "")) }

// insert inserts lines behind the first so many.
func (l *lines) insert(behind int, add ...string) {
	l.lines = slices.Insert(l.lines, behind, add...)
}

// beginOf returns how many lines are in front of an element: its dash can be in a line
// above it.
func (l *lines) beginOf(list *yaml.Node, i int) int {
	at := list.Content[i].Line - 1
	for ; at > list.Line-1; at-- {
		if strings.HasPrefix(strings.TrimLeft(l.lines[at], " "), "-") {
			break
		}
	}
	return at
}

// endOf returns how many lines there are up to the end of an element, without the blank
// lines and the comments that follow it.
func (l *lines) endOf(list *yaml.Node, i int) int {
	end := l.next - 1
	if i+1 < len(list.Content) {
		end = l.beginOf(list, i+1)
	}
	for ; end > list.Content[i].Line; end-- {
		if last := strings.TrimSpace(l.lines[end-1]); last != "" && last[0] != '#' {
			break
		}
	}
	return end
}

// addToFlow adds an entry to a list between brackets: behind the opening one, which is
// the only one whose place is known.
func (l *lines) addToFlow(list *yaml.Node, entry string) {
	line := []rune(l.lines[list.Line-1])
	quoted := entry
	if entry[0] != '\'' && entry[0] != '"' { // what stands for itself in a line of its own does not between brackets
		quoted = "'" + strings.ReplaceAll(entry, "'", "''") + "'"
	}
	if len(list.Content) > 0 {
		quoted += ", "
	}
	l.lines[list.Line-1] = string(line[:list.Column]) + quoted + string(line[list.Column:])
}
