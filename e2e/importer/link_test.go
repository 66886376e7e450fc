package main

import (
	"errors"
	"os/exec"
	"testing"

	"github.com/gopipework/gopipework/attach"
)

// Two network namespaces and a link between them: all that a test of a network
// program needs. It is run as root, by the tests of gopipework.
func TestLink(t *testing.T) {
	sh(t, "ip netns add a && ip netns add b")
	defer sh(t, "ip netns del a && ip netns del b")
	a, errA := attach.OpenGuest("/run/netns/a")
	b, errB := attach.OpenGuest("/run/netns/b")
	link, err := attach.ParseLink(attach.LinkWords{Ends: [2]attach.EndWords{
		{Guest: "a", Address: "10.0.0.1/30"}, {Guest: "b", Address: "10.0.0.2/30"},
	}})
	if err := errors.Join(errA, errB, err); err != nil {
		t.Fatal(err)
	}
	if _, err := attach.Link(t.Context(), link, a, b, attach.Options{}); err != nil {
		t.Fatal(err)
	}
	sh(t, "ip netns exec a busybox ping -c 1 -w 5 10.0.0.2")
}

func sh(t *testing.T, line string) {
	if out, err := exec.Command("sh", "-c", line).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
}
