package doctor

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/finding"
	"github.com/gopipework/gopipework/internal/kind"
	"github.com/gopipework/gopipework/internal/nsfs"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/shell"
	"github.com/gopipework/gopipework/internal/spec"
)

// uplinkChecks look at the VXLAN by which the bridge reaches other hosts. Guests of this host do
// without it, so that all that they find are doubts, until a probe for another host is lost.
var uplinkChecks = []check{(*walker).vtepAddress, (*walker).vxlanDown, (*walker).vtepMTU, (*walker).vtepPeers}

const uplinkHop = "uplink"

// lookAtUplink looks at the VXLAN of the bridge, if it has one.
func (w *walker) lookAtUplink() error {
	var o build.Looker
	k, u := w.host.k, kind.ReadUplink(&o, w.host.k, w.on.Index)
	if u.Link == nil {
		return o.Err
	}
	o.Look("the host's links", func() (err error) { u.Links, err = k.Links(); return err })
	o.Look("the host's addresses", func() (err error) { u.Addrs, err = k.Addrs(); return err })
	o.Look("the hosts behind "+u.Link.Name, func() error {
		all, err := k.Remotes(u.Link.Index)
		for _, r := range all {
			if r.Flood() && !slices.Contains(w.remotes, r.Host) {
				w.remotes = append(w.remotes, r.Host)
			}
		}
		return err
	})
	if o.Err == nil {
		w.vxlan, w.under = u.Link, kind.LinkWith(u, u.Link.VXLAN.Local)
		w.look(w.vxlan.Name, uplinkHop, w.uplinkFacts(), uplinkChecks)
	}
	return o.Err
}

// uplinkFacts is what a person wants to know of the VXLAN.
func (w *walker) uplinkFacts() []string {
	v := w.vxlan.VXLAN
	facts := []string{fmt.Sprintf("VNI %d", v.VNI)}
	if v.Local.IsValid() {
		facts = append(facts, "local "+v.Local.String())
	}
	if v.Port != spec.VXLANPort {
		facts = append(facts, fmt.Sprintf("port %d", v.Port))
	}
	facts = append(facts, fmt.Sprintf("other hosts: %d", len(w.remotes)))
	return append(facts, fmt.Sprintf("mtu %d", w.vxlan.MTU))
}

// vtepAddress finds that the address is not there that the other hosts send to.
func (w *walker) vtepAddress() ([]finding.Finding, error) {
	local := w.vxlan.VXLAN.Local
	on := w.under
	switch {
	case !local.IsValid():
		return nil, nil
	case on == nil:
		return []finding.Finding{finding.VTEPAddress.Perhaps("%s is not an address of this host, and the other hosts send to it", local)}, nil
	case !on.Up:
		return []finding.Finding{finding.VTEPAddress.Perhaps("%s, which has %s, is down", on.Name, local).
			MendedBy("ip link set dev " + shell.Quote(on.Name) + " up")}, nil
	case !on.Carrier:
		return []finding.Finding{finding.VTEPAddress.Perhaps("%s, which has %s, is up and has no carrier: look at the cable or the far end", on.Name, local)}, nil
	}
	return nil, nil
}

// vxlanDown finds a VXLAN that is down, or whose port somebody else has.
func (w *walker) vxlanDown() ([]finding.Finding, error) {
	if w.vxlan.Up {
		return nil, nil
	}
	up := "ip link set dev " + shell.Quote(w.vxlan.Name) + " up"
	port := w.vxlan.VXLAN.Port
	taken, err := w.portTaken(port)
	if err != nil || !taken {
		f := finding.VXLANDown.Perhaps("%s is down", w.vxlan.Name).MendedBy(up)
		f.Again = w.again()
		return []finding.Finding{f}, err
	}
	return []finding.Finding{finding.VTEPPort.Perhaps("%s is down, and another program has UDP port %d", w.vxlan.Name, port).
		SeenBy("to see which: ss -nulp sport = "+strconv.Itoa(port), "then: "+up)}, nil
}

// portTaken reports whether a program has a UDP port of the host. VXLANs share the socket of
// theirs, so one that is up says that no program has it.
func (w *walker) portTaken(port int) (taken bool, err error) {
	links, err := w.host.k.Links()
	if err != nil || slices.ContainsFunc(links, func(l *rtnl.Link) bool { return l.Kind == "vxlan" && l.Up && l.VXLAN.Port == port }) {
		return false, err
	}
	want := fmt.Sprintf(":%04X", port)
	err = w.host.k.Run(func() error {
		for _, file := range []string{"udp", "udp6"} {
			text, _ := os.ReadFile("/proc/thread-self/net/" + file) // a kernel without IPv6 has no udp6
			for line := range strings.Lines(string(text)) {
				const local = 1
				words := strings.Fields(line)
				taken = taken || len(words) > local && strings.HasSuffix(words[local], want)
			}
		}
		return nil
	})
	return taken, err
}

