//go:build linux

package e2e

import (
	"compress/gzip"
	"io"
	"os"
	"strings"
	"testing"
)

// TestBundle: doctor writes all facts to an archive, with other names and addresses if that
// is wanted, and replaces no file.
func TestBundle(t *testing.T) {
	m := newMachine(t)
	for name, address := range map[string]string{"kundeportal": "10.77.3.2/24,2001:db8:7:3::2/64", "datenhalde": "10.77.3.3/24"} {
		m.named(name)
		m.ok("brtest", "netns:"+name, address, "--nodad")
	}
	dir := t.TempDir()
	write := func(file string, words ...string) string {
		t.Helper()
		m.ok(append([]string{"doctor", "netns:kundeportal", "--to", "netns:datenhalde", "--bundle", dir + "/" + file}, words...)...)
		f, err := os.Open(dir + "/" + file)
		m.check(err)
		defer f.Close()
		z, err := gzip.NewReader(f)
		m.check(err)
		b, err := io.ReadAll(z)
		m.check(err)
		return string(b)
	}
	real := []string{"kundeportal", "datenhalde", "10.77.3.", "2001:db8:7:3:"}
	for _, mac := range strings.Fields(m.sh("ip -br link show brtest; ip -n kundeportal -br link show eth1")) {
		if strings.Count(mac, ":") == 5 {
			real = append(real, mac)
		}
	}
	plain, masked := write("plain.tgz"), write("masked.tgz", "--mask")
	for _, s := range real {
		if !strings.Contains(plain, s) {
			t.Errorf("the archive does not have %q", s)
		}
		if strings.Contains(masked, s) {
			t.Errorf("the masked archive has %q", s)
		}
	}
	for _, s := range []string{`"verdict":"ok"`, `"attachments":`, "brtest", "net/ipv4/conf/eth1/rp_filter"} {
		if !strings.Contains(masked, s) {
			t.Errorf("the masked archive does not have %q", s)
		}
	}
	if r := m.gopipework("doctor", "netns:kundeportal", "--bundle", dir+"/plain.tgz"); r.Code == 0 || !strings.Contains(r.Stderr, "exists already") {
		t.Errorf("over a file: %v", r)
	}
	if r := m.gopipework("doctor", "netns:kundeportal", "--mask"); r.Code != 2 {
		t.Errorf("--mask alone: %v", r)
	}
}
