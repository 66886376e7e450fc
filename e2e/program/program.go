// Package program is the one door through which the tests and the bench run
// programs. Behind it is what programs.txt lists, and nothing else of the
// machine: a test that runs a program which is not listed fails on every machine,
// also where somebody has installed it by hand.
//
// Whoever imports the package has, as PATH, a directory with a link to each listed
// program, and so have its scripts and whatever they start.
package program

import (
	"context"
	_ "embed"
	"fmt"
	"hash/fnv"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

//go:embed programs.txt
var table string

const hint = "list it in e2e/program/programs.txt, with the Debian package that brings it, and run e2e/install.sh"

// path is the directory of links.
var path string

// notFound is what bash runs for a program that is not on the PATH. It ends the
// script, because "|| true" must not hide a program that is not listed.
const notFound = `() { echo "$1: no such program: ` + hint + `" >&2; kill -TERM $$; return 127; }`

func init() {
	if path = os.Getenv("PATH"); filepath.Base(filepath.Dir(path)) != cacheName {
		var err error
		if path, err = link(); err != nil {
			panic(fmt.Sprintf("find the programs of the tests: %v", err))
		}
	}
	os.Setenv("PATH", path)
	os.Setenv("BASH_FUNC_command_not_found_handle%%", notFound)
}

// Env is the part of the environment, PATH first, that a program needs if it is
// not to have all of ours. The directories come before the listed programs.
func Env(before ...string) []string {
	search := path
	for _, dir := range slices.Backward(before) {
		if dir != "" {
			search = dir + ":" + search
		}
	}
	return []string{"PATH=" + search, "BASH_FUNC_command_not_found_handle%%=" + notFound}
}

// Command is exec.Command for a listed program, or for a file that a test made.
func Command(name string, args ...string) *exec.Cmd {
	Check(name)
	return exec.Command(name, args...)
}

// CommandContext is exec.CommandContext for a listed program, or for a file that
// a test made.
func CommandContext(ctx context.Context, name string, args ...string) *exec.Cmd {
	Check(name)
	return exec.CommandContext(ctx, name, args...)
}

// Look is exec.LookPath for a listed program.
func Look(name string) (string, error) {
	Check(name)
	return exec.LookPath(name)
}

// Check panics if the program is the machine's and not listed: that is a mistake
// in the test, whether or not the machine has the program.
func Check(name string) {
	if slices.Contains(listed(), name) {
		return
	}
	if system(name) {
		if slices.Contains(listed(), filepath.Base(name)) {
			return
		}
	} else if _, err := exec.LookPath(name); err == nil {
		return // a test made it
	}
	panic(fmt.Sprintf("run %q: no such program: %s", name, hint))
}

// system reports whether a path leads to what packages bring.
func system(path string) bool {
	top, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	return strings.HasPrefix(path, "/") && slices.Contains([]string{"bin", "sbin", "lib", "usr"}, top)
}

// listed are the programs of the table.
func listed() (all []string) {
	for l := range strings.Lines(table) {
		if f := strings.Fields(l); len(f) > 2 && !strings.HasPrefix(l, "#") {
			all = append(all, f[2:]...)
		}
	}
	return all
}

const cacheName = "gopipework-programs"

// link makes the directory of links, or finds that it is there.
func link() (string, error) {
	search := os.Getenv("PATH") + ":/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"
	targets := map[string]string{}
	sum := fnv.New64a()
	for _, name := range listed() {
		file := name
		if name == "sh" {
			file = "bash" // dash cannot be told what to say about a program that is not there
		}
		for dir := range strings.SplitSeq(search, ":") {
			target := filepath.Join(dir, file)
			if strings.Contains(name, "/") || targets[name] != "" || !executable(target) {
				continue
			}
			targets[name] = target
			fmt.Fprintln(sum, name, target)
		}
	}
	// Guests and users without privileges run these too.
	cache := "/var/cache/" + cacheName
	if os.Geteuid() != 0 {
		user, err := os.UserCacheDir()
		if err != nil {
			user = os.TempDir()
		}
		cache = filepath.Join(user, cacheName)
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	dir := filepath.Join(cache, fmt.Sprintf("%x", sum.Sum64()))
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	made, err := os.MkdirTemp(cache, "new-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(made)
	if err := os.Chmod(made, 0o755); err != nil {
		return "", err
	}
	for name, target := range targets {
		if err := os.Symlink(target, filepath.Join(made, name)); err != nil {
			return "", err
		}
	}
	// Another that was faster has made the same.
	if err := os.Rename(made, dir); err != nil && !os.IsExist(err) {
		return "", err
	}
	return dir, nil
}

func executable(file string) bool {
	info, err := os.Stat(file)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}
