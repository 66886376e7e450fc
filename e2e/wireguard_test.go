//go:build linux

package e2e

import (
	"bytes"
	"crypto/ecdh"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gopipework/gopipework/e2e/host"
)

// keyPair returns a private key and its public key, made from one byte.
func keyPair(t *testing.T, b byte) (private, public string) {
	t.Helper()
	k, err := ecdh.X25519().NewPrivateKey(bytes.Repeat([]byte{b}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(k.Bytes()), base64.StdEncoding.EncodeToString(k.PublicKey().Bytes())
}

// tunnel writes a file of wg-quick's, and returns its path.
func (m *machine) tunnel(name, text string) string {
	m.t.Helper()
	path := filepath.Join(m.Dir, name+".conf")
	m.check(os.WriteFile(path, []byte(text), 0o600))
	return path
}

// hasWireGuard reports whether the kernel can make such a link.
func (m *machine) hasWireGuard() bool {
	if m.Host.Run("ip", "link", "add", "wg-probe", "type", "wireguard").Code != 0 {
		return false
	}
	m.do("ip link del wg-probe")
	return true
}

// TestWireGuard: two guests without any other interface reach each other by a tunnel between
// two sockets of the host; the same file again changes nothing, a changed one is a conflict
// that names no key, and what a killed run leaves is repaired.
func TestWireGuard(t *testing.T) {
	m := newMachine(t)
	if !m.hasWireGuard() {
		host.Lacking(t, "wireguard", "this kernel has no WireGuard")
	}
	web, db := m.named("web"), m.named("db")
	for _, g := range []*host.Guest{web, db} { // the kernel does, with the first such link (wg_open)
		m.check(g.Run("sysctl", "-qw", "net.ipv4.conf.all.send_redirects=0").Err())
	}
	check := m.unchanged(web, db)
	private1, public1 := keyPair(t, 1)
	private2, public2 := keyPair(t, 2)
	shared, _ := keyPair(t, 3)
	one := m.tunnel("one", fmt.Sprintf("[Interface]\nPrivateKey = %s\nAddress = 10.8.0.2/24, fd08::2/64\nListenPort = 51821\nFwMark = 0x51\nMTU = 1380\n"+
		"[Peer]\nPublicKey = %s\nPresharedKey = %s\nAllowedIPs = 0.0.0.0/0, ::/0\nEndpoint = localhost:51822\nPersistentKeepalive = 25\n", private1, public2, shared))
	two := m.tunnel("two", fmt.Sprintf("[Interface]\nPrivateKey = %s\nAddress = 10.8.0.1/24, fd08::1/64\nListenPort = 51822\n"+
		"[Peer]\nPublicKey = %s\nPresharedKey = %s\nAllowedIPs = 10.8.0.2/32, fd08::2/128, 10.7.0.0/24\n", private2, public1, shared))
	said := ""
	run := func(args ...string) string {
		t.Helper()
		r := m.ok(args...)
		said += r.Stdout + r.Stderr
		return r.Stdout
	}

	m.quiet("wireguard:"+one, "-i", "wg0", "netns:web")
	m.quiet("wireguard:"+two, "-i", "wg0", "netns:db")
	m.check(db.Run("ip", "address", "add", "10.99.0.1/32", "dev", "lo").Err())
	m.reaches(web, "10.8.0.1")
	m.reaches(web, "fd08::1")
	m.reaches(web, "10.99.0.1") // by the default route
	m.reaches(db, "10.8.0.2")
	if l := m.links(m.Host); len(l) != 1 {
		t.Errorf("the host has links: %v", l)
	}
	m.says("db's routes", db.Run("ip", "route").Stdout, "10.7.0.0/24 dev wg0")
	m.says("web's link", web.Run("ip", "-d", "link", "show", "wg0").Stdout, "wireguard", "mtu 1380")
	if a := m.attach("wireguard:"+one, "-i", "wg0", "netns:web"); *a.Changed {
		t.Errorf("the same line again: %+v", a)
	}
	if got := m.list("web"); len(got) != 1 || got[0].Host.Kind != "wireguard" || got[0].State != "complete" || len(got[0].Interface.Addresses) != 2 {
		t.Errorf("list: %+v", got)
	}

	text, err := os.ReadFile(one)
	m.check(err)
	m.tunnel("one", strings.ReplaceAll(strings.Replace(string(text), "= 25", "= 10", 1), private1, shared))
	f := m.fails("conflict", "wireguard:"+one, "-i", "wg0", "netns:web")
	m.says("a changed file", f.Error.Message, "private key another", "keepalive of peer 1 of the file 25", "asks for private key the file's")
	said += f.Error.Message + f.Error.Hint
	m.says("replace, as it would be", run("--replace", "--dry-run", "wireguard:"+one, "-i", "wg0", "netns:web"), "ip link del dev wg0", "gopipework wireguard:")
	m.tunnel("one", strings.Replace(string(text), "= 25", "= 10", 1))
	run("--replace", "wireguard:"+one, "-i", "wg0", "netns:web")
	m.reaches(web, "10.8.0.1")

	lab := m.topology("lab", "'wireguard:"+two+" -i wg0 netns:db'", "{to: 'wireguard:"+one+"', guest: 'netns:web', as: wg0}")
	run("apply", "-f", lab)
	m.differs(lab, 0)
	f = m.fails("conflict", "wireguard:"+two, "-i", "wg1", "netns:web", "10.9.0.1/24")
	m.says("a port that is taken", f.Error.Message, "has its ListenPort")

	m.check(web.Run("ip", "link", "set", "wg0", "alias", "", "down").Err()) // as a run that was killed leaves it
	m.says("half made", m.ok("list", "web").Stdout, "half")
	run("apply", "-f", lab)
	m.reaches(web, "10.8.0.1")
	m.ok("destroy", "-f", lab, "--yes")
	m.check(db.Run("ip", "address", "del", "10.99.0.1/32", "dev", "lo").Err())
	check("after destroy")
	for _, key := range []string{private1, private2, public1, public2, shared} {
		if strings.Contains(said, key) {
			t.Errorf("a key is in what was said:\n%s", said)
		}
	}
}

// TestWireGuardFile: a file that cannot be used is refused before anything is changed, and
// nothing of it is repeated; a kernel without WireGuard is named as the reason.
func TestWireGuardFile(t *testing.T) {
	m := newMachine(t)
	web := m.named("web")
	check := m.unchanged(web)
	private, public := keyPair(t, 1)
	well := "[Interface]\nPrivateKey = " + private + "\nAddress = 10.8.0.2/24\n[Peer]\nPublicKey = " + public + "\nAllowedIPs = 0.0.0.0/0\nEndpoint = 192.0.2.1:51820\n"
	for text, says := range map[string]string{
		strings.Replace(well, "[Peer]", "PostUp = iptables -A secret\n[Peer]", 1): "line 4: it has a command",
		strings.Replace(well, private, private[2:], 1):                            "line 2: PrivateKey is not 32 bytes",
		strings.Replace(well, "Address", "Secret", 1):                             "line 3: there is no such setting in [Interface]",
		strings.Replace(well, "192.0.2.1", "secret.invalid.", 1):                  "line 7: the name of the endpoint has no address",
		strings.Replace(well, "Address = 10.8.0.2/24\n", "", 1):                   "there is no Address",
		"root:secret:19000:0:99999:7:::\n":                                        "line 1: it is neither a section nor KEY = VALUE",
	} {
		f := m.fails("invalid|failed", "wireguard:"+m.tunnel("bad", text), "netns:web")
		m.says("the error", f.Error.Message, says)
		if all := f.Error.Message + f.Error.Hint; strings.Contains(strings.ToLower(all), "secret") || strings.Contains(all, private[2:]) {
			t.Errorf("something of the file is repeated: %s", all)
		}
	}
	m.fails("not_found", "wireguard:"+filepath.Join(m.Dir, "none.conf"), "netns:web")
	m.fails("invalid|failed", "wireguard:"+m.Dir, "netns:web")
	for _, line := range [][]string{{"dhcp"}, {"0/0"}, {"10.8.0.2/24@10.8.0.1"}, {"10.8.0.2/24", "--route", "10.0.0.0/8"}} {
		m.fails("usage", append([]string{"wireguard:" + m.tunnel("well", well), "netns:web"}, line...)...)
	}
	m.fails("usage", "wireguard:well.conf", "netns:web")
	m.fails("usage", "wireguard:"+m.tunnel("well", well), "netns:web", "-a", "6")
	named := "wireguard:" + m.tunnel("named", strings.Replace(well, "[Peer]", "DNS = 10.8.0.1\n[Peer]", 1))
	m.says("the hint", m.fails("unsupported", named, "netns:web").Error.Hint, "--dns none")
	m.says("without name servers", m.ok("--dry-run", named, "netns:web", "--dns", "none").Stdout, "type wireguard")

	file := m.tunnel("well", well)
	m.check(os.Chmod(file, 0o644))
	r := m.ok("--dry-run", "wireguard:"+file, "netns:web", "10.9.0.2/24", "--default", "keep")
	m.says("the warning", r.Stderr, "chmod 600 "+file)
	m.says("the commands", r.Stdout, "type wireguard", "wg setconf eth1 <(wg-quick strip "+file+")", "ip address add 10.9.0.2/24", "ip route add default dev eth1")
	if strings.Contains(r.Stdout+r.Stderr, private) || strings.Contains(r.Stdout, "10.8.0.2") {
		t.Errorf("the commands have a key, or an address that the line replaces:\n%v", r)
	}
	if !m.hasWireGuard() {
		f := m.fails("unsupported", "wireguard:"+file, "netns:web")
		m.says("the error", f.Error.Message, "the kernel has no WireGuard")
		m.says("the hint", f.Error.Hint, "CONFIG_WIREGUARD")
	}
	check("after the refusals")
}
