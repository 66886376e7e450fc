package dockerutil

import (
	"context"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/nsfs"
	"golang.org/x/sys/unix"
)

// Running returns the guests that run on this machine: the containers of all engines, and
// the network namespaces that have a name. Each has its NetNS. Several can have the same
// one; those of engines come first. An engine that does not answer is a warning.
//
// It asks each engine for a list, and hardly any about a single guest: a process shows by
// its cgroup which container it is in.
func Running(ctx context.Context) (all []guests.GuestInfo, warnings []string) {
	return newFinder().all(ctx)
}

// running is a guest that an engine lists.
type running struct {
	guests.GuestInfo
	word wordRef // by which it is found where no cgroup shows it
}

// listing is what an engine answers.
type listing struct {
	runtime string
	list    []running
	err     error
}

func (f *finder) all(ctx context.Context) (all []guests.GuestInfo, warnings []string) {
	ctx, cancel := f.bounded(ctx)
	defer cancel()
	inside, err := f.contained()
	if err != nil {
		warnings = append(warnings, "not every guest is named: "+err.Error())
	}
	lists := f.lists(ctx, inside)
	placed := make([][]guests.GuestInfo, len(lists))
	var finding sync.WaitGroup
	for i, l := range lists {
		if l.err != nil && !unknown(l.err) {
			warnings = append(warnings, "guests of "+title(l.runtime)+" are not named: "+l.err.Error())
		}
		placed[i] = make([]guests.GuestInfo, len(l.list))
		slots := make(chan struct{}, 8)
		for j, one := range l.list {
			if p, ok := inside[one.ID]; ok {
				placed[i][j], placed[i][j].PID, placed[i][j].NetNS = one.GuestInfo, p.pid, p.netns
				continue
			}
			finding.Go(func() {
				slots <- struct{}{}
				defer func() { <-slots }()
				if g, err := f.find(ctx, one.word); err == nil { // otherwise it has ended, or is in the host's namespace
					placed[i][j] = g.GuestInfo
					g.Close()
				}
			})
		}
	}
	finding.Wait()
	for _, list := range placed {
		all = append(all, slices.DeleteFunc(list, func(g guests.GuestInfo) bool { return g.NetNS == 0 })...)
	}
	return append(all, f.namedGuests()...), warnings
}

// contained is a process, and the namespace that it is in.
type contained struct {
	pid    int
	netns  uint64
	podman bool // its cgroup is one that podman makes
}

// contained returns the first process of each container whose ID shows in its cgroup, by
// that ID: of all processes that are not in the host's namespace.
func (f *finder) contained() (map[string]contained, error) {
	pids, err := nsfs.Processes()
	if err != nil {
		return nil, err
	}
	hosts := map[uint64]bool{}
	for _, path := range []string{"/proc/thread-self/ns/net", "/proc/1/ns/net"} {
		var st unix.Stat_t
		if unix.Stat(path, &st) == nil {
			hosts[st.Ino] = true
		}
	}
	inside := map[string]contained{}
	for _, pid := range pids {
		var st unix.Stat_t
		if unix.Stat(nsfs.OfProcess(pid), &st) != nil || hosts[st.Ino] {
			continue
		}
		cgroups, err := os.ReadFile(f.proc + "/" + strconv.Itoa(pid) + "/cgroup")
		if err != nil {
			continue // it has ended
		}
		for _, id := range idsIn(string(cgroups)) {
			if _, met := inside[id]; !met {
				inside[id] = contained{pid, st.Ino, strings.Contains(string(cgroups), "libpod")}
			}
		}
	}
	return inside, nil
}

// idsIn returns the innermost ID in each line of a cgroup file: a container in a container
// has the outer one's before its own.
func idsIn(cgroups string) (ids []string) {
	for line := range strings.Lines(cgroups) {
		words := strings.FieldsFunc(line, func(r rune) bool { return !('0' <= r && r <= '9' || 'a' <= r && r <= 'z') })
		for _, w := range slices.Backward(words) {
			if isID(w) {
				if !slices.Contains(ids, w) {
					ids = append(ids, w)
				}
				break
			}
		}
	}
	return ids
}

// lists asks all engines that are here, all at once. The order is that in which a namespace
// that several know is named.
func (f *finder) lists(ctx context.Context, inside map[string]contained) []listing {
	engines := []struct {
		runtime string
		here    bool
		list    func(context.Context) ([]running, error)
	}{
		{RuntimeDocker, true, f.listDocker},
		{RuntimePodman, f.podmanHere(""), func(ctx context.Context) ([]running, error) { return f.listPodman(ctx, inside) }},
		{RuntimeCRI, slices.ContainsFunc(f.cri, exists), f.listCRI},
		{RuntimeContainerd, exists(f.containerd), f.listContainerd},
		{RuntimeLXC, exists(f.lxc), func(context.Context) ([]running, error) { return f.listDirectory(RuntimeLXC, f.lxc), nil }},
		{RuntimeIncus, f.incusHere(""), f.listIncus},
		{RuntimeMachine, exists(f.machines), func(context.Context) ([]running, error) { return f.listDirectory(RuntimeMachine, f.machines), nil }},
	}
	out := make([]listing, len(engines))
	var asking sync.WaitGroup
	for i, e := range engines {
		if out[i].runtime = e.runtime; e.here {
			asking.Go(func() { out[i].list, out[i].err = e.list(ctx) })
		}
	}
	asking.Wait()
	return out
}

// guestOf returns a guest of an engine, under its name if it has a proper one.
func guestOf(runtime, id, name string) running {
	if !isName(name) {
		name = guests.ShortID(id)
	}
	return running{guests.GuestInfo{Runtime: runtime, ID: id, Name: name}, wordRef{Runtime: runtime, Name: id}}
}

// listDirectory lists what has a file or a directory there, whether or not it runs.
func (f *finder) listDirectory(runtime, dir string) (list []running) {
	entries, _ := os.ReadDir(dir) // none, if it has gone
	for _, e := range entries {
		if isName(e.Name()) { // machined has links from units too, which are no names
			list = append(list, guestOf(runtime, e.Name(), e.Name()))
		}
	}
	return list
}

// namedGuests returns the network namespaces that have a name.
func (f *finder) namedGuests() (all []guests.GuestInfo) {
	for name, ns := range f.names() {
		all = append(all, guests.GuestInfo{Runtime: RuntimeNetNS, ID: name, Name: name, NetNS: ns.inode, Path: f.named[0] + "/" + name})
	}
	slices.SortFunc(all, func(a, b guests.GuestInfo) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// saysMore returns the error that says more: not that of an engine that is not there.
func saysMore(a, b error) error {
	if a == nil || unknown(a) && b != nil {
		return b
	}
	return a
}
