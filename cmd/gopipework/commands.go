package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/urfave/cli/v2"
)

const attachName = "attach"

// later are words that the contract reserves for commands that this version
// does not have. A device of such a name is reached by "gopipework attach".
var later = []string{
	"doctor", "watch", "apply", "destroy", "graph", "completion",
}

var (
	jsonFlag   = &cli.BoolFlag{Name: "json", Usage: "print one JSON document on stdout, also on failure"}
	dryRunFlag = &cli.BoolFlag{Name: "dry-run", Usage: "change nothing; print the commands that would do the same"}
	vFlag      = &cli.BoolFlag{Name: "v", Usage: "print each step on stderr as it runs"}
)

func timeoutFlag(usage string) cli.Flag {
	return &cli.DurationFlag{Name: "timeout", Usage: usage, DefaultText: "30s"}
}

// waitFlags are those of both forms of wait.
func waitFlags(timeout cli.Flag) []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "addr", Usage: "also for a usable address: neither tentative nor link-local IPv6"},
		&cli.BoolFlag{Name: "route", Usage: "also for a route that leads beyond the link: a default route by it, or any route by a gateway on it"},
		jsonFlag, timeout,
	}
}

// commands is the table that the command line is read by and the help text is
// made from. The man page is held against it by a test.
func commands(out *output) []*cli.Command {
	all := []*cli.Command{
		{
			Name:      attachName,
			Usage:     "plug one more interface into a running guest (the word attach may be left out)",
			ArgsUsage: "HOSTIF [-i IFNAME] [-l HOSTNAME] [-a FAMILY] GUEST ADDRESS[@GATEWAY] [MAC][@VLAN]",
			Flags: append(shapeFlags(), []cli.Flag{
				&cli.StringFlag{Name: "i", Usage: "the guest's end is called `IFNAME`", DefaultText: "eth1"},
				&cli.StringFlag{Name: "l", Usage: "the host's end is called `HOSTNAME`", DefaultText: "v<IFNAME>pl<PID>"},
				&cli.StringFlag{Name: "a", Usage: "address `FAMILY` (4, 6, inet, inet6), checked against the address"},
				&cli.StringFlag{Name: "mtu", Usage: "MTU in `BYTES`; of a bridge that is made, too", DefaultText: "that of the bridge"},
				&cli.BoolFlag{Name: "host-access", Usage: "of a macvlan: the host and the guest reach each other by IPv4 too"},
				&cli.BoolFlag{Name: "acd", Usage: "before an IPv4 address is taken, ask the network for a second whether somebody has it already"},
				&cli.BoolFlag{Name: "verify", Usage: "before reporting success, send packets over the bridge or card and back; undo if one is lost"},
				&cli.BoolFlag{Name: "nodad", Usage: "do not wait for IPv6 duplicate address detection"},
				&cli.BoolFlag{Name: "no-firewall", Usage: "leave the host's firewall alone, and say what it would need"},
				&cli.BoolFlag{Name: "vlan-filtering", Usage: "for a VLAN on a bridge that is not ours: have it filter VLANs"},
				&cli.StringFlag{Name: "mode", Usage: "`MODE` of a macvlan (bridge, private, vepa, passthru) or ipvlan (l2, l3, l3s)", DefaultText: "the first"},
				&cli.StringFlag{Name: "default", Usage: "`PLACE` of the default route by GATEWAY, or with dhcp: front of the guest's own, or keep that in front of it", DefaultText: "front"},
				&cli.StringFlag{Name: "metric", Usage: "metric `N` of the default route, and of the --route that have none", DefaultText: "what puts it in its place"},
				&cli.StringSliceFlag{Name: "route", Usage: "one more `ROUTE` by the interface, 'DST[,via GW][,metric N][,table T]'; may be repeated"},
				&cli.BoolFlag{Name: "source-routing", Usage: "replies leave by the interface whose address they carry, so that published ports go on working"},
				&cli.StringFlag{Name: "dns", Usage: "write name `SERVERS` into the guest's /etc/resolv.conf until detach: addresses with commas, or dhcp"},
				&cli.BoolFlag{Name: "direct-phys", Usage: "the same as phys:HOSTIF: the card itself goes into the guest"},
				&cli.BoolFlag{Name: "force-phys", Usage: "lend also a card that has an address, a default route or a master"},
				dryRunFlag, jsonFlag, vFlag,
				timeoutFlag("give up, and undo, after `DURATION`"),
			}...),
			Action: out.attachCommand,
		},
		{
			Name:      "detach",
			Aliases:   []string{"rm"},
			Usage:     "take back one attachment of a guest, or all of them",
			ArgsUsage: "GUEST [IFNAME]",
			Flags: []cli.Flag{
				&cli.BoolFlag{Name: "all", Usage: "every attachment of the guest"},
				dryRunFlag, jsonFlag, vFlag,
				timeoutFlag("give up after `DURATION`"),
			},
			Action: out.detachCommand,
		},
		{
			Name:      "link",
			Usage:     "join two guests by a veth pair, with nothing between them",
			ArgsUsage: "GUEST[:IFNAME] ADDRESS GUEST[:IFNAME] ADDRESS",
			Flags: append(shapeFlags()[1:], []cli.Flag{
				&cli.StringFlag{Name: "mtu", Usage: "MTU of both ends in `BYTES`", DefaultText: "1500"},
				&cli.BoolFlag{Name: "nodad", Usage: "do not wait for IPv6 duplicate address detection"},
				dryRunFlag, jsonFlag, vFlag,
				timeoutFlag("give up, and undo, after `DURATION`"),
			}...),
			Action: out.linkCommand,
		},
		{
			Name:      "list",
			Aliases:   []string{"ls"},
			Usage:     "list the attachments of this host, or of one guest",
			ArgsUsage: "[GUEST]",
			Flags:     []cli.Flag{jsonFlag},
			Action:    out.listCommand,
		},
		setTable(out),
		{
			Name:  "gc",
			Usage: "take away what a killed run or a dead guest has left: half-made links, and whatever of ours nothing uses any more; bring lent cards home",
			Flags: []cli.Flag{
				dryRunFlag, jsonFlag, vFlag,
				timeoutFlag("give up after `DURATION`"),
			},
			Action: out.gcCommand,
		},
		{
			Name: "exec", Usage: "run a command of the host in a guest's network namespace", ArgsUsage: "GUEST -- COMMAND...",
			Action: out.execCommand,
		},
		{
			Name: "route", Usage: "ip route, in a guest's network namespace; options such as -6 come first in ARGS", ArgsUsage: "GUEST ARGS...",
			Action: out.iproute2("ip", "route"),
		},
		{
			Name: "rule", Usage: "ip rule, in a guest's network namespace; options such as -6 come first in ARGS", ArgsUsage: "GUEST ARGS...",
			Action: out.iproute2("ip", "rule"),
		},
		{
			Name: "tc", Usage: "tc, in a guest's network namespace", ArgsUsage: "GUEST ARGS...",
			Action: out.iproute2("tc"),
		},
		{
			Name: "wait", Usage: "wait until an interface (eth1) of a guest is up and has a carrier", ArgsUsage: "GUEST [IFNAME]",
			Flags:  waitFlags(timeoutFlag("give up after `DURATION`")),
			Action: out.waitCommand,
		},
		{
			Name: hereName, Usage: "inside a container: wait for an interface of its own, and then become COMMAND; needs no privileges and no other program", ArgsUsage: "[-i IFNAME] [-- COMMAND...]",
			Flags: append(waitFlags(&cli.DurationFlag{Name: "timeout", Usage: "give up after `DURATION`", DefaultText: "never"}),
				&cli.StringFlag{Name: "i", Usage: "wait for `IFNAME`", DefaultText: "eth1"}),
			Action: out.hereCommand,
		},
		{Name: "help", Usage: "explain gopipework, or one command", ArgsUsage: "[COMMAND]", Action: out.helpCommand},
		{Name: "version", Usage: "print the version", Action: out.versionCommand},
	}
	for _, c := range all {
		c.OnUsageError = badFlag
		c.HideHelp = true
	}
	return all
}

