package main

import "github.com/gopipework/gopipework/attach"

// attachLine returns the words and flags that attachSpec reads as s.
func attachLine(s attach.Spec) []string {
	w := s.Words()
	line := []string{w.HostIF}
	if w.IfName != "" {
		line = append(line, "-i", w.IfName)
	}
	if w.HostName != "" {
		line = append(line, "-l", w.HostName)
	}
	line = append(line, w.Guest)
	if w.Address != "" {
		line = append(line, w.Address)
	}
	if w.MAC != "" {
		line = append(line, w.MAC)
	}
	return append(line, longFlags(w)...)
}

// longFlags returns the flags of a line that have no other name than a long one.
func longFlags(w attach.Words) (line []string) {
	flag := func(typed, value string) {
		if value != "" {
			line = append(line, typed, value)
		}
	}
	given := func(typed string, is bool) {
		if is {
			line = append(line, typed)
		}
	}
	flag("-a", w.Family)
	flag("--mtu", w.MTU)
	flag("--host-addr", w.HostAddr)
	flag("--mode", w.Mode)
	flag("--default", w.Default)
	flag("--metric", w.Metric)
	for _, r := range w.Routes {
		flag("--route", r)
	}
	for _, s := range w.Sysctls {
		flag("--sysctl", s)
	}
	for _, m := range w.Mirrors {
		flag("--mirror", m)
	}
	flag("--dns", w.DNS)
	flag("--vrf", w.VRF)
	flag("--uplink", w.Uplink)
	flag("--rate-in", w.Shape.RateIn)
	flag("--rate-out", w.Shape.RateOut)
	flag("--loss", w.Shape.Loss)
	flag("--delay", w.Shape.Delay)
	flag("--jitter", w.Shape.Jitter)
	given("--source-routing", w.SourceRouting)
	given("--host-access", w.HostAccess)
	given("--acd", w.ACD)
	given("--verify", w.Verify)
	given("--nodad", w.NoDAD)
	given("--isolated", w.Isolated)
	given("--antispoof", w.Antispoof)
	given("--no-firewall", w.NoFirewall)
	given("--vlan-filtering", w.VLANFiltering)
	given("--direct-phys", w.DirectPhys)
	given("--force-phys", w.ForcePhys)
	return line
}
