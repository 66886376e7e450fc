package main

import (
	"context"
	"slices"
	"strings"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/dockerutil"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/kept"
	"github.com/gopipework/gopipework/internal/shell"
	"github.com/gopipework/gopipework/internal/spec"
	"github.com/urfave/cli/v2"
)

func (o *output) attachEntry() *cli.Command {
	return &cli.Command{
		Name:      attachName,
		Usage:     "plug one more interface into a running guest (the word attach is optional)",
		ArgsUsage: "HOSTIF [-i IFNAME] [-l HOSTNAME] [-a FAMILY] GUEST ADDRESS[@GATEWAY] [MAC][@VLAN]",
		Flags: append(shapeFlags(), []cli.Flag{
			&cli.StringFlag{Name: "i", Usage: "name the interface `IFNAME` inside the guest", DefaultText: "eth1"},
			&cli.StringFlag{Name: "l", Usage: "name the host's end of the pair `HOSTNAME`", DefaultText: "v<IFNAME>pl<PID>"},
			&cli.StringFlag{Name: "a", Usage: "check that the addresses are of this `FAMILY`: 4, 6, inet or inet6"},
			&cli.StringFlag{Name: "mtu", Usage: "MTU in `BYTES`, also of a bridge that is created", DefaultText: "that of the bridge or card"},
			&cli.StringFlag{Name: "host-addr", Usage: "with host:NAME, give the host's end `ADDRESS/PREFIX`"},
			&cli.BoolFlag{Name: "host-access", Usage: "let the host and a guest with a macvlan reach each other, by IPv4"},
			&cli.BoolFlag{Name: "acd", Usage: "before using an IPv4 address, ask the network for a second whether it is taken"},
			&cli.BoolFlag{Name: "verify", Usage: "before reporting success, send packets over the bridge or card and back; undo the attach if one is lost"},
			&cli.BoolFlag{Name: "nodad", Usage: "do not wait for IPv6 duplicate address detection"},
			&cli.BoolFlag{Name: "isolated", Usage: "let no frames pass between the guest's port and other isolated ports of the bridge"},
			&cli.StringFlag{Name: "uplink", Usage: "let the bridge reach the same bridge of other hosts by a VXLAN: `vxlan:VNI,local=A[,port=N][,peer=B]...`"},
			&cli.StringSliceFlag{Name: "mirror", Usage: "have the interface receive copies of the frames of `GUEST:IFNAME[,in|out|both]`; may be repeated"},
			&cli.BoolFlag{Name: "antispoof", Usage: "let the guest send only from the MAC address and the addresses of the attachment"},
			&cli.BoolFlag{Name: "no-firewall", Usage: "leave the host's firewall alone, and print the rules it needs as a warning"},
			&cli.BoolFlag{Name: "vlan-filtering", Usage: "turn on VLAN filtering on a bridge that gopipework did not create"},
			&cli.StringFlag{Name: "mode", Usage: "`MODE` of a macvlan or macvtap (bridge, private, vepa, passthru) or ipvlan (l2, l3, l3s)", DefaultText: "bridge or l2"},
			&cli.StringFlag{Name: "default", Usage: "`PLACE` of the new default route: in front of the guest's own (front), or behind it (keep)", DefaultText: "front"},
			&cli.StringFlag{Name: "metric", Usage: "metric `N` of the default route, and of each --route without one of its own", DefaultText: "what --default needs"},
			&cli.StringSliceFlag{Name: "route", Usage: "add `ROUTE` through the interface: 'DST[,via GW][,metric N][,table T]'; may be repeated"},
			&cli.StringFlag{Name: "vrf", Usage: "put the interface into this VRF of the guest, which is created if it does not exist: `NAME[,table=N]`"},
			&cli.BoolFlag{Name: "source-routing", Usage: "send each reply out by the interface whose address it carries, so that published ports keep working"},
			&cli.StringSliceFlag{Name: "sysctl", Usage: "set a sysctl of the interface, `KEY=VALUE`, such as ipv4.rp_filter=2 or ipv6.neigh.gc_stale_time=120; may be repeated"},
			&cli.StringFlag{Name: "dns", Usage: "put `SERVERS` into the guest's /etc/resolv.conf as name servers until detach: addresses separated by commas, or dhcp; none leaves out those of a tunnel's file"},
			&cli.BoolFlag{Name: "direct-phys", Usage: "same as phys:HOSTIF: lend the card itself to the guest"},
			&cli.BoolFlag{Name: "force-phys", Usage: "lend the card even if it has an address, a default route or a master"},
			&cli.BoolFlag{Name: "replace", Usage: "if the interface is there and is not as the line asks, change or replace it; if that fails, attach the old one again"},
			&cli.BoolFlag{Name: "keep", Usage: "also write the line to " + kept.Path + ", until detach or forget"},
			awaitFlag, dryRunFlag, jsonFlag, vFlag,
			timeoutFlag("give up after `DURATION`, and undo"),
		}...),
		Action: o.attachCommand,
	}
}

