// Command house draws the picture of the packages that is in README, tells the findings of
// doctor in the manual page, measures the code, and has the tests that keep the rules of the house:
//
//	layers.go          which package stands above which, and who may import what
//	way.go             the way of one command line through the files
//	findings.go        the table of findings, in the manual page
//	measure.go         how big things are
//	code.go            the packages, read and type-checked
//	glossary_test.go   one word for one thing, as the glossary of package attach has it
//	comments_test.go   comments that name what the code has
//
// make map runs it.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// The picture stands in README between these.
const (
	begin = "<!-- Made by \"make map\". -->\n"
	end   = "<!-- End of what \"make map\" makes. -->\n"
)

func main() {
	root := flag.String("C", ".", "the `directory` of the repository")
	write := flag.Bool("write", false, "write the picture into README.md instead of printing it, and the findings into the manual page")
	measured := flag.Bool("measure", false, "print measures of the code")
	flag.Parse()
	if err := run(*root, *write, *measured); err != nil {
		fmt.Fprintln(os.Stderr, "house:", err)
		os.Exit(1)
	}
}

func run(root string, write, measured bool) error {
	c, err := load(root)
	if err != nil {
		return err
	}
	if measured {
		fmt.Print(c.measures())
		return nil
	}
	picture, err := c.picture()
	if err != nil || !write {
		fmt.Print(picture)
		return err
	}
	if err := rewrite(filepath.Join(root, manualPage), tellFindings); err != nil {
		return err
	}
	return rewrite(filepath.Join(root, "README.md"), func(readme string) (string, error) { return draw(readme, picture) })
}

// rewrite changes the text of a file.
func rewrite(name string, change func(text string) (string, error)) error {
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	changed, err := change(string(text))
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return os.WriteFile(name, []byte(changed), 0o644)
}

// picture is what README shows: the packages, and the way of a command line.
func (c *code) picture() (string, error) {
	packages, err := c.packages()
	if err != nil {
		return "", err
	}
	way, err := c.way()
	return "```text\n" + packages + "```\n\nThe way of `" + line + "` through the files:\n\n```text\n" + way + "```\n", err
}

// draw puts the picture into the text of README.
func draw(readme, picture string) (string, error) {
	before, rest, ok := strings.Cut(readme, begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		return "", fmt.Errorf("it has no lines %q and %q to put the picture between", strings.TrimSpace(begin), strings.TrimSpace(end))
	}
	return before + begin + "\n" + picture + "\n" + end + after, nil
}
