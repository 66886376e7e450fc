package topology

import (
	"slices"
	"strings"

	"github.com/gopipework/gopipework/internal/yamlfile"
)

// Draft is a file that is to be written.
type Draft struct {
	Name     string   // "": that of the file it is written to
	Comments []string // lines on top
	Entries  []DraftEntry
}

// DraftEntry is an entry, with comments in front of it.
type DraftEntry struct {
	Comments []string
	Words    []string // as of Entry; none: there are only the comments
	Link     bool
}

// Text returns the file. Parse reads it as the same entries.
func (d Draft) Text() []byte {
	var b strings.Builder
	comments(&b, "", d.Comments)
	if d.Name != "" {
		b.WriteString(keyName + ": " + scalar([]string{d.Name}) + "\n")
	}
	for _, section := range []struct {
		key  string
		link bool
	}{{keyAttachments, false}, {keyLinks, true}} {
		its := slices.DeleteFunc(slices.Clone(d.Entries), func(e DraftEntry) bool { return e.Link != section.link })
		if len(its) == 0 {
			continue
		}
		b.WriteString(section.key + ":\n")
		for _, e := range its {
			comments(&b, "  ", e.Comments)
			if len(e.Words) > 0 {
				b.WriteString("  - " + scalar(e.Words) + "\n")
			}
		}
	}
	return []byte(b.String())
}

// comments writes comments. A guest's name can be in one, with whatever it is made of.
func comments(b *strings.Builder, indent string, lines []string) {
	for _, line := range lines {
		line = strings.Map(func(r rune) rune {
			if yamlfile.IsStray(r) || r == '\n' || r == '\r' {
				return '?'
			}
			return r
		}, strings.ToValidUTF8(line, "?"))
		b.WriteString(indent + "# " + line + "\n")
	}
}
