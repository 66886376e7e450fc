package passage

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/gopipework/gopipework/internal/finding"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/shell"
	"golang.org/x/sys/unix"
)

// Values of the sysctl arp_ignore (ip-sysctl.rst). With 1 a link answers for its own
// addresses alone, which is all that its neighbours ask for; 4 to 7 mean nothing.
const (
	ignoreOtherSubnets = 2 // it answers only senders that are in the subnet of the address
	ignoreAll          = 8
)

// AtSysctls looks at those that silence a link.
func (p Passage) AtSysctls() (out []finding.Finding, err error) {
	if p.Inner.Type != unix.ARPHRD_ETHER || p.Inner.Flags&unix.IFF_NOARP != 0 {
		return nil, nil
	}
	addrs, err := p.Guest.Addrs()
	if err != nil {
		return nil, err
	}
	var own []netip.Prefix
	for _, a := range addrs {
		if a.Index == p.Inner.Index && a.Prefix.Addr().Is4() {
			own = append(own, a.Prefix)
		}
	}
	if own == nil {
		return nil, nil // nobody asks
	}
	all, err := p.Guest.Sysctl("ipv4/conf/all/arp_ignore")
	if err != nil {
		return nil, err
	}
	ofAll, _ := strconv.Atoi(all)
	value := max(ofAll, p.Inner.ARPIgnore) // the greater of the two counts
	silent := silenced(value, own)
	if silent == nil {
		return nil, nil
	}
	of, set := p.Inner.Name, []string{}
	if ofAll == value {
		of = "all"
	}
	for _, c := range []struct {
		of    string
		value int
	}{{"all", ofAll}, {p.Inner.Name, p.Inner.ARPIgnore}} {
		if silenced(c.value, own) != nil {
			set = append(set, shell.Quote(sysctlPath(c.of, "arp_ignore")+"=0"))
		}
	}
	f := finding.ARPIgnore.Surely("%s answers no ARP request, as %s is %d", p.Of.Name, sysctlPath(of, "arp_ignore"), value)
	if value == ignoreOtherSubnets {
		f = finding.ARPIgnore.Surely("%s answers no ARP request for %s, as nobody else is in its subnet and %s is %d", p.Of.Name, silent[0], sysctlPath(of, "arp_ignore"), value)
	}
	f.Sure = len(silent) == len(own)
	if silenced(ofAll, own) == nil {
		f = f.FixedBy(p.setSysctl("arp_ignore", "0"))
	}
	return []finding.Finding{f.MendedBy(p.Command("sysctl -w " + strings.Join(set, " ")))}, nil
}

// silenced returns the addresses for which a value of arp_ignore leaves every ARP request
// unanswered.
func silenced(value int, own []netip.Prefix) (silent []netip.Prefix) {
	for _, a := range own {
		if value == ignoreAll || value == ignoreOtherSubnets && a.IsSingleIP() {
			silent = append(silent, a)
		}
	}
	return silent
}

// sysctlPath is the name of a sysctl of a link, with slashes: the link's name may have dots.
func sysctlPath(link, name string) string { return "net/ipv4/conf/" + link + "/" + name }

// setSysctl is the step that sets one of the link's own.
func (p Passage) setSysctl(name, value string) plan.Step {
	return plan.SetSysctl{Place: p.place(), Path: "ipv4/conf/" + p.Inner.Name + "/" + name, Value: value}
}

// strict returns the name of the sysctl by which the guest accepts a packet only by the
// interface that it would answer by, or "".
func (p Passage) strict() string {
	const strict = 1
	highest, of := 0, ""
	for _, link := range []string{"all", p.Inner.Name} { // the greater of the two counts
		text, _ := p.Guest.Sysctl("ipv4/conf/" + link + "/rp_filter")
		if n, _ := strconv.Atoi(text); n > highest {
			highest, of = n, link
		}
	}
	if highest != strict {
		return ""
	}
	return sysctlPath(of, "rp_filter")
}
