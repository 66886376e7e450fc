package reconcile

import (
	"fmt"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/topology"
)

// Entries returns the entries of a file, with what it says about their bridges. A bridge
// is made by the first attachment to it; what no attach can do to one is refused.
func Entries(f topology.File) (entries []topology.Entry, warnings []string, err error) {
	bridges := map[string]topology.Bridge{}
	used := map[string]bool{}
	for _, b := range f.Bridges {
		for _, key := range []struct {
			name string
			said bool
		}{{"address", len(b.Address) > 0}, {"uplink", b.Uplink != ""}, {"force", b.Force}} {
			if key.said {
				return nil, nil, fault.New(fault.Unsupported, "read", b.Pos.String(), "this version does not support the key %q of a bridge", key.name).
					WithHint("leave it out, and set it with ip or in the configuration of the host")
			}
		}
		bridges[b.Name] = b
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