// attachCommand plugs a guest into a host interface.
func (o *output) attachCommand(c *cli.Context) error {
	line := c.Args().Slice()
	spec, err := attachSpec(line, c)
	if err == nil {
		err = notTheKind(line)
	}
	if err != nil {
		return err
	}
	var ahead *attach.Ahead
	if !slices.Contains(given(c), "await") { // by the time that its guest runs, much will have changed
		ahead = attach.ReadAhead(c.Context, spec, attach.Options{})
		defer ahead.Close()
	}
	err = o.withGuest(c, spec.Guest, func(ctx context.Context, g *attach.Guest, opt attach.Options) error {
		opt.Ahead = ahead
		run := attach.Attach
		if c.Bool("replace") {
			run = attachReplacing
		}
		if c.Bool("keep") {
			run = keeping(run)
		}
		r, err := run(ctx, spec, g, opt)
		if err != nil {
			return orReplace(err)
		}
		if name := r.Attachments[0].Interface.Name; c.Bool("v") && g.Joined && g.Runtime == dockerutil.RuntimeDocker && strings.HasPrefix(name, "eth") {
			o.say("hint: docker network connect picks the first ethN that Docker itself does not use, and fails if that is our %s; a name such as -i lan0 avoids this", name)
		}
		return o.result(r, opt.DryRun, true)
	})
	return meantOnHost(c.Context, line, err)
}

// attachSpec reads the words and flags of a line.
func attachSpec(line []string, f flags) (attach.Spec, error) {
	w, err := attachWords(line, f)
	if err != nil {
		return attach.Spec{}, err
	}
	spec, err := attach.Parse(w)
	if err != nil {
		return attach.Spec{}, misspelt(line, err)
	}
	return spec, nil
}

// attachWords collects the words and flags of the line.
func attachWords(line []string, c flags) (attach.Words, error) {
	if len(line) == 5 && strings.HasPrefix(line[4], "@") && !strings.Contains(line[3], "@") {
		line = append(slices.Clone(line[:3]), line[3]+line[4]) // MAC @VLAN, of which pipework took the first
	}
	if len(line) == 0 || len(line) < spec.LeastWords(line[0]) || len(line) > 4 {
		return attach.Words{}, miscounted(line, c)
	}
	line = append(line, "", "")
	w := attach.Words{
		HostIF: line[0], Guest: line[1], Address: line[2], MAC: line[3],
		IfName: c.String("i"), HostName: c.String("l"), HostAddr: c.String("host-addr"), Family: c.String("a"),
		MTU: c.String("mtu"), Mode: c.String("mode"),
		Default: c.String("default"), Metric: c.String("metric"), DNS: c.String("dns"), VRF: c.String("vrf"), Uplink: c.String("uplink"), Routes: c.StringSlice("route"), Sysctls: c.StringSlice("sysctl"), Mirrors: c.StringSlice("mirror"), SourceRouting: c.Bool("source-routing"),
		DirectPhys: c.Bool("direct-phys"), ForcePhys: c.Bool("force-phys"), HostAccess: c.Bool("host-access"), ACD: c.Bool("acd"), Verify: c.Bool("verify"), NoDAD: c.Bool("nodad"),
		VLANFiltering: c.Bool("vlan-filtering"), NoFirewall: c.Bool("no-firewall"), Isolated: c.Bool("isolated"), Antispoof: c.Bool("antispoof"),
	}
	if err := noneEmpty(c, "i", "l", "host-addr", "a", "mtu", "mode", "default", "metric", "dns", "vrf", "uplink"); err != nil {
		return w, err
	}
	var err error
	if w.Shape, err = shapeWords(c); err != nil {
		return w, err
	}
	const address = "0123456789abcdefABCDEF.:/,@" // a guest such as compose:shop/web has other letters
	if strings.Contains(w.Guest, "/") && strings.Count(w.Address, "/") == 0 && !strings.HasPrefix(w.Guest, "/") && strings.Trim(w.Guest, address) == "" {
		return w, fault.BadWord("read guest", w.Guest, "it looks like the address, which comes after the guest").
			WithHint("gopipework %s", shell.Line([]string{w.HostIF, w.Address, w.Guest, w.MAC}))
	}
	return w, nil
}
