package plainname

import (
	"regexp"
	"testing"
)

// FuzzIs: the loop accepts what the expression accepts.
func FuzzIs(f *testing.F) {
	for _, s := range []string{"", "a", "Z9", "_x", ".", "-", "a.-_", ".a", "-a", "a b", "a\n", "é", "a+", "a\x00"} {
		f.Add(s)
	}
	grammar := regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*$`)
	f.Fuzz(func(t *testing.T, s string) {
		if want := grammar.MatchString(s); Is(s) != want {
			t.Errorf("Is(%q) = %v, want %v", s, !want, want)
		}
	})
}
