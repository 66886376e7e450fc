//go:build linux

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gopipework/gopipework/e2e/host"
)

// TestCNI: each verb does what the specification says, in each version.
func TestCNI(t *testing.T) {
	m := newMachine(t)
	web, other := m.named("web"), m.guest()
	check := m.unchanged(web, other)
	n := m.cniNetwork(cniKeys)
	for _, version := range []string{"0.3.1", "0.4.0", "1.0.0", "1.1.0"} {
		n.version = version
		r := n.with(`"dns": {"nameservers": ["10.1.0.1"]}`).ok("ADD", web)
		in := r.Interfaces[len(r.Interfaces)-1]
		if r.CNIVersion != version || in.Name != "eth0" || in.Sandbox != web.Path() || in.Mac != m.links(web)["eth0"].MAC {
			t.Errorf("in %s: %+v", version, r)
		}
		if len(r.IPs) != 1 || r.IPs[0].Address != "10.1.0.2/24" || r.IPs[0].Gateway != "10.1.0.1" || r.IPs[0].Interface != 1 ||
			(r.IPs[0].Version == "4") == strings.HasPrefix(version, "1.") {
			t.Errorf("in %s: %+v", version, r.IPs)
		}
		if len(r.Routes) != 2 || r.Routes[0].Dst != "0.0.0.0/0" || r.Routes[1].GW != "10.1.0.9" || !slices.Equal(r.DNS.Nameservers, []string{"10.1.0.1"}) {
			t.Errorf("in %s: %+v", version, r)
		}
		n.ok("DEL", web)
		check("after a DEL in " + version)
	}
	n.ok("STATUS", other)
	m.cniNetwork(`"hostif": "brtest"`).ok("STATUS", other) // ADD comes with addresses, or with a card
	m.cniNetwork(`"address": "10.1.0.2/24"`).ok("STATUS", other)
	if r := n.in("CNI_NETNS=dummy", "CNI_CONTAINERID=").call("VERSION", other); r.Code != 0 || !strings.Contains(r.Stdout, `"supportedVersions":["0.3.1","0.4.0","1.0.0","1.1.0"]`) {
		t.Error(r)
	}

	// What is there is marked, and is known to the other commands.
	n.ok("ADD", web)
	n.ok("CHECK", web)
	if l := m.list(); len(l) != 1 || l[0].Origin != "cni:lab" || l[0].Guest.Runtime != "cni" || l[0].Guest.Name != web.Path() || l[0].State != "complete" {
		t.Errorf("the list is %+v", l)
	}
	m.says("the port", m.sh("ip link show type veth"), "altname gopipework.cni.")
	m.says("STATUS", n.with(`"hostif": "nowhere"`).fails(51, "STATUS", web), "nowhere")
	m.says("a second ADD", n.fails(101, "ADD", web), "eth0 already", "10.1.0.2/24")
	m.check(web.Run("ip", "route", "del", "10.9.0.0/16").Err())
	m.says("CHECK", n.fails(101, "CHECK", web), "10.9.0.0/16")
	m.check(web.Run("ip", "route", "add", "10.9.0.0/16", "via", "10.1.0.9", "dev", "eth0", "protocol", "103").Err())
	n.ok("CHECK", web)
	m.says("CHECK", n.fails(101, "CHECK", other), "it is not there")

	// However little DEL is told, and however often.
	for _, env := range [][]string{{"CNI_NETNS="}, {"CNI_CONTAINERID=c2"}, {"CNI_NETNS=/nowhere"}} {
		n.in(env...).ok("DEL", web)
		check(fmt.Sprintf("after a DEL with %q", env))
		n.in(env...).ok("DEL", web)
		n.ok("ADD", web)
	}
	// What another container has goes only if the one that is named has nothing.
	c3 := n.in("CNI_CONTAINERID=c3").with(`"address": "10.1.0.3/24"`)
	c3.ok("ADD", other)
	n.ok("DEL", other)
	c3.ok("CHECK", other)
	c3.ok("DEL", web)
	n.ok("ADD", web)
	// What others have made is none of its: another network, and another line.
	another := n
	another.name = "another"
	another.ok("DEL", web)
	another.with(`"cni.dev/valid-attachments": []`).ok("GC", web)
	n.ok("CHECK", web)
	n.ok("DEL", web)
	m.quiet("brtest", web.Path(), "-i", "eth0", "10.1.0.2/24")
	m.check(other.Run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "peer0").Err())
	n.fails(101, "ADD", other)
	for _, g := range []*host.Guest{web, other} {
		n.ok("DEL", g)
		if _, there := m.links(g)["eth0"]; !there {
			t.Errorf("DEL has deleted eth0 of %s, which is not its", g.Word)
		}
	}
	m.quiet("detach", web.Path())
	m.check(other.Run("ip", "link", "del", "eth0").Err())
	check("in the end")
}

