package dockerutil

import (
	"testing"
	"time"

	"github.com/gopipework/gopipework/internal/nsfs"
)

// A process whose cgroup says nothing is a container's if it is in the namespace that the
// engine has mounted. When it started counts only where that cannot be opened.
func TestProcessIsIn(t *testing.T) {
	one, other := startGuest(t).Process.Pid, startGuest(t).Process.Pid
	p, err := openProcess(one)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	long := time.Now().Add(-time.Hour)
	for _, c := range []struct {
		sandbox string
		started time.Time
		want    bool
	}{
		{nsfs.OfProcess(one), long, true},
		{nsfs.OfProcess(other), time.Now(), false},
		{"/run/docker/netns/nosuch", time.Now(), true},
		{"/run/docker/netns/nosuch", long, false},
		{"", time.Now(), true},
	} {
		if got := p.isIn(&found{sandbox: c.sandbox, started: c.started}, "/proc"); got != c.want {
			t.Errorf("%q, started %v: %v", c.sandbox, c.started, got)
		}
	}
}
