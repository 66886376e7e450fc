package build

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"

	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/spec"
)

// BridgeMark is the alias of a bridge that we made.
const BridgeMark = plan.MarkWord + " bridge"

// Names are the names that an attachment will have.
type Names struct {
	Inner   string // inside the guest
	Port    string // of the host's end
	Alt     string // the host's end's alternative name; "" where none fits
	Inbound string // of the ifb in the guest, where one is needed
}

// PortName is pipework's v<IFNAME>pl<PID> where there is a PID and it fits;
// otherwise that of HashedPortName.
func PortName(inner string, g guests.GuestInfo) string {
	if g.PID != 0 {
		if name := "v" + inner + "pl" + strconv.Itoa(g.PID); len(name) <= spec.MaxLinkName {
			return name
		}
	}
	return HashedPortName(inner, g)
}

// HashedPortName is v<IFNAME>, cut short, and a hash of the guest and the name.
func HashedPortName(inner string, g guests.GuestInfo) string {
	const hashLength = 7
	sum := sha256.Sum256([]byte(plan.MarkOf(g, inner).String()))
	head := "v" + inner
	head = head[:min(len(head), spec.MaxLinkName-hashLength)]
	return head + hex.EncodeToString(sum[:])[:hashLength]
}

// IsPortOfAnother reports whether the link is the host's end of an attachment of another
// guest. It can have the name that g's is to have: a port that was parked keeps its name
// when its guest comes back with another PID, and the old PID may be g's now.
func IsPortOfAnother(l *rtnl.Link, g guests.GuestInfo) bool {
	if l == nil || !plan.IsOurs(l) {
		return false
	}
	m, ok := plan.ParseMark(l.Alias)
	if !ok {
		m, ok = plan.ParseParked(l.Alias)
	}
	return ok && !m.Names(g)
}

// TaggedName is the name of the sub-interface of a network card for a VLAN, as
// everybody calls it; "" where there is none, or none can be.
func TaggedName(kind spec.Kind, base *rtnl.Link, vlan string) string {
	if base == nil || vlan == "" || kind != spec.KindMacvlan && kind != spec.KindMacvtap && kind != spec.KindIPvlan {
		return ""
	}
	name := base.Name + "." + vlan
	if spec.CheckName(name) != "" {
		return ""
	}
	return name
}

// TaggedName is the name of the sub-interface that the link is, or is to be, on.
func (j *Job) TaggedName() string {
	if t := j.There.Tagged; t != nil {
		return t.Name
	}
	return TaggedName(j.Kind, j.There.Base, j.VLAN)
}
