package plainname

import (
	"fmt"
	"strings"
	"unicode"
)

// Visible escapes whatever could control a terminal, forge a line or break a document:
// control and format characters, and bytes that are not UTF-8. It leaves what it has
// escaped once as it is.
func Visible(s string) string {
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == unicode.ReplacementChar:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}
