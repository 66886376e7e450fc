package dockerutil

import (
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/plainname"
)

// The runtimes that a word can name, as GuestInfo.Runtime has them. A bare word names
// none of them.
const (
	RuntimeDocker     = guests.RuntimeDocker
	RuntimePodman     = guests.RuntimePodman
	RuntimeContainerd = guests.RuntimeContainerd
	RuntimeLXC        = guests.RuntimeLXC
	RuntimeMachine    = guests.RuntimeMachine // systemd-machined, which knows those of systemd-nspawn
	RuntimeCRI        = guests.RuntimeCRI     // the runtime of a kubelet
	RuntimeIncus      = guests.RuntimeIncus
	RuntimeCompose    = "compose" // a word only: the guest is a container of Docker or podman
	RuntimePID        = guests.RuntimePID
	RuntimeNetNS      = guests.RuntimeNetNS
	RuntimePath       = guests.RuntimePath
)

// wordRef is a guest word, taken apart. Nothing has been looked up yet.
type wordRef struct {
	Runtime   string // one of the constants above; "" for a bare word
	Namespace string // a namespace of containerd, as in containerd:k8s.io/ID, "" for any; or a project of Compose
	Name      string // the name, ID prefix, path or service of Compose; "" for a PID
	Number    int    // of one of several containers of a service, as in compose:shop/web/2; 0: the only one
	PID       int    // 0 unless Runtime is "pid"
}

const (
	// maxPID is the kernel's PID_MAX_LIMIT on 64 bits (proc_sys_kernel(5)).
	maxPID = 1 << 22
	// maxPath is PATH_MAX without the terminating zero byte.
	maxPath = 4095
	// maxName is Docker's own limit, as its grammar is (isName).
	maxName = 255
)

// isName reports whether w is a name of a container.
func isName(w string) bool { return len(w) <= maxName && plainname.Is(w) && w[0] != '_' }

// parseWord reads a guest word: NAME, RUNTIME:NAME, containerd:NAMESPACE/NAME,
// compose:PROJECT/SERVICE[/NUMBER], pid:N or an absolute path. It looks at nothing but the word, and its errors have the code
// fault.Usage.
func parseWord(word string) (wordRef, error) {
	if strings.HasPrefix(word, "/") {
		return parsePath(word)
	}
	prefix, rest, prefixed := strings.Cut(word, ":")
	if !prefixed {
		return parseName(word, "", word)
	}
	switch prefix {
	case RuntimeDocker, RuntimePodman, RuntimeLXC, RuntimeMachine, RuntimeCRI, RuntimeIncus, RuntimeNetNS:
		return parseName(word, prefix, rest)
	case RuntimeContainerd:
		return parseContainerd(word, rest)
	case RuntimeCompose:
		return parseCompose(word, rest)
	case RuntimePID:
		return parsePID(word, rest)
	}
	return wordRef{}, refuse(fault.Usage, word, "%q is no runtime", prefix).
		WithHint("write docker:, podman:, containerd:, lxc:, incus:, machine:, cri: or netns: and a name, compose:PROJECT/SERVICE, or pid:N; a path starts with /")
}

// prefixes are the runtimes that a word can begin with.
var prefixes = []string{
	RuntimeDocker, RuntimePodman, RuntimeContainerd, RuntimeLXC, RuntimeMachine, RuntimeCRI, RuntimeIncus, RuntimeCompose, RuntimePID, RuntimeNetNS,
}

// Cut splits GUEST:REST. GUEST may begin with the prefix of a runtime, and may be a path
// that contains colons. Without a REST it returns "".
func Cut(word string) (guest, rest string) {
	from := 0
	if prefix, _, ok := strings.Cut(word, ":"); ok && slices.Contains(prefixes, prefix) {
		from = len(prefix) + 1
	}
	if i := strings.LastIndexByte(word[from:], ':'); i >= 0 {
		return word[:from+i], word[from+i+1:]
	}
	return word, ""
}

// String returns the word that parses to r.
func (r wordRef) String() string {
	switch r.Runtime {
	case RuntimePID:
		return RuntimePID + ":" + strconv.Itoa(r.PID)
	case RuntimePath, "":
		return r.Name
	}
	if r.Number != 0 {
		return r.Runtime + ":" + r.Namespace + "/" + r.Name + "/" + strconv.Itoa(r.Number)
	}
	if r.Namespace != "" {
		return r.Runtime + ":" + r.Namespace + "/" + r.Name
	}
	return r.Runtime + ":" + r.Name
}

func parseName(word, runtime, name string) (wordRef, error) {
	if !isName(name) {
		return wordRef{}, refuse(fault.Usage, word, "not a name").
			WithHint("a name is a letter or digit, then up to 254 letters, digits, '_', '.' or '-'")
	}
	return wordRef{Runtime: runtime, Name: name}, nil
}

// parseContainerd reads ID or NAMESPACE/ID. Every identifier of containerd is a valid name
// here, so a namespace needs no grammar of its own.
func parseContainerd(word, rest string) (wordRef, error) {
	namespace, name, namespaced := strings.Cut(rest, "/")
	if !namespaced {
		return parseName(word, RuntimeContainerd, rest)
	}
	if !isName(namespace) {
		return wordRef{}, refuse(fault.Usage, word, "%q is no namespace of containerd", namespace).
			WithHint("write containerd:NAMESPACE/NAME; ctr namespaces ls shows the namespaces")
	}
	r, err := parseName(word, RuntimeContainerd, name)
	if err == nil {
		r.Namespace = namespace
	}
	return r, err
}

// parsePID accepts a number only in its plain decimal form, and not "pid:007", which may
// have been meant differently.
func parsePID(word, digits string) (wordRef, error) {
	n, err := strconv.Atoi(digits)
	if err != nil || strconv.Itoa(n) != digits || n < 1 || n > maxPID {
		return wordRef{}, refuse(fault.Usage, word, "not a process ID").
			WithHint("write pid:N with N from 1 to %d", maxPID)
	}
	return wordRef{Runtime: RuntimePID, PID: n}, nil
}

// parsePath accepts only a clean path, without "..", so that a reader sees what it means
// and a namespace has only one spelling.
func parsePath(word string) (wordRef, error) {
	switch {
	case len(word) > maxPath:
		return wordRef{}, refuse(fault.Usage, word[:32]+"...", "path is longer than %d bytes", maxPath)
	case !utf8.ValidString(word) || strings.ContainsFunc(word, unfitForPath):
		return wordRef{}, refuse(fault.Usage, word, "path holds a space or a character that cannot be printed")
	case path.Clean(word) != word:
		return wordRef{}, refuse(fault.Usage, word, "path is not in its plain form").
			WithHint("write %s", path.Clean(word))
	}
	return wordRef{Runtime: RuntimePath, Name: word}, nil
}

func unfitForPath(c rune) bool { return !unicode.IsPrint(c) || unicode.IsSpace(c) }

func refuse(code fault.Code, word, format string, args ...any) *fault.Error {
	return fault.New(code, "read guest", `"`+word+`"`, format, args...)
}
