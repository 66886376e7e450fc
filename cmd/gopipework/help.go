package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/urfave/cli/v2"
)

const synopsis = `gopipework [flags] HOSTIF [-i IFNAME] [-l HOSTNAME] [-a FAMILY] GUEST ADDRESS[@GATEWAY] [MAC][@VLAN]`

const overview = `gopipework plugs one more network interface into a container that is already
running, and returns once packets can flow.

  ` + synopsis + `

  gopipework brtest web 192.168.1.2/24                  # a bridge, made if it is not there
  gopipework eth0 web dhcp                              # a macvlan on a card of the host
  gopipework brtest web 192.168.1.2/24@192.168.1.1 @10  # a gateway, and VLAN 10
  gopipework doctor web --to db                         # why packets do not flow
`

const moreHelp = `
gopipework help COMMAND explains a command and its flags, gopipework help words the words of
an attach (HOSTIF, GUEST, ADDRESS, MAC, VLAN) and the exit codes. All of it: man gopipework.
`

// wordsName is the topic of help that is no command.
const wordsName = "words"

const wordsHelp = `
HOSTIF   What to plug the guest into. A Linux bridge (br* is created if it does not
         exist; bridge:NAME creates one of any name), an Open vSwitch bridge (ovs*,
         ovs:NAME), or a network card, on which the guest gets a macvlan. To choose
         the kind: macvlan:NAME, macvtap:NAME, ipvlan:NAME, vlan:NAME, ipoib:NAME, or
         phys:NAME for the card itself. host:NAME: a pair whose other end, NAME, stays on the
         host. wireguard:FILE: a tunnel, as a file of wg-quick's describes it; ADDRESS
         may be left out. dummy: an interface that leads nowhere. mac:ADDRESS: the card
         that has this MAC address.
GUEST    The name, ID or ID prefix of a Docker container, else a guest of another
         engine on this machine, else a name under /run/netns. To say which:
         docker:NAME, podman:NAME, containerd:ID, lxc:NAME, incus:NAME,
         machine:NAME, cri:ID, compose:PROJECT/SERVICE, pid:N, netns:NAME, or the path
         of a network namespace.
ADDRESS  192.168.1.2/24 or 2001:db8::2/64, several separated by commas; 0/0 for none.
         From the network: dhcp, dhcp:OPTION=VALUE,..., dhcp6 or slaac. The options
         are hostname, client-id, request, vendor-class, timeout, default-route=no,
         and lease and prefix for servers that send neither. udhcpc, dhclient and
         dhcpcd run the host's client of that name, with :OPTIONS for its command
         line. dhcpcd, udhcpc-f and dhclient-f keep renewing the lease.
GATEWAY  The new default route: IPv4, IPv6, or both separated by a comma.
MAC      26:2e:71:98:60:8f, U:TEXT to derive one from the text, or U: from the names
         of the guest and the interface, as an attachment that stays has it anyway.
VLAN     On a bridge @10 (untagged), @10,20-30 (untagged 10, tagged 20 to 30) or
         @10t (tagged only). On a network card one tag. On an IPoIB device the
         partition key, in hex.
`

const exits = `
Exit codes: 0 done, or nothing to do; 1 refused, or in conflict with what is there,
and nothing was changed (of apply and destroy, the other entries stand); 2 the command
line makes no sense; 3 the guest or interface does not exist or is not running; 4 root
is needed; 5 failed, and what could not be undone is listed; 6 this kernel or host lacks
the feature; 126, 127 exec cannot run the program, or does not find it; 129, 130, 143
interrupted, and undone first (what apply and destroy had finished stands). diff: 2 if
there is a difference.
`

const summary = `usage: ` + synopsis + `
       gopipework detach GUEST [IFNAME]
       gopipework link GUEST[:IFNAME] ADDRESS GUEST[:IFNAME] ADDRESS
       gopipework list [GUEST] [-o wide|json|name]
       gopipework set GUEST IFNAME --rate-out 10mbit ...
       gopipework doctor GUEST [IFNAME] [--to ADDRESS|GUEST[:IFNAME]] [--fix]
       gopipework exec GUEST -- COMMAND...
       gopipework route|rule|tc GUEST ARGS...
       gopipework capture GUEST IFNAME [-w FILE] [FILTER...]
       gopipework wait GUEST [IFNAME]
       gopipework --wait [-i IFNAME] [-- COMMAND...]
       gopipework apply -f FILE... | --kept | --from FORMAT FILE | --schema
       gopipework diff -f FILE... | --kept
       gopipework destroy -f FILE... | --kept | NAME
       gopipework watch [-f FILE...] [--labels]
       gopipework events
       gopipework confirm [NAME]
       gopipework gc
       gopipework forget GUEST [IFNAME] | --all
       gopipework import [GUEST]
       gopipework graph [GUEST...] [--serve ADDRESS]
       gopipework compose --project-name NAME up|down SERVICE
       gopipework policy check [GUEST LINE]
       gopipework hook
       gopipework runtime ARGS...
       gopipework evpn-config --reflector ADDRESS...
       gopipework completion bash|zsh|fish
       gopipework help [COMMAND|words]
       gopipework version
`

