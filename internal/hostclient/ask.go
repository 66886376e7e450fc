package hostclient

import (
	"slices"
	"strings"

	"github.com/gopipework/gopipework/internal/fault"
)

// Ask is which client is to be run, and how.
type Ask struct {
	Client  string   // "udhcpc", "dhclient", "dhcpcd"; "" for none
	Stays   bool     // it keeps its lease; otherwise it is stopped when it has one
	Options []string // for its command line
}

// foreground is what is behind the name of a client that stays.
const foreground = "-f"

// Parse reads CLIENT[-f] and, from after a colon, its options: words with
// spaces between. ok is false for a name of no client.
func Parse(name, options string) (a Ask, ok bool, err error) {
	a.Client, a.Stays = strings.CutSuffix(name, foreground)
	c, ok := clients[a.Client]
	if !ok || c.always && a.Stays {
		return Ask{}, false, nil
	}
	a.Stays = a.Stays || c.always
	a.Options = strings.Fields(options)
	return a, true, c.checkOptions(a)
}

// Word returns what parses to a, without the options.
func (a Ask) Word() string {
	if a.Stays && !clients[a.Client].always {
		return a.Client + foreground
	}
	return a.Client
}

// String returns the words that parse to a.
func (a Ask) String() string {
	if len(a.Options) == 0 {
		return a.Word()
	}
	return a.Word() + ":" + strings.Join(a.Options, " ")
}

// Equal reports whether a and b ask for the same.
func (a Ask) Equal(b Ask) bool {
	return a.Client == b.Client && a.Stays == b.Stays && slices.Equal(a.Options, b.Options)
}

// checkOptions lets through what is known to do no harm: an option may name a
// program to run as root or a file to write.
func (c client) checkOptions(a Ask) error {
	for words := a.Options; len(words) > 0; words = words[1:] {
		w := words[0]
		valued := slices.Contains(c.valued, w)
		if !valued && !slices.Contains(c.plain, w) {
			return fault.BadWord("read option of "+a.Client, w, "it is not one that may be given").
				WithHint("%s, and with a value %s", strings.Join(c.plain, " "), strings.Join(c.valued, " "))
		}
		if valued {
			if words = words[1:]; len(words) == 0 || strings.HasPrefix(words[0], "-") {
				return fault.BadWord("read option of "+a.Client, w, "it has no value")
			}
		}
		if len(w) > maxWord || len(words[0]) > maxWord || strings.ContainsFunc(words[0], func(r rune) bool { return r < ' ' || r > '~' }) {
			return fault.BadWord("read option of "+a.Client, w, "it is too long, or not plain text")
		}
	}
	return nil
}

// maxWord is the most that a DHCP option holds.
const maxWord = 255
