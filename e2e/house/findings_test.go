package main

import (
	"os"
	"slices"
	"testing"

	"github.com/gopipework/gopipework/internal/finding"
)

// TestFindings: each finding has a number and a name of its own, and all that there is to
// say; and the manual page says it.
func TestFindings(t *testing.T) {
	names := map[string]bool{}
	for _, k := range finding.All {
		if names[k.Code()] || names[k.Name] || k.Seen == "" || k.Why == "" || k.Mend == "" {
			t.Errorf("%s is there twice, or says too little", k)
		}
		names[k.Code()], names[k.Name] = true, true
	}
	if !slices.IsSortedFunc(finding.All, func(a, b *finding.Kind) int { return a.ID - b.ID }) {
		t.Error("the findings are not in the order of their numbers")
	}
	page, err := os.ReadFile("../../" + manualPage)
	if err != nil {
		t.Fatal(err)
	}
	if told, err := tellFindings(string(page)); err != nil || told != string(page) {
		t.Errorf("%s does not have the findings as internal/finding has them: run make map (%v)", manualPage, err)
	}
}