// findCommand finds a command of the table by its name or alias, nil if there is none.
func findCommand(table []*cli.Command, name string) *cli.Command {
	for _, c := range table {
		if c.HasName(name) {
			return c
		}
	}
	return nil
}

// dispatch finds the command, tells its flags from its words, and runs it.
func dispatch(ctx context.Context, args []string, out *output) error {
	out.json = wantsJSON(args)
	if len(args) == 0 {
		out.usage()
		return errShown
	}
	switch args[0] {
	case "--version":
		args = []string{"version"}
	case "-h", "--help":
		args = []string{"help"}
	}
	table := commands(out)
	name, rest := splitCommand(table, args)
	if slices.Contains(later, name) {
		return fault.New(fault.Unsupported, "run", name, "this version does not have it").
			WithHint("gopipework attach %s ... reaches a device of that name", name)
	}
	if slices.Contains(raw, name) && len(rest) > 0 && !strings.HasPrefix(rest[0], "-") {
		rest = append([]string{"--"}, rest...) // what follows GUEST is another program's
	}
	if name == "help" && slices.Equal(rest, []string{hereName}) {
		return out.help(hereName) // a command that looks like a flag
	}
	cmd := findCommand(table, name)
	a, err := arrange(cmd, rest)
	if err != nil {
		return err
	}
	if a.help {
		return out.help(name)
	}
	if name != "help" && name != "version" { // they have nothing to undo
		ctx = withSignals(ctx)
	}
	app := &cli.App{
		Name: "gopipework", Commands: []*cli.Command{cmd}, HideHelp: true, HideVersion: true,
		Compiled:                  time.Unix(0, 0), // else the library looks at the program's file
		DisableSliceFlagSeparator: true,            // a route has commas of its own
		Writer:                    io.Discard, ErrWriter: io.Discard,
		ExitErrHandler: func(*cli.Context, error) {}, // run exits
	}
	line := slices.Concat([]string{app.Name, "--", name}, a.flags, []string{"--"}, a.words)
	return app.RunContext(ctx, line)
}

