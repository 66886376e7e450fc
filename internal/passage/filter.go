package passage

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"

	"github.com/gopipework/gopipework/bridge/firewall"
	"github.com/gopipework/gopipework/internal/finding"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/shell"
	"golang.org/x/sys/unix"
)

// AtFilter finds addresses of the guest's link from which its port lets nothing pass
// (--antispoof).
func (p Passage) AtFilter() ([]finding.Finding, error) {
	if p.Port == nil || !ours.IsFiltered(p.Port) {
		return nil, nil
	}
	var f *firewall.SourceFilter
	err := p.Host.Run(func() (err error) { f, err = firewall.ReadSourceFilter(p.Port.Name); return err })
	if err != nil || f == nil {
		return nil, err
	}
	if !bytes.Equal(f.MAC, p.Inner.MAC) {
		return []finding.Finding{finding.SourceFiltered.Surely("%s of %s has the MAC address %s, and its port drops what does not come from %s, that of the attachment; set --antispoof off would let it pass", p.Inner.Name, p.Of.Name, p.Inner.MAC, f.MAC).
			MendedBy(p.Command("ip link set dev " + shell.Quote(p.Inner.Name) + " address " + f.MAC.String()))}, nil
	}
	return p.filteredAddresses(*f)
}

// filteredAddresses finds those of the link that the filter does not let pass. If it lets
// pass others, packets flow from them.
func (p Passage) filteredAddresses(f firewall.SourceFilter) (out []finding.Finding, err error) {
	all, err := p.Guest.Addrs()
	if err != nil {
		return nil, err
	}
	for _, ipv6 := range []bool{false, true} {
		own := slices.DeleteFunc(slices.Clone(all), func(a rtnl.Addr) bool {
			return a.Index != p.Inner.Index || a.Prefix.Addr().Is6() != ipv6
		})
		var dropped []rtnl.Addr
		for _, a := range own {
			if !f.Passes(a.Prefix.Addr()) {
				dropped = append(dropped, a)
			}
		}
		if dropped == nil {
			continue
		}
		found := finding.SourceFiltered.Perhaps("%s of %s has the address %s, which its attachment does not have, and its port drops what comes from there; set --addr or --antispoof off would let it pass", p.Inner.Name, p.Of.Name, wordsOf(dropped))
		found.Sure = slices.ContainsFunc(dropped, isGlobal) &&
			!slices.ContainsFunc(own, func(a rtnl.Addr) bool { return isGlobal(a) && !a.Secondary() && f.Passes(a.Prefix.Addr()) })
		out = append(out, found.MendedBy(p.restoreAddresses(f, dropped, own)...))
	}
	return out, nil
}

func isGlobal(a rtnl.Addr) bool { return a.Scope != unix.RT_SCOPE_LINK }

func wordsOf(all []rtnl.Addr) string {
	var words []string
	for _, a := range all {
		words = append(words, a.Prefix.Addr().String())
	}
	return strings.Join(words, ", ")
}

// restoreAddresses are the commands that delete the addresses from which nothing passes, and
// add those of the attachment that are missing in their subnets, or that the kernel deletes
// with them.
func (p Passage) restoreAddresses(f firewall.SourceFilter, dropped, own []rtnl.Addr) (commands []string) {
	on := " dev " + shell.Quote(p.Inner.Name)
	for _, d := range slices.Backward(dropped) { // an address may go with the first of its subnet
		commands = append(commands, p.Command("ip address del "+d.Prefix.String()+on))
	}
	for _, a := range f.Addrs {
		i := slices.IndexFunc(dropped, func(d rtnl.Addr) bool { return isGlobal(d) && d.Prefix.Contains(a) })
		stays := slices.ContainsFunc(own, func(o rtnl.Addr) bool { return o.Prefix.Addr() == a && !o.Secondary() })
		if i >= 0 && !stays {
			commands = append(commands, p.Command("ip address replace "+netip.PrefixFrom(a, dropped[i].Prefix.Bits()).String()+on))
		}
	}
	return commands
}
