package reconcile

import (
	"fmt"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/topology"
)

// Entries returns the entries of a file: first what the host is to have on bridges, then the
// attachments and links, with what the file says about the bridges that they are in. A
// bridge that the host is to have nothing on is made by the first attachment to it.
func Entries(f topology.File) (entries []topology.Entry, warnings []string, err error) {
	bridges := map[string]topology.Bridge{}
	used := map[string]bool{}
	for _, b := range f.Bridges {
		bridges[b.Name] = b
		switch e := bridgeEntry(b); {
		case e.Bridge.Asks():
			entries = append(entries, e)
			used[b.Name] = true
		case b.Force:
			return nil, nil, fault.New(fault.Invalid, "read", b.Pos.String(), "\"force\" is for an uplink, and bridge %s has none", b.Name).
				WithHint("name the uplink, or leave it out")
		}
	}
	for _, e := range f.Entries {
		if e.Attach == nil {
			entries = append(entries, e)
			continue
		}
		s := *e.Attach
		if b, ok := bridges[s.HostIF.Name]; ok && (s.HostIF.Kind == attach.KindAny || s.HostIF.Kind == attach.KindBridge || s.HostIF.Kind == attach.KindOVS) {
			used[b.Name] = true
			if s.MTU == 0 {
				s.MTU = b.MTU
			}
			s.VLANFiltering = s.VLANFiltering || b.VLANFiltering
		}
		e.Attach = &s
		entries = append(entries, e)
	}
	for _, b := range f.Bridges {
		if !used[b.Name] {
			warnings = append(warnings, fmt.Sprintf("%s: nothing is attached to bridge %s, so it is not made", b.Pos, b.Name))
		}
	}
	return entries, warnings, nil
}