// usage prints a summary on stderr, for a command line without any words.
func (o *output) usage() {
	if o.json {
		return
	}
	fmt.Fprint(o.stderr, summary)
}

// help explains one command, the words of an attach, or for "" the whole program.
func (o *output) help(name string) error {
	switch name {
	case "":
	case wordsName:
		fmt.Fprint(o.stdout, synopsis+"\n"+wordsHelp+exits)
		return nil
	default:
		printCommand(o.stdout, findCommand(commands(nil), name))
		return nil
	}
	fmt.Fprint(o.stdout, overview+"\nCommands:\n")
	w := tabwriter.NewWriter(o.stdout, 0, 0, 2, ' ', 0)
	table := commands(nil)
	for _, g := range groups() {
		var names []string
		for _, name := range g.commands {
			names = append(names, strings.Join(findCommand(table, name).Names(), ", "))
		}
		fmt.Fprintf(w, "  %s\t%s\n", g.about, strings.Join(names, "  "))
	}
	w.Flush()
	fmt.Fprint(o.stdout, moreHelp)
	return nil
}

// group is some commands that belong together.
type group struct {
	about    string
	commands []string
}

// groups are all commands. A test looks whether one is missing.
func groups() []group {
	return []group{
		{"attach and detach", []string{attachName, "link", "set", "detach", "list", "gc"}},
		{"find out", []string{"doctor", "graph"}},
		{"by a file", []string{"apply", "diff", "destroy", "confirm", "import"}},
		{"keep it so", []string{watchName, "events", "forget", composeName, "policy", hookName, runtimeName, evpnName}},
		{"in a guest's network", []string{"exec", "route", "rule", "tc", "capture", "wait", hereName}},
		{"about gopipework", []string{"help", "completion", "version"}},
	}
}

func printCommand(w io.Writer, c *cli.Command) {
	line := c.Name + " " + c.ArgsUsage
	if len(c.VisibleFlags()) > 0 {
		line = "[flags] " + line
	}
	fmt.Fprintf(w, "gopipework %s\n\n  %s\n", strings.TrimSpace(line), c.Usage)
	for _, alias := range c.Aliases {
		fmt.Fprintf(w, "  %s is the same command\n", alias)
	}
	if c.Name == attachName {
		fmt.Fprint(w, wordsHelp)
	}
	if len(c.VisibleFlags()) > 0 {
		fmt.Fprint(w, "\nFlags, anywhere on the line:\n")
		printFlags(w, c)
	}
}

func printFlags(out io.Writer, c *cli.Command) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, f := range c.VisibleFlags() {
		fmt.Fprintf(w, "  %s\n", strings.TrimSuffix(f.String(), " (default: false)"))
	}
	w.Flush()
}

func (o *output) helpEntry() *cli.Command {
	return &cli.Command{Name: "help", Usage: "explain gopipework, one command, or the words of an attach", ArgsUsage: "[COMMAND|words]", Action: o.helpCommand}
}

func (o *output) helpCommand(c *cli.Context) error {
	w, err := words(c, 0, 1)
	if err != nil || len(w) == 0 {
		if err == nil {
			err = o.help("")
		}
		return err
	}
	if strings.EqualFold(w[0], wordsName) {
		return o.help(wordsName)
	}
	if findCommand(commands(nil), w[0]) == nil {
		e := fault.BadWord("explain", w[0], "there is no such command")
		if best := meantCommand(w[0]); best != "" {
			return e.WithHint("gopipework help %s", best)
		}
		return e.WithHint("gopipework help")
	}
	return o.help(w[0])
}

func commandNames() (names []string) {
	for _, c := range commands(nil) {
		names = append(names, c.Name)
	}
	return names
}

func (o *output) versionEntry() *cli.Command {
	return &cli.Command{Name: "version", Usage: "print the version", Action: o.versionCommand}
}

func (o *output) versionCommand(c *cli.Context) error {
	if _, err := words(c, 0, 0); err != nil {
		return err
	}
	o.print("gopipework " + version)
	return nil
}
