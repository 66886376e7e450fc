//go:build linux

package host

import (
	"os"
	"path/filepath"
	"strings"
)

// A Dnsmasq is a real dnsmasq that serves DHCP on one interface of a guest. It
// lives in the guest's network namespace, and can be heard nowhere else.
type Dnsmasq struct {
	*daemon
	dir string
}

// StartDnsmasq starts one. Ranges are as after --dhcp-range=, such as
// "10.9.0.10,10.9.0.99,255.255.255.0,2m" (two minutes is its shortest lease), or
// "2001:db8:6::100,2001:db8:6::1ff,64,2m"; more options may follow. It serves no DNS.
func (g *Guest) StartDnsmasq(ifName, dhcpRange string, args ...string) (*Dnsmasq, error) {
	dir, err := os.MkdirTemp(g.h.Dir, "dnsmasq-")
	if err != nil {
		return nil, err
	}
	file := func(name string) string { return filepath.Join(dir, name) }
	serves := func() bool {
		said, _ := os.ReadFile(file("log"))
		return strings.Contains(string(said), ", IP range")
	}
	d, err := startDaemon(g, file("log"), serves, "dnsmasq", append([]string{
		"--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--no-resolv", "--no-hosts", "--user=root", "--group=",
		"--interface=" + ifName, "--except-interface=lo", "--bind-interfaces",
		"--dhcp-range=" + dhcpRange, "--dhcp-authoritative", "--no-ping", "--log-dhcp",
		"--dhcp-leasefile=" + file("leases"), "--pid-file=" + file("pid"), "--log-facility=-",
	}, args...)...)
	if err != nil {
		return nil, err
	}
	return &Dnsmasq{d, dir}, nil
}

// Log is what it has logged, each message with its DHCP options.
func (d *Dnsmasq) Log() string {
	b, _ := os.ReadFile(d.log)
	return string(b)
}

// Leases is its lease file: expiry, MAC, address, name, client identifier.
func (d *Dnsmasq) Leases() string {
	b, _ := os.ReadFile(filepath.Join(d.dir, "leases"))
	return string(b)
}

// Stop ends it, and waits.
func (d *Dnsmasq) Stop() error { return d.kill() }
