//go:build linux

package host

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// Required reports whether GOPIPEWORK_REQUIRE names a feature (root, docker, ovs,
// netem, ...; with commas). Where it does, what a test would be skipped for want
// of is a failure.
func Required(feature string) bool {
	return slices.Contains(strings.Split(os.Getenv("GOPIPEWORK_REQUIRE"), ","), feature)
}

// Lacking ends a test that cannot run for want of a feature: skipped, or failed if
// the feature is required.
func Lacking(t testing.TB, feature, why string) {
	t.Helper()
	if Required(feature) {
		t.Fatalf("GOPIPEWORK_REQUIRE=%s: %s", feature, why)
	}
	t.Skip(why)
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
