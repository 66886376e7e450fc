package topology

import (
	"slices"
	"strconv"
	"strings"

	"github.com/gopipework/gopipework/internal/yamlfile"
)

// Draft is a file that is to be written.
type Draft struct {
	Name     string   // "": that of the file it is written to
	Comments []string // lines on top
	Bridges  []DraftBridge
	Entries  []DraftEntry
}

// DraftBridge is a bridge, with comments in front of it.
type DraftBridge struct {
	Comments []string
	Bridge
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
	for n, br := range d.Bridges {
		if n == 0 {
			b.WriteString(keyBridges + ":\n")
		}
		comments(&b, "  ", br.Comments)
		b.WriteString("  " + scalar([]string{br.Name}) + ": {" + strings.Join(br.pairs(), ", ") + "}\n")
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

// pairs are the keys and values of a bridge, as in a map on one line.
func (b Bridge) pairs() (pairs []string) {
	var addrs []string
	for _, p := range b.Address {
		addrs = append(addrs, `"`+p.String()+`"`) // an address of IPv6 has colons
	}
	if len(addrs) > 0 {
		pairs = append(pairs, keyAddress+": ["+strings.Join(addrs, ", ")+"]")
	}
	if b.MTU != 0 {
		pairs = append(pairs, keyMTU+": "+strconv.Itoa(b.MTU))
	}
	if b.Uplink != "" {
		pairs = append(pairs, keyUplink+": "+scalar([]string{b.Uplink}))
	}
	return pairs
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
