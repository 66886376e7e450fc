package main

import (
	"context"
	"slices"

	"github.com/gopipework/gopipework/attach"
	"github.com/urfave/cli/v2"
)

func (o *output) setEntry() *cli.Command {
	return &cli.Command{
		Name:      "set",
		Usage:     "change an attachment while it is in use",
		ArgsUsage: "GUEST IFNAME",
		Flags: append(shapeFlags(), []cli.Flag{
			&cli.StringFlag{Name: "mtu", Usage: "MTU of both ends, in `BYTES`; on a link between two guests, of this end only"},
			&cli.StringFlag{Name: "vlan", Usage: "`VLAN` of the bridge's port: 10, or 10,20-30, or 10t, or none"},
			&cli.StringFlag{Name: "addr", Usage: "replace all addresses with `ADDRESSES`, separated by commas; 0/0 for none"},
			&cli.StringSliceFlag{Name: "route", Usage: "replace all routes of the attachment with `ROUTE`: 'DST[,via GW][,metric N][,table T]'; may be repeated; 'none' deletes them all"},
			&cli.StringFlag{Name: "source-routing", Usage: "turn source routing `on|off`: each reply leaves by the interface whose address it carries"},
			&cli.StringFlag{Name: "host-access", Usage: "turn host access `on|off`: the host and a guest with a macvlan reach each other, by IPv4"},
			&cli.StringFlag{Name: "dns", Usage: "replace the name servers that were put into the guest's /etc/resolv.conf with `SERVERS`: addresses separated by commas, or dhcp; 'none' restores what was there before"},
			&cli.StringFlag{Name: "isolated", Usage: "turn isolation `on|off`: no frames pass between the guest's port and other isolated ports of the bridge"},
			&cli.StringFlag{Name: "antispoof", Usage: "turn the source filter `on|off`: the guest can send only from the MAC address and the addresses of the attachment"},
			&cli.StringFlag{Name: "carrier", Usage: "turn the carrier `on|off`: off is as if the cable were pulled; also of an interface that gopipework did not create"},
			&cli.StringFlag{Name: "to", Usage: "move the port to the `BRIDGE`, a Linux bridge or an Open vSwitch bridge, which is created if it does not exist"},
			&cli.BoolFlag{Name: "nodad", Usage: "do not look for duplicate addresses"},
			&cli.BoolFlag{Name: "vlan-filtering", Usage: "turn on VLAN filtering on a bridge that gopipework did not create"},
			&cli.BoolFlag{Name: "no-firewall", Usage: "with --to: leave the host's firewall alone"},
			forFlag, dryRunFlag, jsonFlag, vFlag,
			timeoutFlag("give up after `DURATION`, and undo"),
		}...),
		Action: o.setCommand,
	}
}

func (o *output) setCommand(c *cli.Context) error {
	w, err := words(c, 2, 2)
	if err != nil {
		return err
	}
	if err := noneEmpty(c, "mtu", "vlan", "addr", "dns", "source-routing", "host-access", "isolated", "antispoof", "carrier", "to"); err != nil {
		return err
	}
	set := attach.SetWords{
		IfName: w[1], MTU: c.String("mtu"), VLAN: c.String("vlan"), Address: c.String("addr"), Isolated: c.String("isolated"),
		Antispoof: c.String("antispoof"), Carrier: c.String("carrier"),
		Routes: c.StringSlice("route"), DNS: c.String("dns"), SourceRouting: c.String("source-routing"), HostAccess: c.String("host-access"),
		To: c.String("to"), NoDAD: c.Bool("nodad"), VLANFiltering: c.Bool("vlan-filtering"), NoFirewall: c.Bool("no-firewall"),
	}
	if set.Shape, err = shapeWords(c); err != nil {
		return err
	}
	spec, err := attach.ParseSet(w[0], set)
	if err != nil {
		return err
	}
	return o.withGuest(c, spec.Guest, func(ctx context.Context, g *attach.Guest, opt attach.Options) error {
		if slices.Contains(given(c), "for") {
			return o.setFor(c, spec, g, opt)
		}
		r, err := attach.Set(ctx, spec, g, opt)
		if err != nil {
			return err
		}
		return o.result(r, opt.DryRun, true)
	})
}
