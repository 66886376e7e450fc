//go:build linux

package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/gopipework/gopipework/e2e/host"
)

// allocated are the addresses that host-local has given out in the network.
func (n cniNetwork) allocated() (all []string) {
	n.t.Helper()
	for _, name := range strings.Fields(n.do("ls /var/lib/cni/networks/" + n.name)) {
		if strings.HasPrefix(name, "10.") {
			all = append(all, name)
		}
	}
	return all
}

// ipamNetwork is a network whose addresses a plugin of the CNI project gives out.
func (c *cniMachine) ipamNetwork(ipam string) cniNetwork {
	n := c.cniNetwork(`"hostif": "brtest", "ipam": ` + ipam)
	n.env = []string{"CNI_PATH=" + c.parts}
	return n
}

// TestCNIHostLocal: the addresses come from a plugin, which has each verb, too. An ADD that
// fails costs none.
func TestCNIHostLocal(t *testing.T) {
	c := newCNIMachine(t)
	web, db := c.guest(), c.guest()
	n := c.ipamNetwork(`{"type": "host-local", "subnet": "10.7.0.0/24", "routes": [{"dst": "0.0.0.0/0"}, {"dst": "10.66.0.0/16", "gw": "10.7.0.9"}]}`)
	check := c.unchanged(web, db)
	r := n.ok("ADD", web)
	if len(r.IPs) != 1 || r.IPs[0].Address != "10.7.0.2/24" || r.IPs[0].Gateway != "10.7.0.1" || r.IPs[0].Interface != 1 || len(r.Routes) != 2 {
		t.Errorf("the result is %+v", r)
	}
	c.says("the routes", web.Run("ip", "route").Stdout, "default via 10.7.0.1", "10.66.0.0/16 via 10.7.0.9")
	n.in("CNI_PATH="+c.parts, "CNI_CONTAINERID=c2").ok("ADD", db)
	c.reaches(db, "10.7.0.2")
	n.ok("STATUS", web)

	prev := `"prevResult": {"cniVersion": "1.1.0", "interfaces": [{"name": "eth0", "mac": "` + c.links(web)["eth0"].MAC + `", "sandbox": "/x"}],
		"ips": [{"address": "10.7.0.2/24", "gateway": "10.7.0.1", "interface": 0}], "routes": [{"dst": "10.66.0.0/16", "gw": "10.7.0.9"}]}`
	n.with(prev).ok("CHECK", web)
	c.check(web.Run("ip", "route", "del", "10.66.0.0/16").Err())
	c.says("CHECK", n.with(prev).fails(101, "CHECK", web), "route to 10.66.0.0/16")
	c.says("CHECK", n.with(strings.Replace(prev, "10.7.0.2", "10.7.0.7", 1)).fails(101, "CHECK", web), "10.7.0.7")

	n.fails(101, "ADD", web) // and web keeps its address
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	c.check(err)
	defer full.Close()
	untold := n.in("CNI_PATH="+c.parts, "CNI_CONTAINERID=c3", "CNI_IFNAME=eth3").command("ADD", web)
	untold.Stdout = full
	if err := untold.Run(); err == nil || c.links(web)["eth3"].Name != "" {
		t.Errorf("an ADD that cannot answer: %v, with %v", err, c.links(web))
	}
	c.says("no way to the gateway", n.in("CNI_PATH="+c.parts, "CNI_CONTAINERID=c3", "CNI_IFNAME=eth3").with(`"routes": ["10.5.0.0/16,via 1.2.3.4"]`).fails(7, "ADD", web), "1.2.3.4")
	if got := n.allocated(); strings.Join(got, " ") != "10.7.0.2 10.7.0.3" {
		t.Errorf("host-local has given out %q", got)
	}
	for range 2 {
		n.ok("DEL", web)
		n.in("CNI_PATH="+c.parts, "CNI_CONTAINERID=c2", "CNI_NETNS=").ok("DEL", db)
	}
	if got := n.allocated(); got != nil {
		t.Errorf("host-local still has %q", got)
	}
	check("after DEL")

	c.says("both", n.with(`"address": "10.1.0.2/24"`).fails(7, "ADD", web), "host-local gives out the addresses")
	c.says("another name", n.with(`"ifname": "net1"`).fails(7, "ADD", web), "host-local knows the interface")
	c.says("an unknown plugin", c.ipamNetwork(`{"type": "frob"}`).fails(101, "ADD", web), "frob")
	check("after what was refused")
}

