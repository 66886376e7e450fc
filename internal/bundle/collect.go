package bundle

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/gopipework/gopipework/internal/hosttool"
	"github.com/gopipework/gopipework/internal/nsfs"
	"github.com/gopipework/gopipework/internal/plainfile"
	"golang.org/x/sys/unix"
)

// Place is a network namespace whose facts are collected.
type Place struct {
	Name string   // of its folder in the archive: "host", "guest", "to"
	NS   *os.File // nil: that of this process
	Host bool     // it has the switches
}

const (
	most     = 4 << 20          // bytes of one file
	patience = 30 * time.Second // for all of them
)

// command is a program of the host, and the file that has what it prints. None of them
// changes anything.
type command struct {
	file  string
	words string
	host  bool // it is run on the host alone
}

var commands = []command{
	{file: "links.txt", words: "ip -d -s link show"},
	{file: "addresses.txt", words: "ip address show"},
	{file: "routes.txt", words: "ip route show table all"},
	{file: "routes6.txt", words: "ip -6 route show table all"},
	{file: "rules.txt", words: "ip rule show"},
	{file: "rules6.txt", words: "ip -6 rule show"},
	{file: "neighbours.txt", words: "ip -s neigh show"},
	{file: "queues.txt", words: "tc -s qdisc show"},
	{file: "ports.txt", words: "bridge -d link show"},
	{file: "fdb.txt", words: "bridge -s fdb show"},
	{file: "vlans.txt", words: "bridge -d vlan show"},
	{file: "multicast.txt", words: "bridge -d mdb show"},
	{file: "nftables.txt", words: "nft -n list ruleset"},
	{file: "iptables.txt", words: "iptables-save -c"},
	{file: "ip6tables.txt", words: "ip6tables-save -c"},
	{file: "ebtables.txt", words: "ebtables-save"},
	// Not "show" and all columns: the options of a tunnel may be its keys.
	{file: "openvswitch.txt", words: "ovs-vsctl -t 2 --columns=name,datapath_type,fail_mode,stp_enable,rstp_enable,ports,controller list Bridge", host: true},
	{file: "openvswitch-ports.txt", words: "ovs-vsctl -t 2 --columns=name,tag,trunks,vlan_mode,interfaces,status list Port", host: true},
	{file: "openvswitch-interfaces.txt", words: "ovs-vsctl -t 2 --columns=name,type,ofport,error,admin_state,link_state,mac_in_use,mtu,statistics list Interface", host: true},
}

// Collect collects the facts of some places, and of the kernel. What cannot be read says
// so in its file.
func Collect(ctx context.Context, places ...Place) []File {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	files := []File{{"kernel.txt", kernel()}}
	for _, p := range places {
		add := func(name string, data []byte) {
			if len(data) > most {
				data = append(data[:most:most], "\n[cut off here]\n"...)
			}
			files = append(files, File{p.Name + "/" + name, data})
		}
		err := p.run(func() error {
			for _, c := range commands {
				if c.host && !p.Host {
					continue
				}
				if data, ok := c.run(ctx); ok {
					add(c.file, data)
				}
			}
			add("sysctls.txt", sysctls())
			if p.Host {
				add("flows.txt", flows(ctx))
			}
			return nil
		})
		if err != nil {
			add("error.txt", []byte(err.Error()+"\n"))
		}
	}
	return files
}

// run calls f in the place.
func (p Place) run(f func() error) error {
	if p.NS == nil {
		return f()
	}
	t, err := nsfs.Enter(p.NS)
	if err != nil {
		return err
	}
	defer t.End()
	return t.Run(f)
}

// run returns what the program prints; ok is false if the host does not have it, or it is
// one of old iptables that would load the kernel's tables.
func (c command) run(ctx context.Context) (data []byte, ok bool) {
	words := strings.Fields(c.words)
	bin, err := exec.LookPath(words[0])
	if err != nil {
		return nil, false
	}
	if real, err := filepath.EvalSymlinks(bin); err == nil && strings.Contains(real, "legacy") && !inUse(words[0]) {
		return []byte("# not in use\n"), true
	}
	out, err := hosttool.Run(ctx, bin, words[1:]...)
	text := "# " + c.words + "\n" + out
	if err != nil {
		text += "# " + err.Error() + "\n"
	}
	return []byte(text), true
}

// inUse reports whether the tables that such a program reads are there already.
func inUse(program string) bool {
	if strings.HasPrefix(program, "ebtables") {
		tables, _ := filepath.Glob("/sys/module/ebtable_*")
		return len(tables) > 0
	}
	list := "/proc/thread-self/net/ip_tables_names"
	if strings.HasPrefix(program, "ip6") {
		list = "/proc/thread-self/net/ip6_tables_names"
	}
	b, err := os.ReadFile(list)
	return err == nil && len(b) > 0
}

// flows are those of each Open vSwitch bridge.
func flows(ctx context.Context) []byte {
	var out bytes.Buffer
	list, _ := command{words: "ovs-vsctl -t 2 list-br"}.run(ctx)
	for line := range strings.Lines(string(list)) {
		if name := strings.TrimSpace(line); name != "" && !strings.HasPrefix(name, "#") {
			data, _ := command{words: "ovs-ofctl -t 2 dump-flows " + name}.run(ctx)
			out.Write(data)
		}
	}
	return out.Bytes()
}

// sysctls are the network's of the calling thread's namespace, but for those of the
// neighbour tables of each interface.
func sysctls() []byte {
	var out bytes.Buffer
	for _, dir := range []string{"ipv4", "ipv6", "bridge"} {
		filepath.WalkDir("/proc/sys/net/"+dir, func(path string, d os.DirEntry, err error) error {
			switch {
			case err != nil || out.Len() > most:
				return nil
			case d.IsDir() && d.Name() == "neigh":
				return filepath.SkipDir
			case d.IsDir() || strings.Contains(d.Name(), "secret") || strings.Contains(d.Name(), "fastopen_key"):
				return nil
			}
			if b, err := plainfile.ReadFile(path, 4096); err == nil {
				fmt.Fprintf(&out, "%s = %s\n", strings.TrimPrefix(path, "/proc/sys/"), bytes.TrimSpace(b))
			}
			return nil
		})
	}
	return out.Bytes()
}

// features are the options of the kernel that matter here.
const features = `^(# )?CONFIG_(BRIDGE|NETFILTER|NF_|NFT_|IP_NF|IP6_NF|VLAN|MACVLAN|IPVLAN|VETH|DUMMY|OPENVSWITCH|NET_NS|NET_SCH_(NETEM|TBF|HTB|INGRESS)|BONDING|TUN|IPV6)[A-Z0-9_]*[ =]`

// kernel is the kernel's release, its options that matter, and its modules.
func kernel() []byte {
	var out bytes.Buffer
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		fmt.Fprintf(&out, "%s %s\n", unix.ByteSliceToString(name.Release[:]), unix.ByteSliceToString(name.Machine[:]))
	}
	if b, err := plainfile.ReadFile("/boot/config-"+unix.ByteSliceToString(name.Release[:]), most); err == nil {
		matters := regexp.MustCompile(features)
		for line := range strings.Lines(string(b)) {
			if matters.MatchString(line) {
				out.WriteString(line)
			}
		}
	}
	if b, err := os.ReadFile("/proc/modules"); err == nil {
		var modules []string
		for line := range strings.Lines(string(b)) {
			modules = append(modules, strings.Fields(line)[0])
		}
		slices.Sort(modules)
		fmt.Fprintf(&out, "modules: %s\n", strings.Join(modules, " "))
	}
	return out.Bytes()
}
