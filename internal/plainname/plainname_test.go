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

func TestVisible(t *testing.T) {
	for text, want := range map[string]string{
		"":                    "",
		"Grüße, 世界 <&>\"'`\\": "Grüße, 世界 <&>\"'`\\",
		"a\nb\tc\x00":         `a\u000ab\u0009c\u0000`,
		"\x1b[31m":            `\u001b[31m`,
		"\u202eevil\u200b":    `\u202eevil\u200b`,
		"bad\xff\xc3":         `bad\xff\xc3`,
	} {
		got := Visible(text)
		if got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
		if again := Visible(got); again != got {
			t.Errorf("%q: the second time %q", text, again)
		}
	}
}
