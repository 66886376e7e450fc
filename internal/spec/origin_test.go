package spec

import (
	"strings"
	"testing"

	"github.com/gopipework/gopipework/internal/fault"
)

func TestParseOrigin(t *testing.T) {
	longest := "file:" + strings.Repeat("n", MaxOriginName)
	for word, want := range map[string]Origin{
		"": OriginLine, "line": OriginLine, "keep": OriginKeep, "label": "label",
		"file:lab": "file:lab", "cni:my-net_1.2": "cni:my-net_1.2", "compose:shop/net": "compose:shop/net",
		"compose:" + strings.Repeat("p", MaxOriginName-2) + "/s": Origin("compose:" + strings.Repeat("p", MaxOriginName-2) + "/s"), longest: Origin(longest),
	} {
		if got, err := ParseOrigin(word); got != want || err != nil {
			t.Errorf("%q: %q, %v; want %q", word, got, err, want)
		}
	}
	for _, word := range []string{
		":", ":lab", "file:", "file:a b", "file:a/b", "file:a:b", "file:-a", "file:\x1b[0m", "file:é", "file:a\n",
		"Line", "a b", "line ", "/", "a/b", "line1", "compose", "compose:", "compose:a", "compose:a/", "compose:/a", "compose:a/b/c", "compose:a/-b", "compose:" + strings.Repeat("p", MaxOriginName-1) + "/s",
		strings.Repeat("a", maxOriginWord+1), longest + "n",
	} {
		if got, err := ParseOrigin(word); fault.CodeOf(err) != fault.Usage {
			t.Errorf("%q: %q, %v; want an error", word, got, err)
		}
	}
}
