package dockerutil

import (
	"strings"
	"testing"

	"github.com/gopipework/gopipework/internal/fault"
)

func TestParse(t *testing.T) {
	long := "a" + strings.Repeat("b", 254)
	tests := []struct {
		word string
		want wordRef
	}{
		{"web", wordRef{Name: "web"}},
		{"1234", wordRef{Name: "1234"}}, // an ID prefix, never a PID
		{"A_b.c-d", wordRef{Name: "A_b.c-d"}},
		{long, wordRef{Name: long}},
		{"docker", wordRef{Name: "docker"}},
		{"docker:web", wordRef{Runtime: "docker", Name: "web"}},
		{"podman:web", wordRef{Runtime: "podman", Name: "web"}},
		{"lxc:web", wordRef{Runtime: "lxc", Name: "web"}},
		{"machine:web", wordRef{Runtime: "machine", Name: "web"}},
		{"incus:web", wordRef{Runtime: "incus", Name: "web"}},
		{"cri:0123abcd", wordRef{Runtime: "cri", Name: "0123abcd"}},
		{"containerd:web", wordRef{Runtime: "containerd", Name: "web"}},
		{"containerd:k8s.io/web", wordRef{Runtime: "containerd", Namespace: "k8s.io", Name: "web"}},
		{"compose:shop/web", wordRef{Runtime: "compose", Namespace: "shop", Name: "web"}},
		{"compose:my_shop-1/_w.e-b/12", wordRef{Runtime: "compose", Namespace: "my_shop-1", Name: "_w.e-b", Number: 12}},
		{"pid:1", wordRef{Runtime: "pid", PID: 1}},
		{"pid:4194304", wordRef{Runtime: "pid", PID: 4194304}},
		{"netns:blue", wordRef{Runtime: "netns", Name: "blue"}},
		{"/proc/17/ns/net", wordRef{Runtime: "path", Name: "/proc/17/ns/net"}},
		{"/run/netns/grün:x", wordRef{Runtime: "path", Name: "/run/netns/grün:x"}},
		{"/", wordRef{Runtime: "path", Name: "/"}},
	}
	for _, tt := range tests {
		got, err := parseWord(tt.word)
		if err != nil || got != tt.want {
			t.Errorf("parseWord(%q) = %+v, %v; want %+v", tt.word, got, err, tt.want)
		}
		if got.String() != tt.word {
			t.Errorf("parseWord(%q).String() = %q", tt.word, got)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	tests := map[fault.Code][]string{
		fault.Usage: {
			"", "-h", "_web", ".", "..", "a/b", "we b", "web\n", "web\x1b[2J", "$(id)", "wéb", "a%2fb",
			"a" + strings.Repeat("b", 255),
			"podman:", "lxc:", "machine:.host", "cri:", "podman:a/b", "lxc:../x", "machine:a:b",
			"containerd:", "containerd:/", "containerd:/web", "containerd:a/", "containerd:a/b/c", "containerd:-a/b", "containerd:a/-b", "containerd:../b",
			"docker:", "docker:/web", "docker:a:b", "netns:", "netns:../x", "netns:.", "DOCKER:web", "rkt:web", ":web",
			"compose:", "compose:web", "compose:/web", "compose:shop/", "compose:_shop/web", "compose:shop/-web", "compose:shop/web/", "compose:shop/web/0", "compose:shop/web/01", "compose:shop/web/-1", "compose:shop/web/1/2", "compose:shop/web/x", "compose:shop/web/99999999999999999999",
			"pid:", "pid:0", "pid:-1", "pid:+1", "pid:01", "pid:1x", "pid: 1", "pid:4194305", "pid:99999999999999999999",
			"//", "/a/", "/a//b", "/a/./b", "/a/../b", "/..", "/a b", "/a\tb", "/a\x00b", "/a\xffb", "/a\u202eb", "/a\u00a0b",
			"/" + strings.Repeat("a", 4095),
		},
	}
	for code, words := range tests {
		for _, word := range words {
			got, err := parseWord(word)
			if fault.CodeOf(err) != code || got != (wordRef{}) {
				t.Errorf("parseWord(%q) = %+v, %v; want an error of code %s", word, got, err, code)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, word := range []string{"web", "docker:web", "pid:17", "netns:blue", "/run/netns/blue", "podman:x", "containerd:a/b", "containerd:a/", "lxc:x", "machine:x", "compose:a/b", "compose:a/b/1", "cri:0f", "pid:01", "/a/../b"} {
		f.Add(word)
	}
	f.Fuzz(func(t *testing.T, word string) {
		r, err := parseWord(word)
		if err != nil {
			if code := fault.CodeOf(err); code != fault.Usage {
				t.Errorf("parseWord(%q): code %s", word, code)
			}
			return
		}
		if r.String() != word {
			t.Errorf("parseWord(%q).String() = %q", word, r)
		}
		if again, err := parseWord(r.String()); err != nil || again != r {
			t.Errorf("parseWord(%q) = %+v, %v; the first time %+v", r, again, err, r)
		}
	})
}

// TestCut: what follows the guest is told from its prefix.
func TestCut(t *testing.T) {
	for word, want := range map[string][2]string{
		"web":                    {"web", ""},
		"web:eth2":               {"web", "eth2"},
		"docker:web":             {"docker:web", ""},
		"docker:web:eth2":        {"docker:web", "eth2"},
		"pid:12:eth2":            {"pid:12", "eth2"},
		"containerd:k8s.io/ab:e": {"containerd:k8s.io/ab", "e"},
		"compose:shop/web:eth2":  {"compose:shop/web", "eth2"},
		"compose:shop/web/2:e":   {"compose:shop/web/2", "e"},
		"compose:shop/web":       {"compose:shop/web", ""},
		"/run/netns/red:eth2":    {"/run/netns/red", "eth2"},
		"/run/netns/a:b:eth2":    {"/run/netns/a:b", "eth2"},
		"docker":                 {"docker", ""},
		"":                       {"", ""},
	} {
		guest, rest := Cut(word)
		if got := [2]string{guest, rest}; got != want {
			t.Errorf("Cut(%q) = %q, want %q", word, got, want)
		}
	}
}
