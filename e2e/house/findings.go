package main

import (
	"fmt"
	"strings"

	"github.com/gopipework/gopipework/internal/finding"
)

// manualPage is where the findings of doctor are told between two comments.
const (
	manualPage    = "cmd/gopipework/gopipework.8"
	beginFindings = ".\\\" Made by \"make map\" from internal/finding.\n"
	endFindings   = ".\\\" End of what \"make map\" makes.\n"
)

// tellFindings puts the table of findings into the text of the manual page.
func tellFindings(page string) (string, error) {
	before, rest, ok := strings.Cut(page, beginFindings)
	_, after, ok2 := strings.Cut(rest, endFindings)
	if !ok || !ok2 {
		return "", fmt.Errorf("it has no lines %q and %q to put the findings between", strings.TrimSpace(beginFindings), strings.TrimSpace(endFindings))
	}
	var b strings.Builder
	for _, k := range finding.All {
		fmt.Fprintf(&b, ".TP\n\\fB%s\\fR\n%s\n%s\n%s\n", roff(k.String()), roff(k.Seen), roff(k.Why), roff(k.Mend))
	}
	return before + beginFindings + b.String() + endFindings + after, nil
}

// roff escapes text for the manual page.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(text)
	if strings.HasPrefix(text, ".") || strings.HasPrefix(text, "'") {
		text = `\&` + text
	}
	return text
}