// TestCNIGC: GC detaches what the caller does not name, and nothing if the caller names
// nothing; and it cleans up after dead guests.
func TestCNIGC(t *testing.T) {
	m := newMachine(t)
	web, db := m.named("web"), m.named("db")
	n := m.cniNetwork(cniKeys)
	add := func() {
		n.ok("ADD", web)
		n.in("CNI_CONTAINERID=c2").with(`"address": "10.1.0.3/24"`).ok("ADD", db)
	}
	left := func(when string, want ...string) {
		t.Helper()
		var got []string
		same := func() bool { // the kernel takes its time with a namespace that goes
			got = nil
			for _, a := range m.list() {
				got = append(got, a.Guest.Name)
			}
			slices.Sort(got)
			return slices.Equal(got, want)
		}
		if !host.Poll(host.Patience, same) {
			t.Errorf("%s there is %q, want %q", when, got, want)
		}
	}
	check := m.unchanged(web, db)
	add()
	n.ok("GC", web)
	left("after a GC without a list", db.Path(), web.Path())
	list := `"cni.dev/valid-attachments": [{"containerID": "c2", "ifname": "eth0"}, {"containerID": "c1", "ifname": "eth1"}]`
	n.with(list).ok("GC", web)
	left("after a GC that keeps c2", db.Path())
	n.with(strings.Replace(list, "valid-", "", 1)).ok("GC", web) // as older callers call it
	left("after the same in older words", db.Path())
	n.with(`"cni.dev/valid-attachments": null`).ok("GC", web)
	left("after a GC that keeps nothing")
	check("after GC")
	add()
	m.check(web.Kill())
	m.check(db.Kill())
	left("when the guests are dead")
	n.ok("GC", web)
	n.in("CNI_CONTAINERID=c2").ok("DEL", db)
	if _, there := m.links(m)["brtest"]; there {
		t.Error("brtest is left")
	}
}

// TestCNIRefused: what makes no sense is refused with the code of the specification, and
// nothing is changed.
func TestCNIRefused(t *testing.T) {
	m := newMachine(t)
	web := m.guest()
	check := m.unchanged(web)
	n := m.cniNetwork(cniKeys)
	for _, c := range []struct {
		code  int
		verb  string
		keys  string
		env   string
		says  string
		again string // version
	}{
		{1, "ADD", `"x": 1`, "", "0.3.1, 0.4.0, 1.0.0, 1.1.0", "0.2.0"},
		{1, "GC", `"x": 1`, "", "GC", "1.0.0"},
		{1, "STATUS", `"x": 1`, "", "STATUS", "1.0.0"},
		{1, "CHECK", `"x": 1`, "", "CHECK", "0.3.1"},
		{4, "FROB", `"x": 1`, "", "CNI_COMMAND", ""},
		{4, "ADD", `"x": 1`, "CNI_CONTAINERID=", "CNI_CONTAINERID", ""},
		{4, "ADD", `"x": 1`, "CNI_IFNAME=a/b", "CNI_IFNAME", ""},
		{4, "ADD", `"x": 1`, "CNI_NETNS=12", "CNI_NETNS", ""},
		{4, "ADD", `"x": 1`, "CNI_NETNS=/etc/passwd", "/etc/passwd", ""},
		{4, "ADD", `"x": 1`, "CNI_NETNS=/proc/self/ns/net", "CNI_NETNS", ""},
		{4, "ADD", `"x": 1`, "CNI_ARGS=frob", "CNI_ARGS", ""},
		{6, "ADD", `"hostif": 5`, "", "hostif", ""},
		{6, "ADD", `"prevResult": {"cniVersion": "1.1.0", "ips": 1}`, "", "prevResult", ""},
		{6, "ADD", `"prevResult": {"cniVersion": "1.1.0", "ips": [null]}`, "", "null", ""},
		{6, "GC", `"cni.dev/valid-attachments": [{"container_id": "c1", "ifname": "eth0"}]`, "", "valid-attachments", ""},
		{6, "GC", `"cni.dev/valid-attachments": 1`, "", "valid-attachments", ""},
		{7, "ADD", `"hostif": ""`, "", "hostif", ""},
		{7, "ADD", `"hostif": "frob:br"`, "", "kind", ""},
		{7, "ADD", `"address": ""`, "", "address", ""},
		{7, "ADD", `"address": "10.1.0.0/24"`, "", "10.1.0.0", ""},
		{7, "ADD", `"vlan": "5000"`, "", "5000", ""},
		{7, "ADD", `"mode": "frob"`, "", "frob", ""},
		{7, "ADD", `"routes": ["frob"]`, "", "frob", ""},
		{7, "ADD", `"runtimeConfig": {"ips": ["192.168.1.2"]}`, "", "prefix length", ""},
		{7, "ADD", `"name": "a/b"`, "", "name", ""},
		{11, "ADD", `"hostif": "ovs:lab"`, "", "Open vSwitch", ""},
		{50, "STATUS", `"hostif": "ovs:lab"`, "", "Open vSwitch", ""},
		{50, "STATUS", `"hostif": "nowhere"`, "", "nowhere", ""},
		{103, "ADD", `"hostif": "nowhere"`, "", "nowhere", ""},
	} {
		n := n.with(c.keys)
		if n.version = "1.1.0"; c.again != "" {
			n.version = c.again
		}
		if c.env != "" {
			n = n.in(c.env)
		}
		m.says(c.verb+" with "+c.keys+" "+c.env, n.fails(c.code, c.verb, web), c.says)
	}
	check("in the end")
}

