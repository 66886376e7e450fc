package attach

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/spec"
)

// bridgeMark is the alias of a bridge that we made.
const bridgeMark = plan.MarkWord + " bridge"

// names are the names that an attachment will have.
type names struct {
	inner   string // inside the guest
	port    string // of the host's end
	alt     string // the host's end's alternative name; "" where none fits
	inbound string // of the ifb in the guest, where one is needed
}

// namesFor makes the names; base is what HOSTIF names, nil: nothing.
func namesFor(s Spec, g GuestInfo, base *rtnl.Link) names {
	n := names{inner: s.IfName, port: s.HostName}
	switch {
	case n.inner != "":
	default:
		n.inner = cmp.Or(traitsOf(settleKind(s.HostIF, Facts{Base: base})).ifName, "eth1")
	}
	if n.port == "" {
		n.port = portName(n.inner, g)
	}
	n.inbound = inboundName(n.inner)
	if alt := plan.MarkWord + "." + g.Name + "." + n.inner; len(alt) <= spec.MaxAltName && !strings.ContainsAny(alt, "/: ") {
		n.alt = alt
	}
	return n
}

// portName is pipework's v<IFNAME>pl<PID> where there is a PID and it fits;
// otherwise v<IFNAME>, cut short, and a hash of the guest and the name.
func portName(inner string, g GuestInfo) string {
	if g.PID != 0 {
		if name := "v" + inner + "pl" + itoa(g.PID); len(name) <= spec.MaxLinkName {
			return name
		}
	}
	const hashLength = 7
	sum := sha256.Sum256([]byte(plan.MarkOf(g, inner).String()))
	head := "v" + inner
	head = head[:min(len(head), spec.MaxLinkName-hashLength)]
	return head + hex.EncodeToString(sum[:])[:hashLength]
}
