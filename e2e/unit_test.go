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
