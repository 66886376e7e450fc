//go:build linux

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/gopipework/gopipework/e2e/host"
)

// cniParts is the directory with cnitool, the plugins of the CNI project, and gopipework.
var cniParts = sync.OnceValues(func() (dir string, err error) {
	dir = filepath.Join(scratch, "cni")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	if err := os.Symlink(filepath.Join(bin, "gopipework"), filepath.Join(dir, "gopipework")); err != nil {
		return "", err
	}
	return dir, host.BuildCNI(dir)
})

// A cniMachine is a machine on which engines, or cnitool in place of one, call plugins.
type cniMachine struct {
	*machine
	parts string // what is in CNI_PATH
	confs string // the directory of network configurations
}

func newCNIMachine(t *testing.T) *cniMachine {
	t.Helper()
	need(t, "cni")
	m := newMachine(t)
	parts, err := cniParts()
	m.check(err)
	c := &cniMachine{m, parts, m.Dir + "/net.d"}
	m.check(os.Mkdir(c.confs, 0o755))
	m.Setenv("CNI_PATH", parts)
	m.Setenv("NETCONFPATH", c.confs)
	m.do("mount -t tmpfs state /var/lib") // host-local and cnitool keep files there
	return c
}

// network writes the configuration of a network, with the plugins as JSON.
func (c *cniMachine) network(name string, plugins ...string) {
	c.t.Helper()
	text := fmt.Sprintf(`{"cniVersion": "1.0.0", "name": %q, "plugins": [%s]}`, name, strings.Join(plugins, ", "))
	c.check(os.WriteFile(filepath.Join(c.confs, name+".conflist"), []byte(text), 0o644))
}

// cnitool asks for a verb of CNI for a guest.
func (c *cniMachine) cnitool(verb, network string, guest *host.Guest) host.Result {
	return c.Run(filepath.Join(c.parts, "cnitool"), verb, network, guest.Path())
}

// TestCNIParts: the parts that CNI is tested with do what they do without gopipework.
func TestCNIParts(t *testing.T) {
	c := newCNIMachine(t)
	web := c.guest()
	check := c.unchanged(web)
	c.network("plain", `{"type": "bridge", "bridge": "cni0", "ipam": {"type": "host-local", "subnet": "10.9.0.0/24"}}`)
	c.check(c.cnitool("add", "plain", web).Err())
	if l := c.links(web); len(l) != 2 {
		t.Errorf("web has the links %v", l)
	}
	c.check(c.cnitool("check", "plain", web).Err())
	c.check(c.cnitool("del", "plain", web).Err())
	c.do("ip link del cni0")
	check("after del")
}
