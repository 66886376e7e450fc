package spec

import "net/netip"

// BridgeSpec is what the host is to have on a bridge, as the user asked for it.
type BridgeSpec struct {
	Name          string
	Addrs         []netip.Prefix // the host's own on the bridge
	MTU           int            // of a bridge that is made; 0: the usual one
	Uplink        string         // interface of the host that is to be a port, such as eth1 or eth0.10, or a VXLAN, as --uplink has it; "": none
	Force         bool           // take the uplink although it has an address or the default route
	VLANFiltering bool           // guests may have VLANs, so the uplink is to carry all of them
}

// Asks reports whether there is something to be had on the bridge. If not, the bridge is
// there for the attachments alone, which make it and delete it.
func (s BridgeSpec) Asks() bool { return len(s.Addrs) > 0 || s.Uplink != "" }
