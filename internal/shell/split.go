package shell

import (
	"strings"
	"unicode/utf8"
)

// Word is a word of a line, and the number of characters in front of it.
type Word struct {
	Text string
	At   int
}

// SplitError says why a line cannot be split, and how many characters are in front of
// the one that is to blame.
type SplitError struct {
	At  int
	Why string
}

func (e *SplitError) Error() string { return e.Why }

// expanded are the characters that a shell makes something else of, or ends the command
// at, where they are not quoted; atStart those that it does so with only where a word
// begins.
const (
	expanded = "$`|&;<>()*?[{}"
	atStart  = "#~"
)

// Split splits a line into words as a POSIX shell does, with its quotes and backslashes.
// Nothing is expanded or run: a character that would need it is an error.
func Split(line string) ([]Word, error) {
	s := splitter{line: []rune(line)}
	if !utf8.ValidString(line) {
		return nil, &SplitError{0, "it is not UTF-8"}
	}
	for s.at < len(s.line) {
		if err := s.step(); err != nil {
			return nil, err
		}
	}
	s.end()
	return s.words, nil
}

// Words is Split for a caller to whom the places do not matter.
func Words(line string) (words []string, err error) {
	all, err := Split(line)
	for _, w := range all {
		words = append(words, w.Text)
	}
	return words, err
}

// splitter is at one character of a line.
type splitter struct {
	line  []rune
	at    int
	word  *strings.Builder // nil: between words
	began int
	words []Word
}

func (s *splitter) step() error {
	r := s.line[s.at]
	switch {
	case r == ' ' || r == '\t':
		s.end()
	case r == '\n':
		s.end()
		if len(s.words) > 0 && strings.TrimSpace(string(s.line[s.at:])) != "" {
			return &SplitError{s.at, "the line ends here, and more follows"}
		}
	case r == '\\':
		return s.escaped("")
	case r == '\'':
		return s.single()
	case r == '"':
		return s.double()
	case strings.ContainsRune(expanded, r), s.word == nil && strings.ContainsRune(atStart, r):
		return s.means(r)
	default:
		s.add(r)
	}
	s.at++
	return nil
}

// means returns the error for a character that only a shell could do something with.
func (s *splitter) means(r rune) error {
	return &SplitError{s.at, "a shell would not take " + string(r) + " as it stands, and no shell reads this; put it between single quotes"}
}

// add adds a character to the word, or begins one with it.
func (s *splitter) add(r rune) {
	s.begin()
	s.word.WriteRune(r)
}

func (s *splitter) begin() {
	if s.word == nil {
		s.word, s.began = &strings.Builder{}, s.at
	}
}

// end ends the word, if there is one.
func (s *splitter) end() {
	if s.word != nil {
		s.words = append(s.words, Word{s.word.String(), s.began})
		s.word = nil
	}
}

// escaped reads a backslash and the character that it quotes. With only, a backslash
// quotes nothing but those characters, and in front of any other it stands for itself.
func (s *splitter) escaped(only string) error {
	if s.at+1 == len(s.line) {
		return &SplitError{s.at, "nothing follows the backslash"}
	}
	next := s.line[s.at+1]
	switch {
	case next == '\n': // the line goes on in the next one
	case only == "" || strings.ContainsRune(only, next):
		s.add(next)
	default:
		s.add('\\')
		s.at--
	}
	s.at += 2
	return nil
}

func (s *splitter) single() error {
	s.begin()
	from := s.at
	for s.at++; s.at < len(s.line); s.at++ {
		if s.line[s.at] == '\'' {
			s.at++
			return nil
		}
		s.add(s.line[s.at])
	}
	return &SplitError{from, "the quote is not closed"}
}

func (s *splitter) double() error {
	s.begin()
	from := s.at
	s.at++
	for s.at < len(s.line) {
		switch r := s.line[s.at]; r {
		case '"':
			s.at++
			return nil
		case '$', '`':
			return s.means(r)
		case '\\':
			if err := s.escaped("$`\"\\"); err != nil {
				return err
			}
		default:
			s.add(r)
			s.at++
		}
	}
	return &SplitError{from, "the quote is not closed"}
}
