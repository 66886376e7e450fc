//go:build linux

package e2e

import (
	"strings"
	"testing"

	"github.com/gopipework/gopipework/e2e/host"
)

// TestPodmanCNI: podman's network connect and disconnect are ADD and DEL, on a container that
// runs.
func TestPodmanCNI(t *testing.T) {
	need(t, "podman")
	c := newCNIMachine(t)
	c.network("plain", `{"type": "bridge", "bridge": "cni0", "ipam": {"type": "host-local", "subnet": "10.88.0.0/24"}}`)
	c.network("lab", `{"type": "gopipework", "hostif": "brtest", "address": "10.1.0.2/24"}`)
	podman, err := c.StartPodmanCNI(c.engine())
	c.check(err)
	runs := true
	t.Cleanup(func() {
		if err := podman.Close(); runs {
			c.check(err)
		}
	})
	if _, err := podman.Podman("network", "ls"); err != nil {
		runs = false // and has nothing to close, but for its control group
		if strings.Contains(err.Error(), "cni support is not enabled in this build") {
			host.Lacking(t, "podman-cni", "this podman is built without networks of CNI: "+err.Error())
		}
		t.Fatal(err)
	}
	_, err = podman.Start("run", "-d", "--network", "plain", "--name", "seal")
	c.check(err)
	pid, err := podman.PID("seal")
	c.check(err)
	seal, db := c.GuestOf(pid), c.guest()
	c.quiet("brtest", db.Word, "10.1.0.3/24")
	check := c.unchanged(seal)
	for range 2 {
		_, err = podman.Podman("network", "connect", "lab", "seal")
		c.check(err)
		c.reaches(db, "10.1.0.2")
		_, err = podman.Podman("network", "disconnect", "lab", "seal")
		c.check(err)
		check("after network disconnect")
	}
}
