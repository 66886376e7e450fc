package shell

import (
	"strings"
	"testing"

	"github.com/gopipework/gopipework/e2e/program"
)

// FuzzQuote: a real shell reads back what was quoted.
func FuzzQuote(f *testing.F) {
	for _, w := range []string{"", "web", "a b", "it's", "$(id)", "a\nb", "*", "~", "-n", `\`, "a'b'c"} {
		f.Add(w)
	}
	f.Fuzz(func(t *testing.T, w string) {
		if strings.Contains(w, "\x00") {
			return // no argument can hold it
		}
		out, err := program.Command("sh", "-c", "printf '<%s>' "+Quote(w)).CombinedOutput()
		if err != nil || string(out) != "<"+w+">" {
			t.Errorf("Quote(%q) = %s, which a shell reads as %s, %v", w, Quote(w), out, err)
		}
	})
}