// TestCNIDelegates: what the plugin for addresses is told, and what becomes of its errors.
func TestCNIDelegates(t *testing.T) {
	m := newMachine(t)
	web := m.guest()
	check := m.unchanged(web)
	const script = `#!/bin/sh
echo "$CNI_COMMAND" >> $0.log
[ "$CNI_COMMAND" != GC ] || grep -q valid-attachments || exit 1
[ ! -e $0.$CNI_COMMAND ] || { cat $0.$CNI_COMMAND; exit 1; }
[ "$CNI_COMMAND" != ADD ] || echo '{"cniVersion": "1.1.0", "ips": [{"address": "10.7.0.2/24", "gateway": "10.7.0.1"}], "dns": {"nameservers": ["10.7.0.1"]}}'
`
	plugin := filepath.Join(m.Dir, "wherever")
	m.check(os.WriteFile(plugin, []byte(script), 0o755))
	n := m.cniNetwork(`"hostif": "brtest", "ipam": {"type": "wherever"}`)
	n.env = []string{"CNI_PATH=" + m.Dir}
	told := func(when string, want ...string) {
		t.Helper()
		log, _ := os.ReadFile(plugin + ".log")
		if got := strings.Fields(string(log)); strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("%s the plugin was asked for %q, want %q", when, got, want)
		}
		_ = os.Remove(plugin + ".log")
	}
	refuses := func(verb, code string) func() {
		m.check(os.WriteFile(plugin+"."+verb, []byte(`{"cniVersion": "1.1.0", "code": `+code+`, "msg": "not today"}`), 0o644))
		return func() { m.check(os.Remove(plugin + "." + verb)) }
	}

	if r := n.ok("ADD", web); r.IPs[0].Gateway != "10.7.0.1" || len(r.Routes) != 0 || r.DNS.Nameservers[0] != "10.7.0.1" {
		t.Errorf("the result is %+v", r)
	}
	told("for ADD", "ADD")
	n.ok("CHECK", web)
	told("for CHECK", "CHECK")
	n.ok("STATUS", web)
	told("for STATUS", "STATUS")
	n.ok("GC", web)
	told("for a GC without a list")
	n.with(`"cni.dev/valid-attachments": [{"containerID": "c1", "ifname": "eth0"}]`).ok("GC", web)
	n.with(`"cni.dev/attachments": [{"containerID": "c1", "ifname": "eth0"}]`).ok("GC", web) // as older callers call it
	told("for a GC", "GC", "GC")
	n.fails(101, "ADD", web)
	told("for an ADD of what is there")
	n.ok("DEL", web)
	told("for DEL", "DEL")

	n.with(`"routes": ["10.5.0.0/16,via 1.2.3.4"]`).fails(7, "ADD", web)
	told("for an ADD that fails later", "ADD", "DEL")
	m.check(os.WriteFile(plugin, []byte(strings.Replace(script, `[{"address"`, `[null, {"address"`, 1)), 0o755))
	m.says("a null", n.fails(101, "ADD", web), "null")
	told("for an ADD of which the answer makes no sense", "ADD", "DEL")
	m.check(os.WriteFile(plugin, []byte(strings.Replace(script, "echo '{", "echo 'frob {", 1)), 0o755))
	m.says("no JSON", n.fails(101, "ADD", web), "read addresses of wherever: ")
	told("for an ADD that it answers without JSON", "ADD", "DEL")
	m.check(os.WriteFile(plugin, []byte(script), 0o755))
	again := refuses("ADD", "11")
	m.says("the plugin's error", n.fails(11, "ADD", web), "wherever", "not today")
	told("for an ADD that it refuses", "ADD")
	again()
	n.ok("ADD", web)
	for _, c := range []struct {
		verb, its string
		code      int
	}{{"CHECK", "999", 101}, {"STATUS", "50", 50}, {"GC", "999", 101}, {"DEL", "999", 101}} {
		ends := refuses(c.verb, c.its)
		m.says("the plugin's error", n.with(`"cni.dev/valid-attachments": [{"containerID": "c1", "ifname": "eth0"}]`).fails(c.code, c.verb, web), "not today")
		ends()
	}
	check("after a DEL that the plugin has refused")

	// Interrupted while the plugin gives out an address.
	told("for what it has refused", "ADD", "CHECK", "STATUS", "GC", "DEL")
	sleeps := filepath.Join(m.Dir, "sleeps")
	m.check(os.WriteFile(sleeps, []byte(strings.Replace(script, "[ \"$CNI_COMMAND\" != ADD ] ||", "[ \"$CNI_COMMAND\" != ADD ] || exec sleep 60;", 1)), 0o755))
	slow := m.cniNetwork(`"hostif": "brtest", "ipam": {"type": "sleeps"}`)
	slow.env = n.env
	cmd := slow.command("ADD", web)
	m.check(cmd.Start())
	asked := func() bool { log, _ := os.ReadFile(sleeps + ".log"); return string(log) == "ADD\n" }
	if !host.Poll(host.Patience, asked) {
		t.Error("the plugin is not asked")
	}
	m.check(cmd.Process.Signal(syscall.SIGTERM))
	if _ = cmd.Wait(); cmd.ProcessState.ExitCode() != 143 {
		t.Errorf("interrupted, it exits with %d", cmd.ProcessState.ExitCode())
	}
	if log, _ := os.ReadFile(sleeps + ".log"); string(log) != "ADD\nDEL\n" {
		t.Errorf("interrupted, the plugin was asked for %q", log)
	}
	check("after an ADD that was interrupted")
	n.ok("DEL", web)
}

