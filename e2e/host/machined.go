//go:build linux

package host

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// MachinedPath is the daemon that systemd would start.
const MachinedPath = "/lib/systemd/systemd-machined"

// A Machined is a real systemd-machined on a host, on a system bus of its own.
// There need be no systemd: the host's /run is its own, and the unit that systemd
// would have made is a control group made by hand.
type Machined struct {
	*Host
	daemons []*daemon
	ends    []func()
}

// StartMachined starts a bus and machined on the host.
func (h *Host) StartMachined() (*Machined, error) {
	bus := filepath.Join(h.Dir, "bus")
	err := writeFiles(h.Dir, map[string]string{"bus.conf": fmt.Sprintf(`<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><listen>unix:path=%s</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_type="method_call"/><allow send_destination="*"/><allow receive_type="*"/></policy>
</busconfig>
`, bus)})
	if err != nil {
		return nil, err
	}
	h.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+bus)
	if _, err := h.Must("mkdir", "-p", "/run/systemd/system", "/run/systemd/machines"); err != nil {
		return nil, err
	}
	m := &Machined{Host: h}
	for _, d := range []struct {
		name string
		args []string
		up   func() bool
	}{
		{"dbus-daemon", []string{"--config-file=" + h.Dir + "/bus.conf", "--nofork", "--nopidfile"}, func() bool { return accepts(bus) }},
		{MachinedPath, nil, func() bool { return h.Run("machinectl", "list").Code == 0 }},
	} {
		daemon, err := startDaemon(h, filepath.Join(h.Dir, filepath.Base(d.name)+".log"), d.up, d.name, d.args...)
		if err != nil {
			m.Close()
			return nil, err
		}
		m.daemons = append(m.daemons, daemon)
	}
	return m, nil
}

// Spawn starts a systemd-nspawn that sleeps, with no network, registered under a
// name. End ends it, with machined told; it may be called again.
func (m *Machined) Spawn(name string) (end func(), err error) {
	root := filepath.Join(m.Dir, "machine-"+name)
	if err := Rootfs(root); err != nil {
		return nil, err
	}
	// systemd takes units from cgroup v2 where there is any.
	hierarchy := "/sys/fs/cgroup"
	if exists("/sys/fs/cgroup/unified/cgroup.procs") {
		hierarchy = "/sys/fs/cgroup/unified"
	} else if !exists("/sys/fs/cgroup/cgroup.procs") {
		hierarchy = "/sys/fs/cgroup/systemd"
	}
	cgroup := filepath.Join(hierarchy, sliceName(m.Dir), "systemd-nspawn@"+name+".service")
	if err := os.MkdirAll(cgroup, 0o755); err != nil {
		return nil, err
	}
	up := func() bool {
		out, err := ask(m.Host, nil, "machinectl", "show", name, "--property=State", "--value")
		return err == nil && out == "running"
	}
	d, err := startDaemon(m.Host, filepath.Join(m.Dir, "nspawn-"+name+".log"), up, "sh", "-c",
		`echo $$ >"$1"/cgroup.procs && exec systemd-nspawn -q --keep-unit --register=yes --private-network --console=pipe -M "$2" -D "$3" /bin/sleep 86400`,
		"sh", cgroup, name, root)
	if err != nil {
		return nil, err
	}
	end = func() {
		// nspawn says goodbye to machined when its guest has ended.
		if pid, err := m.PID(name); err == nil && pid > 0 && !d.over() {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		if !Poll(30*time.Second, d.over) {
			d.stop()
		}
	}
	m.ends = append(m.ends, end)
	return end, nil
}

// PID is a machine's first process.
func (m *Machined) PID(name string) (int, error) {
	return askPID(m.Host, nil, "machinectl", "show", name, "--property=Leader", "--value")
}

// Machinectl is a script that is the host's machinectl, from outside of it.
func (m *Machined) Machinectl() string {
	cmd := m.Command(context.Background(), "machinectl")
	return fmt.Sprintf("#!/bin/sh\nDBUS_SYSTEM_BUS_ADDRESS=unix:path=%s/bus exec %s \"$@\"\n", m.Dir, strings.Join(cmd.Args, " "))
}

// Machines is where machined has a file per machine, as seen from outside.
func (m *Machined) Machines() string {
	return filepath.Join("/proc", strconv.Itoa(m.holder.Process.Pid), "root", "run/systemd/machines")
}

// Close ends the machines and the daemons.
func (m *Machined) Close() {
	for _, end := range m.ends {
		end()
	}
	for i := range m.daemons {
		m.daemons[len(m.daemons)-1-i].stop()
	}
	RemoveCgroup(sliceName(m.Dir))
}

// sliceName is the control group of a host's machines: machined wants a slice.
func sliceName(dir string) string { return cgroupName(dir) + ".slice" }
