package hostaccess

import (
	"net/netip"
	"slices"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/guestnet"
	"github.com/gopipework/gopipework/internal/lease"
	"github.com/gopipework/gopipework/internal/rtnl"
)

// wantedBy reports whether one of the leases needs the way, now or with its next
// address, for a link that stays.
func wantedBy(w *build.Way, all []lease.Kept, stays func(index int) bool) bool {
	return slices.ContainsFunc(all, func(k lease.Kept) bool {
		a := k.Ask.Access
		return a != nil && a.Host == w.Host && a.Parent == w.Peer && stays(k.Ask.Index)
	})
}

// accessAddrs returns the IPv4 addresses that the host is to have routes to now.
func accessAddrs(j *build.Job) []netip.Addr {
	out := guestnet.GivenAddrs(j, false)
	if k := j.There.Lease; j.Complete() && k != nil && k.Lease != nil && k.Ask.Access != nil {
		a := k.Lease.Address.Addr()
		if slices.ContainsFunc(j.There.Addrs, func(d rtnl.Addr) bool { return d.Index == k.Ask.Index && d.Prefix.Addr() == a }) {
			out = append(out, a)
		}
	}
	return out
}
