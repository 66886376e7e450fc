package policy

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTrust: whoever can change the file, a directory above it or a link on the way to it could
// choose the policy.
func TestTrust(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"safe", "theirs", "open", "ours"} {
		check(os.Mkdir(at(name), 0o755))
		check(os.WriteFile(at(name+"/file"), []byte("allow: []\n"), 0o644))
		check(os.Symlink(at("safe/file"), at(name+"/link")))
		check(os.Symlink("../safe", at(name+"/dir")))
	}
	check(os.WriteFile(at("safe/writable"), []byte("allow: []\n"), 0o644))
	check(os.Chmod(at("safe/writable"), 0o664))
	check(os.Chmod(at("open"), 0o777))
	check(os.Chmod(at("ours"), 0o777|os.ModeSticky))
	check(os.Symlink(at("safe/file"), at("ours/foreign")))
	check(os.Symlink("loop", at("safe/loop")))
	reads := func(name, want string) {
		t.Helper()
		_, err := Read(dir + "/" + name)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	for _, name := range []string{"safe/file", "safe/link", "safe/dir/file", "ours/file", "ours/link", "ours/dir/../safe/./dir/link"} {
		reads(name, "")
	}
	const foreign = "others than root can write to "
	reads("safe/writable", foreign+at("safe/writable"))
	reads("open/link", foreign+at("open"))
	reads("safe/loop", "too many levels of symbolic links")
	reads("safe/file/beyond", "not a directory")
	if p, err := Read(at("safe/nowhere")); err != nil || !p.Missing {
		t.Errorf("of a file that is not there: %+v, %v", p, err)
	}
	if os.Geteuid() != 0 {
		return // to make files of others takes root
	}
	check(os.Chown(at("theirs"), 1000, 1000))
	check(os.Lchown(at("ours/foreign"), 1000, 1000))
	for _, name := range []string{"theirs/file", "theirs/link", "theirs/dir/file"} {
		reads(name, foreign+at("theirs"))
	}
	reads("ours/foreign", foreign+at("ours/foreign"))
}
