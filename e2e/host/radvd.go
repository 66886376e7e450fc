//go:build linux

package host

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// A Radvd is a real radvd that advertises a prefix on one interface of a guest.
// It lives in the guest's network namespace, and can be heard nowhere else.
type Radvd struct {
	cmd   *exec.Cmd
	ended chan struct{}
}

// StartRadvd starts one, for a prefix such as "fd00:9::/64". The guest becomes a
// router by it: it forwards IPv6, as radvd wants.
func (g *Guest) StartRadvd(ifName, prefix string) (*Radvd, error) {
	dir, err := os.MkdirTemp(g.h.Dir, "radvd-")
	if err != nil {
		return nil, err
	}
	file := func(name string) string { return filepath.Join(dir, name) }
	config := fmt.Sprintf("interface %s {\n  AdvSendAdvert on;\n  MinRtrAdvInterval 3;\n  MaxRtrAdvInterval 4;\n  prefix %s { };\n};\n", ifName, prefix)
	if err := os.WriteFile(file("conf"), []byte(config), 0o644); err != nil {
		return nil, err
	}
	if err := g.Run("sysctl", "-qw", "net.ipv6.conf.all.forwarding=1").Err(); err != nil {
		return nil, err
	}
	r := &Radvd{ended: make(chan struct{})}
	r.cmd = g.Command(context.Background(), "radvd", "--nodaemon", "--config="+file("conf"), "--pidfile="+file("pid"),
		"--logmethod=logfile", "--logfile="+file("log"), "--debug=1")
	var stderr strings.Builder
	r.cmd.Stderr = &stderr
	if err := r.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { _ = r.cmd.Wait(); close(r.ended) }()
	up := Poll(10*time.Second, func() bool {
		_, err := os.Stat(file("pid"))
		return err == nil || r.dead()
	})
	if !up || r.dead() {
		log, _ := os.ReadFile(file("log"))
		_ = r.Stop()
		return nil, fmt.Errorf("start radvd: %s%s", stderr.String(), log)
	}
	return r, nil
}

func (r *Radvd) dead() bool {
	select {
	case <-r.ended:
		return true
	default:
		return false
	}
}

// Stop ends it at once: it says no goodbye to its guests. Its helper process,
// which reads from it, ends with it.
func (r *Radvd) Stop() error {
	err := r.cmd.Process.Signal(syscall.SIGKILL)
	<-r.ended
	return err
}
