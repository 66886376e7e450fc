package kind

import (
	"strings"

	"github.com/gopipework/gopipework/internal/build"
)

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
