package passage

import (
	"context"
	"strconv"

	"github.com/gopipework/gopipework/bridge/firewall"
	"github.com/gopipework/gopipework/internal/finding"
	"github.com/gopipework/gopipework/internal/spec"
	"golang.org/x/sys/unix"
)

// AtLink looks at what the guest has made of its link.
func (p Passage) AtLink() (out []finding.Finding, err error) {
	l := p.Inner
	if l.Flags&unix.IFF_NOARP != 0 && l.Type == unix.ARPHRD_ETHER && l.Kind != string(spec.KindIPvlan) {
		out = append(out, finding.NoARP.Surely("%s of %s does no ARP", l.Name, p.Of.Name).MendedBy(p.Command("ip link set "+l.Name+" arp on")))
	}
	if l.Master == 0 || l.Slave == "vrf" {
		return out, nil
	}
	master, err := p.Guest.LinkByIndex(l.Master)
	if err != nil {
		return out, err
	}
	return append(out, finding.InterfaceEnslaved.Surely("%s is a port of %s in %s: what comes in goes there, and not to the addresses of %s", l.Name, master.Name, p.Of.Name, l.Name)), nil
}

// AtSysctls looks at those that silence a link.
func (p Passage) AtSysctls() (out []finding.Finding, err error) {
	if p.Inner.Type != unix.ARPHRD_ETHER || p.Inner.Flags&unix.IFF_NOARP != 0 {
		return nil, nil
	}
	all, err := p.Guest.Sysctl("ipv4/conf/all/arp_ignore")
	if err != nil {
		return nil, err
	}
	const never = 8
	for _, is := range []struct{ of, value string }{{"all", all}, {p.Inner.Name, strconv.Itoa(p.Inner.ARPIgnore)}} {
		if is.value == strconv.Itoa(never) { // the greater of the two counts (ip-sysctl.rst, arp_ignore)
			return []finding.Finding{finding.ARPIgnore.Surely("%s answers no ARP request, as net/ipv4/conf/%s/arp_ignore is %d", p.Of.Name, is.of, never)}, nil
		}
	}
	return nil, nil
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
