//go:build linux

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestUnit: systemd finds nothing wrong with the unit, and little that is left open. That the
// sandbox lets watch do its work takes systemd as PID 1, which is tried by hand.
func TestUnit(t *testing.T) {
	need(t, "systemd")
	b, err := os.ReadFile("../examples/gopipework.service")
	if err != nil {
		t.Fatal(err)
	}
	const installed = "/usr/local/bin/gopipework" // make install puts the PREFIX there
	text := string(b)
	if strings.Count(text, "/usr/local") != 1 {
		t.Errorf("the unit does not run %s once", installed)
	}
	unit := filepath.Join(t.TempDir(), "gopipework.service")
	if err := os.WriteFile(unit, []byte(strings.Replace(text, installed, filepath.Join(bin, "gopipework"), 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := command("systemd-analyze", "verify", "--man=no", unit).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	const most = "50" // tenths; a unit without a sandbox has 96
	if out, err := command("systemd-analyze", "security", "--no-pager", "--offline=true", "--threshold="+most, unit).CombinedOutput(); err != nil {
		t.Errorf("systemd-analyze security: %v\n%s", err, out)
	}
	for _, s := range []string{"Type=notify\n", "WatchdogSec=", "KillMode=process\n", "Restart=on-failure\n", "ExecReload=/bin/kill -HUP $MAINPID\n"} {
		if !strings.Contains(text, "\n"+s) {
			t.Errorf("the unit has no %q", s)
		}
	}
}

// TestOpenRC: the script for OpenRC starts watch, with the flags of its settings, and has it
// read its files again. That OpenRC runs it is not tried: Debian's does not supervise.
func TestOpenRC(t *testing.T) {
	m := newMachine(t)
	const openrc = `
		supervise-daemon() { echo "supervise-daemon $*"; }
		ebegin() { :; }
		eend() { return "$1"; }
		need() { echo "need $*"; }; use() { :; }; after() { :; }
		RC_SVCNAME=gopipework OPTIONS="--labels --metrics :9105"
		. "$1"
		depend; reload
		echo "$command $command_args, by $supervisor"`
	script, err := filepath.Abs("../examples/gopipework.openrc")
	m.check(err)
	out, err := m.Must("bash", "-euc", openrc, "bash", script)
	m.check(err)
	m.says("the script", out, "need localmount", "supervise-daemon gopipework --signal HUP", "/usr/local/bin/gopipework watch --labels --metrics :9105, by supervise-daemon")
}
