package ours

import (
	"testing"

	"github.com/gopipework/gopipework/internal/guests"
)

// TestAnswersTo: a word means a guest by its runtime, its name and, of a container, by the
// beginning of its ID; a longer or shorter name is another guest's.
func TestAnswersTo(t *testing.T) {
	web := guests.GuestInfo{Runtime: "docker", ID: "0123456789ab", Name: "web"}
	short := guests.GuestInfo{Runtime: "netns", ID: "a", Name: "a"}
	for _, c := range []struct {
		g    guests.GuestInfo
		word string
		want bool
	}{
		{web, "web", true}, {web, "docker:web", true}, {web, "podman:web", false}, {web, "web2", false}, {web, "we", false},
		{web, "0123", true}, {web, "012", false}, {web, "0123456789ab", true}, {web, "docker:0123456789abcdef", true}, {web, "0124", false},
		{short, "netns:a", true}, {short, "netns:ab", false}, {short, "docker:a", false}, {short, "netns:a:eth1", false},
		{guests.GuestInfo{Runtime: "netns", ID: "abcd", Name: "abcd"}, "netns:abcdef", false},
		{guests.GuestInfo{Runtime: "path", ID: "0123456789ab", Name: "/run/x"}, "/run/x", true},
		{guests.GuestInfo{Runtime: "pid", ID: "12", Name: "pid:12"}, "pid:12", true},
		{guests.GuestInfo{Runtime: "pid", ID: "12", Name: "pid:12"}, "pid:123", false},
	} {
		if got := AnswersTo(c.g, c.word); got != c.want {
			t.Errorf("AnswersTo(%s, %q) = %v", c.g.Word(), c.word, got)
		}
	}
}
