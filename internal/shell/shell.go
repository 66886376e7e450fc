// Package shell quotes words for a POSIX shell.
package shell

import "strings"

// plain are the characters that mean themselves everywhere.
const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./:=-+,@%"

// Quote returns w such that a shell reads it as one word, quoted only where it
// has to be.
func Quote(w string) string {
	switch {
	case w != "" && only(w, plain):
		return w
	case only(w, plain+" "):
		return `"` + w + `"`
	}
	return "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
}

// Line returns the words as one line that a shell takes apart again; empty
// words at its end are left out.
func Line(words []string) string {
	for len(words) > 0 && words[len(words)-1] == "" {
		words = words[:len(words)-1]
	}
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = Quote(w)
	}
	return strings.Join(quoted, " ")
}

func only(w, chars string) bool {
	return strings.IndexFunc(w, func(r rune) bool { return !strings.ContainsRune(chars, r) }) < 0
}
