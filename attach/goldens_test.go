package attach

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestGoldensSince: the plans are those of 0d7ba18, but for the differences that
// testdata/0d7ba18/meant.txt lists with their reasons. Without these, each golden file
// has the hash that it had then.
func TestGoldensSince(t *testing.T) {
	const then = "testdata/0d7ba18"
	changes := readChanges(t, filepath.Join(then, "meant.txt"))
	hashes, err := os.ReadFile(filepath.Join(then, "hashes.txt"))
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for l := range strings.Lines(string(hashes)) {
		if strings.HasPrefix(l, "#") {
			continue
		}
		hash, name, _ := strings.Cut(strings.TrimSpace(l), " ")
		known[name] = true
		file := filepath.Join("testdata", name+".txt")
		b, err := os.ReadFile(file)
		if err != nil {
			t.Errorf("a plan of then is not tested any more: %v", err)
			continue
		}
		text := uncommented(string(b))
		for _, c := range changes[name] {
			before, after, ok := strings.Cut("\n"+text, "\n"+c.is)
			if !ok {
				t.Errorf("%s/meant.txt says that %s has lines which it does not have:\n%s", then, file, c.is)
			}
			text = strings.TrimPrefix(before+"\n"+c.was+after, "\n")
		}
		if got := fmt.Sprintf("%x", sha256.Sum256([]byte(text)))[:16]; got != hash {
			t.Errorf("%s differs from what it was: if that is meant, give the reason in %s/meant.txt; what was, git tells: git diff 0d7ba18 -- attach/%[1]s", file, then)
		}
	}
	for name := range changes {
		if !known[name] {
			t.Errorf("%s/meant.txt names %s, which was not there then", then, name)
		}
	}
}

// uncommented is a golden file without the comments on top of it.
func uncommented(text string) string {
	head, plan, _ := strings.Cut(text, "---\n")
	var b strings.Builder
	for l := range strings.Lines(head) {
		if !strings.HasPrefix(l, "#") {
			b.WriteString(l)
		}
	}
	return b.String() + "---\n" + plan
}

// meantChange is a difference in a golden file: lines that were, and are now.
type meantChange struct{ was, is string }

// readChanges returns the differences of each golden file. Each has a reason.
func readChanges(t *testing.T, file string) map[string][]meantChange {
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	changes := map[string][]meantChange{}
	var c meantChange
	reason, named := false, false
	for _, l := range bytes.SplitAfter(b, []byte("\n")) {
		switch l := string(l); {
		case l == "\n" || l == "":
			c, reason, named = meantChange{}, false, false
		case l[0] == '#':
			reason = true
		case !reason:
			t.Fatalf("%s: there is no reason for %q", file, l)
		case l[0] == '-' || l[0] == '+':
			if named {
				c, named = meantChange{}, false
			}
			if l[0] == '-' {
				c.was += l[1:]
			} else {
				c.is += l[1:]
			}
		case c.is == "":
			t.Fatalf("%s: %q has no lines that are there now: give one beside what has gone", file, l)
		default:
			named = true
			name := strings.TrimSpace(l)
			changes[name] = append(changes[name], c)
		}
	}
	return changes
}
