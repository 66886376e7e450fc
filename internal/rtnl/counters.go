package rtnl

import (
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Counters are how many bytes a link has received and sent since it was made.
type Counters struct{ Received, Sent uint64 }

// Counters returns those of all links of the namespace, by their indexes. It takes a
// kernel of 4.7 or later.
//
//	ip -s link
func (c *Conn) Counters() (map[int]Counters, error) {
	msgs, err := c.dump(func() *nl.NetlinkRequest {
		req := c.request(unix.RTM_GETSTATS, unix.NLM_F_DUMP)
		req.AddData(&ifStats{FilterMask: 1 << (unix.IFLA_STATS_LINK_64 - 1)})
		return req
	}, unix.RTM_NEWSTATS)
	if err != nil {
		return nil, err
	}
	all := make(map[int]Counters, len(msgs))
	for _, m := range msgs {
		if index, one, ok := parseCounters(m); ok {
			all[index] = one
		}
	}
	return all, nil
}

// parseCounters reads one RTM_NEWSTATS message.
func parseCounters(m []byte) (index int, one Counters, ok bool) {
	const received, sent = 2 * 8, 3 * 8 // in struct rtnl_link_stats64, after two counts of packets
	if len(m) < ifStatsLen {
		return 0, one, false
	}
	for a := range nested(m[ifStatsLen:]) {
		if a.typ == unix.IFLA_STATS_LINK_64 && len(a.value) >= sent+8 {
			one = Counters{Received: nl.NativeEndian().Uint64(a.value[received:]), Sent: nl.NativeEndian().Uint64(a.value[sent:])}
			ok = true
		}
	}
	return int(u32(m[4:])), one, ok
}

// ifStats is struct if_stats_msg of linux/if_link.h.
type ifStats struct{ FilterMask uint32 }

const ifStatsLen = 12 // family and padding, ifindex, filter_mask

func (*ifStats) Len() int { return ifStatsLen }

func (s *ifStats) Serialize() []byte {
	b := make([]byte, ifStatsLen)
	nl.NativeEndian().PutUint32(b[8:], s.FilterMask)
	return b
}
