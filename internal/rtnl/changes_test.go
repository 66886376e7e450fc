package rtnl

import (
	"fmt"
	"slices"
	"testing"

	"github.com/gopipework/gopipework/e2e/host"
)

// TestChanges: what happens to links and their addresses is told, in the namespace and in
// one that has an id there, and also that this one has ended: another one can get its id.
func TestChanges(t *testing.T) {
	needRoot(t)
	s, far := newSpace(t), space{ns: host.NewNamespace(t), t: t}
	var err error
	far.Conn, err = Open(far.ns)
	ok(t, "open", err)
	s.sh("ip link add near type veth peer name far")
	id, err := s.GiveNamespaceID(far.ns)
	ok(t, "id", err)
	changes, err := s.Changes()
	ok(t, "listen", err)
	defer changes.Close()
	var told []Changed
	heard := func(want Changed) {
		t.Helper()
		eventually(t, fmt.Sprintf("%+v", want), func() bool {
			more, lost := changes.Next()
			if lost {
				t.Error("the socket has lost something")
			}
			told = append(told, more...)
			return slices.Contains(told, want)
		})
	}
	happens := func(what func(), want ...Changed) {
		t.Helper()
		told = nil
		what()
		for _, w := range want {
			heard(w)
		}
	}
	near, peer := s.link("near"), s.link("far")
	if all, lost := changes.Next(); len(all) > 0 || lost {
		t.Errorf("nothing has happened, and %+v is told (%v)", all, lost)
	}

	here := func(index int) Changed { return Changed{-1, index} }
	happens(func() { s.sh("ip link set near up") }, here(near.Index))
	happens(func() { ok(t, "move", s.MoveLink(peer.Index, Move{NS: far.ns})) }, here(peer.Index))
	there := Changed{id, far.link("far").Index}
	happens(func() { far.sh("ip address add 10.0.0.1/24 dev far") }, there)
	happens(func() { far.sh("ip link set far up") }, there)
	happens(func() { s.sh("ip address add 10.0.0.2/24 dev near") }, here(near.Index))
	happens(func() {
		far.Close()
		far.ns.Close()
	}, Changed{id, 0}, here(near.Index))
}
