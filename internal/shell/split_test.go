package shell

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/gopipework/gopipework/e2e/program"
)

// FuzzSplit: a real shell splits what is accepted into the same words.
func FuzzSplit(f *testing.F) {
	for _, line := range []string{
		"", "a", " a  b\t", `a 'b c' "d e"`, `a\ b`, `""`, `''`, `a''b`, `"a\b\"\\"`, "a\\\nb", `'it'\''s'`, "a\n", "a#b", "#a", "$a", `"$a"`, `a~ ~a`,
		`brtest web 192.168.1.2/24 --route '10.0.5.0/24,via 192.168.2.9'`, `\`, `"\`, `'`, `{a,b}`, "a!b", "é ü",
	} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		words, err := Split(line)
		if err != nil || strings.ContainsFunc(line, func(r rune) bool { return r != '\n' && r != '\t' && unicode.IsControl(r) }) {
			return
		}
		want := ""
		for _, w := range words {
			want += "<" + w.Text + ">"
		}
		script := "set -- " + strings.TrimRight(strings.TrimLeft(line, " \t\n"), "\n") + "\n" + `for w do printf '<%s>' "$w"; done`
		if out, err := program.Command("sh", "-c", script).CombinedOutput(); err != nil || string(out) != want {
			t.Errorf("Split(%q) = %s, and a shell reads %s, %v", line, want, out, err)
		}
	})
}

// TestSplit: what Line writes is split into the same words, each at its place, and what
// would need a shell is refused at its place.
func TestSplit(t *testing.T) {
	words := []string{"brtest", "-i", "lan 0", "it's", "", "$HOME", "a\nb", `\`, "é", "x"}
	got, err := Split(Line(words))
	if err != nil {
		t.Fatal(err)
	}
	for i, w := range got {
		if rest := []rune(Line(words))[w.At:]; !strings.HasPrefix(string(rest), Quote(w.Text)) {
			t.Errorf("word %d: %q is not at %d", i, w.Text, w.At)
		}
	}
	if texts := texts(got); !slices.Equal(texts, words) {
		t.Errorf("%q", texts)
	}
	for line, at := range map[string]int{"a $b": 2, "é `b`": 2, `a "b $c"`: 5, "a; b": 1, "a 'b": 2, `a "b`: 2, `a\`: 1, "a\nb": 1, "a #b": 2, "a *": 2} {
		var e *SplitError
		if _, err := Split(line); !errors.As(err, &e) || e.At != at {
			t.Errorf("Split(%q): %v at %v, not at %d", line, err, e, at)
		}
	}
}

func texts(words []Word) (all []string) {
	for _, w := range words {
		all = append(all, w.Text)
	}
	return all
}