// TestCNITool: cnitool, which stands for any engine, has each verb done in a version, with
// addresses from each plugin.
func TestCNITool(t *testing.T) {
	c := newCNIMachine(t)
	web := c.guest()
	check := c.unchanged(web)
	for _, version := range []string{"1.0.0", "1.1.0"} {
		for name, keys := range map[string]string{
			"own":        cniKeys,
			"host-local": `"hostif": "brtest", "ipam": {"type": "host-local", "subnet": "10.7.0.0/24"}`,
			"static":     `"hostif": "brtest", "ipam": {"type": "static", "addresses": [{"address": "10.7.0.2/24", "gateway": "10.7.0.1"}], "routes": [{"dst": "0.0.0.0/0"}]}`,
		} {
			text := fmt.Sprintf(`{"cniVersion": "1.0.0", "cniVersions": ["1.0.0", %q], "name": %q, "plugins": [{"type": "gopipework", %s}]}`, version, name, keys)
			c.check(os.WriteFile(c.confs+"/"+name+".conflist", []byte(text), 0o644))
			verbs := []string{"add", "check", "del", "del"}
			if version == "1.1.0" {
				verbs = []string{"status", "add", "check", "gc", "del", "del"}
			}
			for _, verb := range verbs {
				r := c.cnitool(verb, name, web)
				if c.check(r.Err()); verb == "add" && !strings.Contains(r.Stdout, `"cniVersion": "`+version+`"`) {
					t.Errorf("in %s: %v", version, r)
				}
			}
		}
		check("after all in " + version)
	}
}

// TestCNIAtOnce: 64 ADDs at the same time, for 16 containers, and as many DELs; each
// interface has another address.
func TestCNIAtOnce(t *testing.T) {
	c := newCNIMachine(t)
	n := c.ipamNetwork(`{"type": "host-local", "subnet": "10.7.0.0/24"}`)
	var guests []*host.Guest
	for i := range 16 {
		guests = append(guests, c.named(fmt.Sprint("g", i)))
	}
	check := c.unchanged(guests[0])
	addrs := map[string]bool{}
	all := func(verb string) {
		began := time.Now()
		var mu sync.Mutex
		var calls sync.WaitGroup
		for i, g := range guests {
			for _, ifName := range []string{"eth0", "eth1", "eth2", "eth3"} {
				calls.Go(func() {
					r := n.in("CNI_PATH="+c.parts, fmt.Sprint("CNI_CONTAINERID=c", i), "CNI_IFNAME="+ifName).call(verb, g)
					mu.Lock()
					defer mu.Unlock()
					var result cniResult
					if err := json.Unmarshal([]byte(r.Stdout), &result); r.Code != 0 || verb == "ADD" && err != nil {
						t.Error(r)
					} else if verb == "ADD" {
						addrs[result.IPs[0].Address] = true
					}
				})
			}
		}
		calls.Wait()
		t.Logf("64 times %s at once: %v", verb, time.Since(began))
	}
	all("ADD")
	if l := c.list(); len(addrs) != 64 || len(l) != 64 {
		t.Errorf("%d addresses, and %d attachments", len(addrs), len(l))
	}
	all("DEL")
	check("after 64 DELs at once")
	if got := n.allocated(); got != nil {
		t.Errorf("host-local still has %q", got)
	}
}

