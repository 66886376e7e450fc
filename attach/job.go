package attach

import (
	"cmp"
	"strings"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/guestnet"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/kind"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/source"
	"github.com/gopipework/gopipework/internal/spec"
)

// namesFor makes the names; base is what HOSTIF names, nil: nothing.
func namesFor(s Spec, g guests.GuestInfo, base *rtnl.Link) build.Names {
	n := build.Names{Inner: s.IfName, Port: s.HostName}
	if n.Inner == "" {
		n.Inner = cmp.Or(kind.TraitsOf(kind.SettleKind(s.HostIF, build.Facts{Base: base})).IfName, spec.UsualIfName)
	}
	if n.Port == "" {
		n.Port = build.PortName(n.Inner, g)
	}
	n.Inbound = guestnet.InboundName(n.Inner)
	who := g.Name
	if g.Runtime == guests.RuntimeCNI {
		who = g.Runtime + "." + g.ID
	}
	if alt := plan.MarkWord + "." + who + "." + n.Inner; len(alt) <= spec.MaxAltName && !strings.ContainsAny(alt, "/: ") {
		n.Alt = alt
	}
	return n
}

// jobFor makes a job of what is asked and what is there.
func jobFor(s Spec, f build.Facts, at plan.Side) *build.Job {
	j := build.NewJob(s, f, at, namesFor(s, f.Guest, f.Base))
	j.Alone = f.Inner != nil && kind.TraitsOf(Kind(f.Inner.Kind)).Child
	if from := source.SourceFrom(s.From); from != nil {
		j.Needs = from.Sysctls()
	}
	return j
}