// vtepMTU finds a network between the hosts that does not take the VXLAN's longest packets.
func (w *walker) vtepMTU() ([]finding.Finding, error) {
	on, around := w.under, spec.VXLAN{Local: w.vxlan.VXLAN.Local}.Overhead()
	if on == nil || on.Loopback || w.vxlan.MTU+around <= on.MTU {
		return nil, nil
	}
	return []finding.Finding{finding.VTEPMTU.Perhaps("%s has an MTU of %d, %d bytes go around each of its packets, and %s has an MTU of %d: longer packets than %d bytes are sent in fragments, or lost",
		w.vxlan.Name, w.vxlan.MTU, around, on.Name, on.MTU, on.MTU-around).
		MendedBy(fmt.Sprintf("ip link set dev %s mtu %d", shell.Quote(on.Name), w.vxlan.MTU+around))}, nil
}

// vtepPeers finds that no other host is known, or that there is no way to one.
func (w *walker) vtepPeers() (out []finding.Finding, err error) {
	if len(w.remotes) == 0 {
		f := finding.VTEPPeer.Perhaps("%s knows no other host: it has no peers, and no routing daemon has named one", w.vxlan.Name)
		if runs := w.hostRuns("bgpd"); runs && !w.vxlan.VXLAN.Learning {
			f.Reason = w.vxlan.Name + " knows no other host: bgpd runs, and has entered none"
			f = f.SeenBy("does it have a session: vtysh -c 'show bgp l2vpn evpn summary'; can this host reach the reflector on TCP port 179?")
		} else if !runs {
			f = f.SeenBy("FRR's bgpd does not run on this host")
		}
		return []finding.Finding{f}, nil
	}
	if known, err := w.vtepAddress(); err != nil || known != nil {
		return nil, err // without its address it has no way to anybody
	}
	for _, h := range w.remotes {
		if _, err := w.host.k.Way(rtnl.Lookup{From: w.vxlan.VXLAN.Local, To: h}); err != nil {
			out = append(out, finding.VTEPPeer.Perhaps("this host has no way to %s, which %s sends to: %v", h, w.vxlan.Name, err))
		}
	}
	return out, nil
}

// hostRuns reports whether a program of that name runs in the host's network namespace.
func (w *walker) hostRuns(name string) bool {
	pids, _ := nsfs.Processes()
	return slices.ContainsFunc(pids, func(pid int) bool {
		return nsfs.Command(pid) == name && nsfs.Is(w.hostNS, nsfs.OfProcess(pid))
	})
}

// behindVXLAN is the finding about an address that nobody on this host has, and that no other
// host answers for. What is wrong there is not to be seen from here.
func (w *walker) behindVXLAN(a answer) finding.Finding {
	v := w.vxlan.VXLAN
	knows := ", and does bgpd run there"
	if v.Learning {
		knows = " and this host as a peer"
	}
	next := []string{
		fmt.Sprintf("look there: is it attached, and has its bridge the VNI %d%s?", v.VNI, knows),
		fmt.Sprintf("look on both hosts: do INPUT and OUTPUT admit UDP port %d?", v.Port),
	}
	if mac, err := w.host.k.Neighbour(w.on.Index, a.to); err == nil && mac != nil {
		return finding.FarSilent.Surely("another host says that %s has %s, and it does not answer", mac, a.to).SeenBy(next...)
	}
	return finding.FarMissing.Surely("nobody on this host has %s, and no host behind %s answers for it", a.to, w.vxlan.Name).SeenBy(next...)
}

// byUplink puts the blame for a probe to another host on what is wrong with the way there; false:
// nothing is known to be.
func (w *walker) byUplink(f *far, a answer, evidence []string) bool {
	at := w.hopOf(uplinkHop)
	if f.link != nil || w.hops[at].Kind != uplinkHop {
		return false
	}
	found := w.promoted(at, finding.Finding{})
	if found.Kind == nil {
		return false
	}
	w.lostAt(at, a, found.SeenBy(evidence...))
	return true
}
