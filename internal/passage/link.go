package passage

import (
	"context"
	"slices"

	"github.com/gopipework/gopipework/bridge/firewall"
	"github.com/gopipework/gopipework/internal/finding"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/shell"
	"github.com/gopipework/gopipework/internal/spec"
	"golang.org/x/sys/unix"
)

// AtLink looks at what the guest has made of its link.
func (p Passage) AtLink() (out []finding.Finding, err error) {
	l := p.Inner
	if l.Flags&unix.IFF_NOARP != 0 && l.Type == unix.ARPHRD_ETHER && l.Kind != string(spec.KindIPvlan) {
		out = append(out, finding.NoARP.Surely("%s of %s does no ARP", l.Name, p.Of.Name).MendedBy(p.Command("ip link set "+shell.Quote(l.Name)+" arp on")))
	}
	if l.Master == 0 || l.Slave == "vrf" || !p.hasAddress() {
		return out, nil
	}
	master, err := p.Guest.LinkByIndex(l.Master)
	if err != nil {
		return out, err
	}
	return append(out, finding.InterfaceEnslaved.Surely("%s is a port of %s in %s: what comes in goes there, and not to the addresses of %s", l.Name, master.Name, p.Of.Name, l.Name).
		MendedBy(p.Command("ip link set dev "+shell.Quote(l.Name)+" nomaster"))), nil
}

// hasAddress reports whether the link has one. A port of a bridge of the guest's own needs
// none: the bridge has it.
func (p Passage) hasAddress() bool {
	all, _ := p.Guest.Addrs()
	return slices.ContainsFunc(all, func(a rtnl.Addr) bool {
		return a.Index == p.Inner.Index && !a.Prefix.Addr().IsLinkLocalUnicast()
	})
}

// AtFirewall looks at the guest's own.
func (p Passage) AtFirewall(ctx context.Context) (out []finding.Finding, err error) {
	q := firewall.GuestQuery{Link: p.Inner.Name, Index: p.Inner.Index}
	all, err := p.Guest.Addrs()
	for _, a := range all {
		if a.Index == p.Inner.Index && !a.Prefix.Addr().IsLinkLocalUnicast() {
			q.Addresses = append(q.Addresses, a.Prefix)
		}
	}
	if err != nil || q.Addresses == nil {
		return nil, err
	}
	err = p.Guest.Run(func() error {
		blocks, err := firewall.ObserveGuest(ctx, q)
		for _, b := range blocks {
			out = append(out, finding.Finding{Kind: finding.GuestFirewall, Reason: "in " + p.Of.Name + " " + b.Text, Sure: b.Sure})
		}
		return err
	})
	return out, err
}
