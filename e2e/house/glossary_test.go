package main

import (
	"go/ast"
	"go/parser"
	"go/scanner"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"
)

// fixed are texts that stay as they are: steps of plans, and words of CNI.
var fixed = []string{"# put back what was in the guest's /etc/resolv.conf before ", "host-device", "isDefaultGateway"}

// TestGlossary: no comment, string, name or page has a word for which the glossary in
// attach/doc.go has another one.
func TestGlossary(t *testing.T) {
	bans := glossary(t)
	var all []string
	for _, b := range bans {
		all = append(all, b.pattern.String())
	}
	anyOf := regexp.MustCompile(strings.Join(all, "|")) // one search is quicker than many
	root := filepath.Join("..", "..")
	for _, file := range files(t, root) {
		for _, p := range prose(t, root, file) {
			text := hump.ReplaceAllString(p.text, "$1 $2")
			if slices.Contains(fixed, p.text) || !anyOf.MatchString(text) {
				continue
			}
			for _, b := range bans {
				for _, at := range b.pattern.FindAllStringSubmatchIndex(text, -1) {
					t.Errorf("%s:%d: %q: in the glossary of attach/doc.go it is %s",
						file, p.line+strings.Count(text[:at[2]], "\n"), text[at[2]:at[3]], strings.Join(b.terms, "; or "))
				}
			}
		}
	}
}

// TestGlossaryFinds: bans are found in every form of a verb, with something between
// its words, across lines, and in names; and nowhere else.
func TestGlossaryFinds(t *testing.T) {
	b := parseBan("give ... back")
	for _, text := range []string{"Gives back", "it gave the\nold lease back.", "giveBack", "what is given-back", "giving it back"} {
		if !b.pattern.MatchString(hump.ReplaceAllString(text, "$1 $2")) {
			t.Errorf("%q is not found in %q", b.text, text)
		}
	}
	for _, text := range []string{"It gives. Back to front", "backs what it gives", "gives one two three four five back", "forgive back"} {
		if found := b.pattern.FindString(hump.ReplaceAllString(text, "$1 $2")); found != "" {
			t.Errorf("%q is found in %q, as %q", b.text, text, found)
		}
	}
}

// ban is a phrase that is not to be used.
type ban struct {
	text    string
	terms   []string // what the glossary has instead
	pattern *regexp.Regexp
}

// glossary reads the terms in attach/doc.go. What follows "not:" there is banned.
func glossary(t *testing.T) (bans []ban) {
	f, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", "..", "attach", "doc.go"), nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	var section string
	for _, c := range f.Comments {
		if text := c.Text(); strings.HasPrefix(text, "# Terms\n") {
			section = text
		}
	}
	term := ""
	for l := range strings.Lines(section) {
		if m := entry.FindStringSubmatch(l); m != nil {
			term = m[1]
		}
		_, phrases, is := strings.Cut(l, " not: ")
		if !is || !strings.HasPrefix(l, "\t") || term == "" {
			continue
		}
		for p := range strings.SplitSeq(strings.TrimSpace(phrases), ", ") {
			if i := slices.IndexFunc(bans, func(b ban) bool { return b.text == p }); i >= 0 {
				bans[i].terms = append(bans[i].terms, term)
				continue
			}
			b := parseBan(p)
			b.terms = []string{term}
			bans = append(bans, b)
		}
	}
	if len(bans) == 0 {
		t.Fatal("attach/doc.go has no glossary, or it bans nothing")
	}
	return bans
}

// entry is the first line of a term in the glossary.
var entry = regexp.MustCompile(`^\t(\S.*?)  +\S`)

// forms are those of verbs that are not "infinitive, -s, -ed, -ing".
var forms = map[string]string{
	"be":    "be|is|are|was|were|been|being",
	"bring": "brings?|brought|bringing",
	"come":  "comes?|came|coming",
	"do":    "do|does|did|done|doing",
	"get":   "gets?|got|gotten|getting",
	"give":  "gives?|gave|given|giving",
	"go":    "go|goes|went|gone|going",
	"have":  "have|has|had|having",
	"keep":  "keeps?|kept|keeping",
	"leave": "leaves?|left|leaving",
	"put":   "puts?|putting",
	"take":  "takes?|took|taken|taking",
	"tear":  "tears?|tore|torn|tearing",
}

