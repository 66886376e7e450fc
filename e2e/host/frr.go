//go:build linux

package host

import (
	"errors"
	"path/filepath"
)

// The daemons of FRR that EVPN needs.
const (
	ZebraPath = "/usr/lib/frr/zebra"
	BGPDPath  = "/usr/lib/frr/bgpd"
)

// frrDir is where they have their sockets and, here, their configuration.
const frrDir = "/run/frr"

// An FRR is the routing daemon of a host: zebra, which knows the kernel, and bgpd.
type FRR struct {
	h          *Host
	zebra, bgp *daemon
}

// StartFRR starts the one of this host, with the lines of frr.conf for bgpd. Its daemons give up
// root, so that their directory is a file system of its own, which the user frr owns.
func (h *Host) StartFRR(config string) (*FRR, error) {
	f := &FRR{h: h}
	err := h.RunInput(config, "sh", "-ec", "mkdir -p "+frrDir+"; mount -t tmpfs frr "+frrDir+"; cd "+frrDir+"; touch zebra.conf; cat >bgpd.conf; chown frr:frr . *").Err()
	if err != nil {
		return nil, err
	}
	return f, f.Start()
}

// Start starts the daemons again after Kill.
func (f *FRR) Start() (err error) {
	if f.zebra, err = f.start("zebra", ZebraPath, "zserv.api"); err == nil {
		f.bgp, err = f.start("bgpd", BGPDPath, "bgpd.vty")
	}
	return err
}

// start starts one, which is up when it has made a socket.
func (f *FRR) start(name, path, socket string) (*daemon, error) {
	if err := f.h.Run("rm", "-f", frrDir+"/"+socket).Err(); err != nil {
		return nil, err
	}
	up := func() bool { return f.h.Run("ls", frrDir+"/"+socket).Code == 0 }
	return startDaemon(f.h, filepath.Join(f.h.Dir, name+".log"), up, path,
		"--vty_addr", "127.0.0.1", "--config_file", frrDir+"/"+name+".conf", "--log", "stdout")
}

// Kill ends the daemons at once.
func (f *FRR) Kill() error { return errors.Join(f.bgp.kill(), f.zebra.kill()) }
