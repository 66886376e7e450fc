package hostclient

import (
	"slices"
	"strings"
	"syscall"
)

// A client is a program of the host that speaks DHCP.
type client struct {
	pkg     string   // of Debian
	plain   []string // options that may be given to it, and
	valued  []string // those that a value follows
	command func(Run) []string
	release func(Run) []string // releases the lease when the client has ended; nil: it does so itself when it is ended
	config  func(Run) string   // its configuration file; nil: it has none
	read    func(map[string]string) (change, error)

	always bool           // it stays without being told to
	ends   syscall.Signal // what ends it; 0: SIGTERM
}

// clients are those that can be run, by their names.
var clients = map[string]client{
	"udhcpc": {
		pkg:     "udhcpc",
		plain:   []string{"-B", "-C", "-o", "-a"},
		valued:  []string{"-t", "-T", "-A", "-r", "-V", "-F", "-x", "-O"},
		command: udhcpc,
		read:    readUdhcpc,
	},
	"dhclient": {
		pkg:     "isc-dhcp-client",
		plain:   []string{"-v", "-q", "-1", "-i", "-I", "-nc"},
		valued:  []string{"-H", "-F", "-V", "-C", "-R", "--timeout"},
		command: dhclient,
		release: dhclientRelease,
		config:  dhclientConfig,
		read:    readDhclient,
	},
	"dhcpcd": {
		pkg:     "dhcpcd5",
		plain:   []string{"-A", "-D"},
		valued:  []string{"-h", "-I", "-i", "-r", "-t", "-l", "-F", "-u", "-v", "-o", "-O"},
		command: dhcpcd,
		config:  func(Run) string { return "" },
		read:    readDhcpcd,
		always:  true,
		ends:    syscall.SIGALRM, // as dhcpcd -k does: it releases its lease
	},
}

// udhcpc asks for option 121 and the MTU, which are not among what it asks for
// by itself. With -R it releases its lease when it is ended.
func udhcpc(r Run) []string {
	args := []string{"udhcpc", "-f", "-n", "-i", r.IfName, "-s", scriptPath, "-p", scratch + "/pid", "-O", "staticroutes", "-O", "mtu"}
	named := slices.ContainsFunc(r.Ask.Options, func(w string) bool { return strings.HasPrefix(w, "hostname:") })
	if r.Hostname != "" && !named {
		args = append(args, "-x", "hostname:"+r.Hostname)
	}
	if r.Ask.Stays {
		args = append(args, "-R")
	} else {
		args = append(args, "-q")
	}
	return append(args, r.Ask.Options...)
}

func dhclient(r Run) []string {
	args := []string{"dhclient", "-4", "-d", "-pf", scratch + "/pid", "-lf", leasesPath, "-cf", configPath, "-sf", scriptPath}
	return append(append(args, r.Ask.Options...), r.IfName)
}

// dhclientRelease has no pid file to read: the client has ended, and its number
// is another's by then.
func dhclientRelease(r Run) []string {
	args := []string{"dhclient", "-4", "-r", "-pf", scratch + "/none", "-lf", leasesPath, "-cf", configPath, "-sf", scriptPath}
	return append(append(args, r.Ask.Options...), r.IfName)
}

// dhclientConfig is dhclient.conf(5). A hostname has no characters that mean
// something there.
func dhclientConfig(r Run) string {
	c := "option classless-routes code 121 = array of unsigned integer 8;\n" +
		"request subnet-mask, classless-routes, routers, interface-mtu;\n" +
		"initial-interval 1;\n"
	if r.Hostname != "" && !slices.Contains(r.Ask.Options, "-H") {
		c += `send host-name "` + r.Hostname + "\";\n"
	}
	return c
}

// dhcpcd sets the address itself, and no default route: that goes in front of
// the one that is there.
func dhcpcd(r Run) []string {
	args := []string{"dhcpcd", "-B", "-4", "-G", "-L", "-f", configPath, "-c", scriptPath,
		"-o", "classless_static_routes", "-o", "routers", "-o", "interface_mtu"}
	if r.Hostname != "" && !slices.Contains(r.Ask.Options, "-h") {
		args = append(args, "-h", r.Hostname)
	}
	return append(append(args, r.Ask.Options...), r.IfName)
}