// parseBan reads a phrase. A verb in the infinitive stands for all of its forms, "..."
// for up to four words of the same clause, and a word in capitals for itself alone.
func parseBan(text string) ban {
	const space = "[-\\s*`]+"
	var pattern string
	for i, w := range strings.Fields(hump.ReplaceAllString(text, "$1 $2")) {
		if i > 0 && w != "..." {
			pattern += space
		}
		f, irregular := forms[w]
		switch {
		case w == "...":
			pattern += `(?:` + space + `[\w'/]+){0,4}`
		case irregular:
			pattern += "(?i:" + f + ")"
		case w == strings.ToUpper(w):
			pattern += w + "s?"
		default:
			pattern += "(?i:" + regexp.QuoteMeta(w) + "(?:s|es|d|ed|ing)?)"
		}
	}
	return ban{text: text, pattern: regexp.MustCompile(`(?:^|[^\w'/])(` + pattern + `)(?:$|[^\w'/])`)}
}

// hump is where one word of a name ends and the next begins.
var hump = regexp.MustCompile(`([a-z0-9])([A-Z])`)

// passage is a piece of prose, or a name, and where it begins.
type passage struct {
	line int
	text string
}

// prose returns what is to be read by people in a file.
func prose(t *testing.T, root, file string) (all []passage) {
	content, err := os.ReadFile(filepath.Join(root, file))
	if err != nil {
		t.Fatal(err)
	}
	if filepath.Ext(file) != ".go" {
		return blocks(string(content), filepath.Ext(file) == ".8")
	}
	fset := token.NewFileSet()
	var s scanner.Scanner
	s.Init(fset.AddFile(file, -1, len(content)), content, nil, 0)
	for {
		pos, tok, text := s.Scan()
		switch tok {
		case token.EOF:
			return append(all, comments(t, file, content)...)
		case token.STRING:
			if value, err := strconv.Unquote(text); err == nil {
				all = append(all, passage{fset.Position(pos).Line, value})
			}
		case token.IDENT:
			if strings.ContainsFunc(text, unicode.IsUpper) {
				all = append(all, passage{fset.Position(pos).Line, text})
			}
		}
	}
}

// blocks splits a file that is not Go at empty lines, at the items of lists and
// tables, and at the macros of a manual page.
func blocks(content string, man bool) (all []passage) {
	begins := regexp.MustCompile(`^([|.]|[-*] |$)`)
	fonts := regexp.MustCompile(`\\f.|\\`)
	line := 1
	for l := range strings.Lines(content) {
		if man {
			l = fonts.ReplaceAllString(l, "")
		}
		l = strings.TrimSpace(strings.TrimLeft(strings.TrimSpace(l), "#"))
		if len(all) == 0 || begins.MatchString(l) {
			all = append(all, passage{line, l})
		} else {
			all[len(all)-1].text += "\n" + l
		}
		line++
	}
	return all
}

// comments returns those of a Go file, but for the glossary itself.
func comments(t *testing.T, file string, content []byte) (all []passage) {
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, file, content, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range f.Comments {
		text := paragraphs(g)
		for _, p := range text {
			p.line += fset.Position(g.Pos()).Line
			if file == "attach/doc.go" && strings.Contains(p.text, "\nnot: ") {
				continue
			}
			all = append(all, p)
		}
	}
	return all
}

// paragraphs splits a comment at its empty lines.
func paragraphs(g *ast.CommentGroup) (all []passage) {
	from := 0
	var block []string
	flush := func(next int) {
		if len(block) > 0 {
			all = append(all, passage{from, strings.Join(block, "\n")})
		}
		block, from = nil, next
	}
	for i, c := range g.List {
		for l := range strings.Lines(c.Text) {
			if l = strings.TrimSpace(strings.TrimLeft(l, "/*")); l == "" {
				flush(i + 1)
				continue
			}
			block = append(block, l)
		}
	}
	flush(0)
	return all
}

// files are those of the repository that have prose in them.
func files(t *testing.T, root string) (all []string) {
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(root, path)
		switch {
		case d.IsDir() && name != "." && (strings.HasPrefix(d.Name(), ".") || name == filepath.Join("attach", "testdata")):
			return filepath.SkipDir // golden files are seen where their texts are made
		case d.IsDir(), strings.HasPrefix(name, "e2e/house/glossary"):
		case slices.Contains([]string{".go", ".md", ".8", ".sh", ".txtar", ".txt"}, filepath.Ext(name)), d.Name() == "Makefile":
			all = append(all, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
