package rtnl

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Nexthop is a nexthop object: a next hop that routes refer to by its number.
type Nexthop struct {
	ID    uint32
	Index int      // of the link that it leaves by; 0: none
	Group []uint32 // the members, if it is a group
}

// Nexthops returns the nexthop objects of the namespace. A kernel before 5.3 has
// none.
//
//	ip nexthop show
func (c *Conn) Nexthops() (all []Nexthop, err error) {
	msgs, err := c.dump(func() *nl.NetlinkRequest {
		req := c.request(unix.RTM_GETNEXTHOP, unix.NLM_F_DUMP)
		req.AddRawData(make([]byte, unix.SizeofNhmsg))
		return req
	}, unix.RTM_NEWNEXTHOP)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, m := range msgs {
		n, err := parseNexthop(m)
		if err != nil {
			return nil, err
		}
		all = append(all, n)
	}
	return all, nil
}

func parseNexthop(m []byte) (n Nexthop, err error) {
	if len(m) < unix.SizeofNhmsg {
		return n, fmt.Errorf("nexthop message of %d bytes: %w", len(m), unix.EINVAL)
	}
	as, err := readAttrs(m[unix.SizeofNhmsg:])
	if err != nil {
		return n, err
	}
	if id, ok := as.get(unix.NHA_ID); ok && len(id) >= 4 {
		n.ID = u32(id)
	}
	if oif, ok := as.get(unix.NHA_OIF); ok && len(oif) >= 4 {
		n.Index = int(u32(oif))
	}
	group, _ := as.get(unix.NHA_GROUP)
	for ; len(group) >= unix.SizeofNexthopGrp; group = group[unix.SizeofNexthopGrp:] {
		n.Group = append(n.Group, u32(group))
	}
	return n, nil
}
