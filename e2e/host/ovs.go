//go:build linux

package host

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// OVS is a real Open vSwitch on a host: ovsdb-server and ovs-vswitchd with a
// run directory, a database and logs of their own. OVS_RUNDIR tells everything
// that runs on the host where they are.
type OVS struct {
	*Host
	RunDir   string
	database *exec.Cmd
	vswitchd *exec.Cmd
}

// ovsSchema is where the package puts what the database is made from.
const ovsSchema = "/usr/share/openvswitch/vswitch.ovsschema"

// StartOVS starts Open vSwitch with an empty database. Both daemons go with
// the host, if nobody ends them before.
func (h *Host) StartOVS() (*OVS, error) {
	o := &OVS{Host: h, RunDir: filepath.Join(h.Dir, "openvswitch")}
	if err := os.Mkdir(o.RunDir, 0o755); err != nil {
		return nil, err
	}
	for _, name := range []string{"OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR"} {
		h.Setenv(name, o.RunDir)
	}
	if _, err := h.Must("ovsdb-tool", "create", o.file("conf.db"), ovsSchema); err != nil {
		return nil, err
	}
	if err := o.StartDatabase(); err != nil {
		return nil, err
	}
	return o, o.StartSwitch()
}

func (o *OVS) file(name string) string { return filepath.Join(o.RunDir, name) }

// StartDatabase starts ovsdb-server, again or for the first time, and waits
// until it answers.
func (o *OVS) StartDatabase() (err error) {
	o.database, err = o.daemon("ovsdb-server", o.file("conf.db"), "--remote=punix:"+o.file("db.sock"))
	if err != nil {
		return err
	}
	// Until it is initialized, ovs-vswitchd does nothing.
	return o.await("ovsdb-server", func() bool { return o.Run("ovs-vsctl", "--timeout=5", "--no-wait", "init").Code == 0 })
}

// StartSwitch starts ovs-vswitchd, again or for the first time, and waits
// until it has done what the database says.
func (o *OVS) StartSwitch() (err error) {
	o.vswitchd, err = o.daemon("ovs-vswitchd", "unix:"+o.file("db.sock"))
	if err != nil {
		return err
	}
	return o.await("ovs-vswitchd", func() bool { return o.Run("ovs-vsctl", "--timeout=5", "init").Code == 0 })
}

// SignalDatabase sends ovsdb-server a signal.
func (o *OVS) SignalDatabase(s syscall.Signal) error { return signal(o.database, s) }

// SignalSwitch sends ovs-vswitchd a signal.
func (o *OVS) SignalSwitch(s syscall.Signal) error { return signal(o.vswitchd, s) }

// signal waits for the end of what a signal ends.
func signal(daemon *exec.Cmd, s syscall.Signal) error {
	if s == syscall.SIGSTOP {
		return Stop(daemon.Process.Pid)
	}
	if err := daemon.Process.Signal(s); err != nil || s == syscall.SIGCONT {
		return err
	}
	if !Poll(Patience, func() bool { return daemon.Process.Signal(syscall.Signal(0)) != nil }) {
		return fmt.Errorf("%s does not end on %v", daemon, s)
	}
	return nil
}

// Vsctl runs ovs-vsctl on the host and returns what it printed.
func (o *OVS) Vsctl(args ...string) (string, error) {
	return o.Must("ovs-vsctl", append([]string{"--timeout=50"}, args...)...)
}

// daemon starts a program of Open vSwitch that stays in the foreground, so
// that its process is ours to signal.
func (o *OVS) daemon(name string, args ...string) (*exec.Cmd, error) {
	cmd := o.Command(context.Background(), name, append(args,
		"--log-file="+o.file(name+".log"), "--pidfile="+o.file(name+".pid"), "--verbose=console:off")...)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() { _ = cmd.Wait() }()
	return cmd, nil
}

func (o *OVS) await(name string, ok func() bool) error {
	if Poll(Patience, ok) {
		return nil
	}
	text, _ := os.ReadFile(o.file(name + ".log"))
	return fmt.Errorf("%s does not answer:\n%s", name, text)
}
