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

// engine is what an engine needs to call the plugins.
func (c *cniMachine) engine() host.CNI { return host.CNI{Plugins: c.parts, Networks: c.confs} }

// cnitool asks for a verb of CNI for a guest.
func (c *cniMachine) cnitool(verb, network string, guest *host.Guest) host.Result {
	return c.Run(filepath.Join(c.parts, "cnitool"), verb, network, guest.Path())
}