// TestCNILease: the process that keeps a lease of our own holds neither stdout nor stderr
// open, for which an engine would wait; and DEL needs no namespace to release it.
func TestCNILease(t *testing.T) {
	m := newMachine(t)
	router := m.router("brtest")
	m.dnsmasq(router, "--no-ping")
	check := m.unchanged(router)
	n := m.cniNetwork(`"hostif": "brtest", "address": "dhcp"`)
	for _, ends := range []func(*host.Guest){
		func(g *host.Guest) { n.ok("DEL", g) },
		func(g *host.Guest) { n.in("CNI_NETNS=").ok("DEL", g) },
		func(g *host.Guest) { m.check(g.Kill()); n.ok("DEL", g) },
	} {
		web := m.named("web")
		out, in, err := os.Pipe()
		m.check(err)
		cmd := n.command("ADD", web)
		cmd.Stdout, cmd.Stderr = in, in
		m.check(cmd.Run())
		in.Close()
		m.check(out.SetReadDeadline(time.Now().Add(time.Minute)))
		text, err := io.ReadAll(out)
		out.Close()
		var result cniResult
		m.check(errors.Join(err, json.Unmarshal(text, &result)))
		if len(result.IPs) != 1 || !strings.HasPrefix(result.IPs[0].Address, "10.9.0.") || result.IPs[0].Gateway != "10.9.0.1" {
			t.Errorf("the result is %s", text)
		}
		n.ok("CHECK", web)
		ends(web)
		if !host.Poll(host.Patience, func() bool { return len(m.OwnFiles()) == 0 }) {
			t.Errorf("files are left: %q", m.OwnFiles())
		}
		_ = web.Kill()
		check("after DEL")
	}
}

// TestCNIDevice: the caller chooses a card by its PCI address, which goes before hostif; the
// container gets it, and DEL returns it.
func TestCNIDevice(t *testing.T) {
	m := newMachine(t)
	web := m.guest()
	m.card("nic0")
	m.do("ip link set wire-nic0 up")
	m.sh("mount -t tmpfs pci /sys/bus/pci/devices; mkdir -p /sys/bus/pci/devices/0000:03:00.0/net/nic0")
	n := m.cniNetwork(cniKeys)
	device := n.with(`"runtimeConfig": {"deviceID": "0000:03:00.0"}`)
	device.ok("ADD", web)
	if l := m.list(); len(l) != 1 || l[0].Host.Kind != "phys" || l[0].Host.Name != "nic0" {
		t.Errorf("the list is %+v", l)
	}
	device.ok("CHECK", web)
	device.ok("DEL", web)
	if _, there := m.links(m)["nic0"]; !there {
		t.Error("nic0 is not returned")
	}
	m.says("no card", n.with(`"runtimeConfig": {"deviceID": "0000:04:00.0"}`).fails(7, "ADD", web), "0000:04:00.0")
}

// TestCNIOverride: a caller runs the plugin in the container's namespace, and says so: the
// host is that of process 1.
func TestCNIOverride(t *testing.T) {
	m := newMachine(t)
	web := m.named("web")
	check := m.unchanged(web)
	call := func(verb string, env ...string) host.Result {
		cmd := m.cniNetwork(cniKeys).in(env...).command(verb, web)
		script := `nsenter --net=` + web.Path() + ` "$@"; exit`
		at := slices.Index(cmd.Args, "gopipework")
		cmd.Args = slices.Concat(cmd.Args[:at], []string{"unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", script, "sh"}, cmd.Args[at:])
		return host.Finish(cmd, cmd.Args)
	}
	if r := call("ADD"); r.Code == 0 || !strings.Contains(r.Stdout, `"code":4`) {
		t.Error(r)
	}
	for _, verb := range []string{"ADD", "CHECK", "DEL"} {
		m.check(call(verb, "CNI_NETNS_OVERRIDE=1").Err())
		if there := len(m.links(m)); verb == "ADD" && there != 3 { // lo, the bridge and the port
			t.Errorf("after ADD the host has %d links", there)
		}
	}
	check("after DEL")
}

// TestExampleCNI: the network of the example does what it says.
func TestExampleCNI(t *testing.T) {
	c := newCNIMachine(t)
	web, db := c.guest(), c.guest()
	c.do("cp " + exampleFile(t, "cni.conflist") + " " + c.confs)
	for _, g := range []*host.Guest{web, db} {
		c.check(c.cnitool("add", "lab", g).Err())
	}
	c.reaches(db, "10.7.0.2")
	c.says("the routes", web.Run("ip", "route").Stdout, "default via 10.7.0.1")
}
