package passage

import (
	"bytes"
	"slices"
	"strings"

	"github.com/gopipework/gopipework/bridge/firewall"
	"github.com/gopipework/gopipework/internal/finding"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/shell"
	"github.com/gopipework/gopipework/internal/spec"
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
		return []finding.Finding{finding.SourceFiltered.Surely("%s of %s has the MAC address %s, and its port drops what does not come from %s", p.Inner.Name, p.Of.Name, p.Inner.MAC, f.MAC).
			MendedBy(p.Command("ip link set dev "+shell.Quote(p.Inner.Name)+" address "+f.MAC.String()), p.endFilter())}, nil
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
	all = slices.DeleteFunc(slices.Clone(all), func(a rtnl.Addr) bool { return a.Index != p.Inner.Index })
	for _, ipv6 := range []bool{false, true} {
		var dropped []string
		passes, matters := false, false
		for _, a := range all {
			switch global := a.Scope != unix.RT_SCOPE_LINK; {
			case a.Prefix.Addr().Is6() != ipv6:
			case !f.Passes(a.Prefix.Addr()):
				dropped, matters = append(dropped, a.Prefix.Addr().String()), matters || global
			default:
				passes = passes || global
			}
		}
		if dropped == nil {
			continue
		}
		found := finding.SourceFiltered.Perhaps("%s of %s has the address %s, and its port drops what comes from there", p.Inner.Name, p.Of.Name, strings.Join(dropped, ", "))
		found.Sure = matters && !passes
		out = append(out, found.MendedBy(p.changeFilter("--addr", spec.Join(ours.AddressesOf(p.Inner, all))), p.endFilter()))
	}
	return out, nil
}

// endFilter is the command that turns the filter off.
func (p Passage) endFilter() string { return p.changeFilter("--antispoof", spec.Off) }

func (p Passage) changeFilter(flag, value string) string {
	m, _ := plan.ParseMark(p.Port.Alias)
	return shell.Line([]string{"gopipework", "set", m.Guest().Word(), m.IfName, flag, value})
}
