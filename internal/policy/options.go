package policy

import (
	"slices"
	"strings"
	"sync"
)

// optionMAC is the option for a MAC address on the line, which has no flag. A guest that may
// choose one can choose that of another guest.
const optionMAC = "mac"

// grantable are the options that an entry may grant: they change the guest's own interface,
// and nothing else on the host. A new flag is not among them until somebody has thought
// about it.
var grantable = []string{
	"acd", "antispoof", "delay", "isolated", "jitter", "loss", optionMAC, "metric", "mode", "mtu", "no-firewall", "nodad",
	"rate-in", "rate-out", "route", "source-routing", "verify", "vrf",
}

// free are the flags that need no entry: they only narrow what the line asks for.
var free = []string{"a", "default"}

// never are the flags that no entry can grant, and why.
var never = sync.OnceValue(func() map[string]string {
	return map[string]string{
		"as":             asKey,
		"direct-phys":    "it takes a card from the host",
		"dns":            "it changes a file inside the guest",
		"exec":           "it runs a command on the host",
		"force-phys":     "it takes a card from the host that the host uses",
		"host-access":    "it opens the host to the guest",
		"host-addr":      "it gives the host an address",
		"host-name":      hostName,
		"i":              asKey,
		"keep":           "a label is there as long as its container, and no longer",
		"l":              hostName,
		"mirror":         "it shows the guest the packets of another",
		"uplink":         "it joins the host's bridge to other hosts",
		"sysctl":         "it can make the guest answer for the addresses of others",
		"vlan-filtering": "it changes a bridge that others use",
	}
})

const (
	asKey    = "the key names the interface"
	hostName = "it names an interface of the host, and rules of the host's firewall go by names"
)

// Treats reports whether the package knows what to do about a flag. A test asks it about
// each flag that there is.
func Treats(flag string) bool {
	_, refused := never()[flag]
	return refused || slices.Contains(grantable, flag) || slices.Contains(free, flag)
}

func optionList(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}
