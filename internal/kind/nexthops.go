package kind

import (
	"fmt"
	"slices"

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