// wantsJSON looks before anything is read, so that an error in the reading is
// a JSON document too.
func wantsJSON(args []string) bool {
	for _, a := range args {
		switch a {
		case "--json":
			return true
		case "--":
			return false
		}
	}
	return false
}

// words checks the number of a command's words.
func words(c *cli.Context, least, most int) ([]string, error) {
	w := c.Args().Slice()
	if i := slices.Index(w, ""); i >= 0 {
		return nil, fault.BadWord("read words", "", "word %d of %d is empty", i+1, len(w))
	}
	if len(w) < least || len(w) > most {
		takes := c.Command.ArgsUsage
		if takes == "" {
			takes = "no words"
		}
		return nil, fault.BadWord("read words", strings.Join(w, " "), "%s takes %s", c.Command.Name, takes).
			WithHint("gopipework help %s", c.Command.Name)
	}
	return w, nil
}

// badFlag is for a value that the flag library refuses.
func badFlag(c *cli.Context, err error, _ bool) error {
	var value string
	if _, other := fmt.Sscanf(err.Error(), "invalid value %q for flag -timeout", &value); other == nil {
		return fault.BadWord("read flag", "--timeout", "%q is not a duration", value).WithHint("--timeout 30s, 1m30s, 500ms")
	}
	return fault.BadWord("read flags of", c.Command.Name, "%w", err).WithHint("gopipework help %s", c.Command.Name)
}
