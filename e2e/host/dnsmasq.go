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

// A Dnsmasq is a real dnsmasq that serves DHCP on one interface of a guest. It
// lives in the guest's network namespace, and can be heard nowhere else.
type Dnsmasq struct {
	dir   string
	cmd   *exec.Cmd
	ended chan struct{}
}

// StartDnsmasq starts one. Ranges are as after --dhcp-range=, such as
// "10.9.0.10,10.9.0.99,255.255.255.0,2m" (two minutes is its shortest lease), or
// "2001:db8:6::100,2001:db8:6::1ff,64,2m"; more options may follow. It serves no DNS.
func (g *Guest) StartDnsmasq(ifName, dhcpRange string, args ...string) (*Dnsmasq, error) {
	dir, err := os.MkdirTemp(g.h.Dir, "dnsmasq-")
	if err != nil {
		return nil, err
	}
	d := &Dnsmasq{dir: dir, ended: make(chan struct{})}
	file := func(name string) string { return filepath.Join(dir, name) }
	d.cmd = g.Command(context.Background(), "dnsmasq", append([]string{
		"--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--no-resolv", "--no-hosts", "--user=root", "--group=",
		"--interface=" + ifName, "--except-interface=lo", "--bind-interfaces",
		"--dhcp-range=" + dhcpRange, "--dhcp-authoritative", "--no-ping", "--log-dhcp",
		"--dhcp-leasefile=" + file("leases"), "--pid-file=" + file("pid"), "--log-facility=" + file("log"),
	}, args...)...)
	var stderr strings.Builder
	d.cmd.Stderr = &stderr
	if err := d.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { _ = d.cmd.Wait(); close(d.ended) }()
	up := Poll(10*time.Second, func() bool { return d.dead() || strings.Contains(d.Log(), ", IP range") })
	if !up || d.dead() {
		_ = d.Stop()
		return nil, fmt.Errorf("start dnsmasq: %s%s", stderr.String(), d.Log())
	}
	return d, nil
}

func (d *Dnsmasq) dead() bool {
	select {
	case <-d.ended:
		return true
	default:
		return false
	}
}

// Log is what it has logged, each message with its DHCP options.
func (d *Dnsmasq) Log() string {
	b, _ := os.ReadFile(filepath.Join(d.dir, "log"))
	return string(b)
}

// Leases is its lease file: expiry, MAC, address, name, client identifier.
func (d *Dnsmasq) Leases() string {
	b, _ := os.ReadFile(filepath.Join(d.dir, "leases"))
	return string(b)
}

// Stop ends it, and waits.
func (d *Dnsmasq) Stop() error {
	err := d.cmd.Process.Signal(syscall.SIGKILL)
	<-d.ended
	return err
}
