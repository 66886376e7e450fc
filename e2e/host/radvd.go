//go:build linux

package host

import (
	"fmt"
	"os"
	"path/filepath"
)

// A Radvd is a real radvd that advertises a prefix on one interface of a guest.
// It lives in the guest's network namespace, and can be heard nowhere else.
type Radvd struct{ *daemon }

// StartRadvd starts one, for a prefix such as "fd00:9::/64". The guest becomes a
// router by it: it forwards IPv6, as radvd wants. The options are those of the
// interface in radvd.conf(5), such as "AdvDefaultPreference high".
func (g *Guest) StartRadvd(ifName, prefix string, options ...string) (*Radvd, error) {
	dir, err := os.MkdirTemp(g.h.Dir, "radvd-")
	if err != nil {
		return nil, err
	}
	file := func(name string) string { return filepath.Join(dir, name) }
	more := ""
	for _, o := range options {
		more += "  " + o + ";\n"
	}
	config := fmt.Sprintf("interface %s {\n  AdvSendAdvert on;\n  MinRtrAdvInterval 3;\n  MaxRtrAdvInterval 4;\n%s  prefix %s { };\n};\n", ifName, more, prefix)
	if err := os.WriteFile(file("conf"), []byte(config), 0o644); err != nil {
		return nil, err
	}
	if err := g.Run("sysctl", "-qw", "net.ipv6.conf.all.forwarding=1").Err(); err != nil {
		return nil, err
	}
	// It writes the file when its socket is open, so that no solicitation is lost.
	up := func() bool { return exists(file("pid")) }
	d, err := startDaemon(g, file("log"), up, "radvd", "--nodaemon", "--config="+file("conf"), "--pidfile="+file("pid"),
		"--logmethod=stderr", "--debug=1")
	if err != nil {
		return nil, err
	}
	return &Radvd{d}, nil
}

// Stop ends it at once: it says no goodbye to its guests. Its helper process,
// which reads from it, ends with it.
func (r *Radvd) Stop() error { return r.kill() }
