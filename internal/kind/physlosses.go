package kind

import (
	"fmt"
	"slices"
	"strings"

	"github.com/gopipework/gopipework/internal/build"
)

// lostNexthops says what becomes of the host's nexthop objects when a card is
// lent: the kernel deletes those by the card, and takes them out of their groups.
func lostNexthops(j *build.Job, index int) (lost []string) {
	var ids []uint32
	for _, n := range j.There.Card.Nexthops {
		if n.Index == index {
			ids = append(ids, n.ID)
			lost = append(lost, fmt.Sprintf("nexthop object %d", n.ID))
		}
	}
	for _, n := range j.There.Card.Nexthops {
		for _, id := range n.Group {
			if slices.Contains(ids, id) {
				lost = append(lost, fmt.Sprintf("member %[2]d of nexthop group %[1]d", n.ID, id))
			}
		}
	}
	return lost
}

// warnQueues says which queueing disciplines the kernel takes from a card when it is
// moved, and their filters with them. Those that the kernel chose itself it chooses
// again.
func warnQueues(j *build.Job, d *build.Draft, index int, name string) {
	var kinds []string
	for _, q := range j.There.Card.Qdiscs {
		if q.Index == index && q.Handle != 0 {
			kinds = append(kinds, q.Kind)
		}
	}
	if len(kinds) > 0 {
		d.Warn("lending %s costs the host its queueing disciplines and their filters: %s; they are not restored, so save the output of tc qdisc show dev %s and tc filter show dev %s",
			name, strings.Join(kinds, ", "), name, name)
	}
}

// warnPrograms says that a program of the host's goes along.
func warnPrograms(j *build.Job, d *build.Draft, name string, programs map[string]uint32) {
	for _, word := range []string{"xdpdrv", "xdpgeneric", "xdpoffload"} {
		if id, ok := programs[word]; ok {
			d.Warn("the BPF program %d (%s) stays attached to %s, and sees what %s receives; to remove it: ip link set dev %s %s off",
				id, word, name, j.There.Guest.Name, name, word)
		}
	}
}
