//go:build linux

package host

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Required reports whether GOPIPEWORK_REQUIRE names a feature (root, docker, ovs,
// netem, ...; with commas). Where it does, what a test would be skipped for want
// of is a failure. So it is where nothing is to be named: "" is always there.
func Required(feature string) bool {
	return feature == "" || slices.Contains(strings.Split(os.Getenv("GOPIPEWORK_REQUIRE"), ","), feature)
}

// Lacking ends a test that cannot run for want of a feature: skipped, or failed if
// the feature is required.
func Lacking(t testing.TB, feature, why string) {
	t.Helper()
	if Required(feature) {
		t.Fatalf("GOPIPEWORK_REQUIRE=%s: %s", feature, why)
	}
	noteLeftOut(t, why)
	t.Skip(why)
}

// noteLeftOut writes into the file that GOPIPEWORK_LEFT_OUT names, for make test,
// which test was skipped: its package, its name and why.
func noteLeftOut(t testing.TB, why string) {
	t.Helper()
	path := os.Getenv("GOPIPEWORK_LEFT_OUT")
	if path == "" {
		return
	}
	dir, err := os.Getwd() // go test runs in the directory of the package
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := fmt.Fprintf(f, "%s\t%s\t%s\n", filepath.Base(dir), t.Name(), strings.ReplaceAll(why, "\n", " ")); err != nil {
		t.Fatal(err)
	}
}

// NeedRoot ends a test that cannot run without root.
func NeedRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		Lacking(t, "root", "needs root: it makes network namespaces")
	}
}

// New makes a host for a test; it ends with the test.
func New(t testing.TB) *Host {
	t.Helper()
	h, err := Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}