// TestCNIDHCP: the plugin dhcp asks for an address by the interface, which is there before,
// and releases it by the interface.
func TestCNIDHCP(t *testing.T) {
	c := newCNIMachine(t)
	router, web := c.router("brtest"), c.guest()
	c.dnsmasq(router, "--no-ping")
	check := c.unchanged(web)
	socket := filepath.Join(c.Dir, "dhcp.sock")
	daemon := c.Command(t.Context(), filepath.Join(c.parts, "dhcp"), "daemon", "-socketpath", socket)
	var log bytes.Buffer
	daemon.Stderr = &log
	c.check(daemon.Start())
	end := sync.OnceFunc(func() { _ = daemon.Process.Kill(); _ = daemon.Wait() })
	t.Cleanup(end)
	n := c.ipamNetwork(`{"type": "dhcp", "daemonSocketPath": "` + socket + `"}`)
	if !host.Poll(host.Patience, func() bool { _, err := os.Stat(socket); return err == nil }) {
		t.Fatal("the daemon of dhcp does not listen")
	}
	r := n.ok("ADD", web)
	if len(r.IPs) != 1 || !strings.HasPrefix(r.IPs[0].Address, "10.9.0.") || r.IPs[0].Gateway != "10.9.0.1" || c.leased(web, "eth0") == "" {
		t.Errorf("the result is %+v", r)
	}
	c.reaches(web, "10.9.0.1")
	c.says("the routes", web.Run("ip", "route").Stdout, "default via 10.9.0.1")
	n.ok("CHECK", web)
	n.ok("DEL", web)
	n.ok("DEL", web)
	check("after DEL")
	end()
	if said := log.String(); !strings.Contains(said, "releasing lease") || strings.Contains(said, "failed") {
		t.Errorf("the daemon of dhcp says: %s", said)
	}
}
