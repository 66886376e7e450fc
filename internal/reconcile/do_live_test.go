package reconcile

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/gopipework/gopipework/attach"
	testhost "github.com/gopipework/gopipework/e2e/host"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/topology"
	"golang.org/x/sys/unix"
)

// TestDetachSecondFails: a link takes the place of two attachments that have nothing to do
// with each other. If the second cannot be detached, the first is attached again.
func TestDetachSecondFails(t *testing.T) {
	testhost.NeedRoot(t)
	opt := attach.Options{HostNS: testhost.NewNamespace(t), Origin: "file:lab"}
	opened := map[string]*attach.Guest{}
	found := map[string]Guest{}
	for _, word := range []string{"a", "b"} {
		ns := testhost.NewNamespace(t)
		var st unix.Stat_t
		if err := unix.Fstat(int(ns.Fd()), &st); err != nil {
			t.Fatal(err)
		}
		info := attach.GuestInfo{Runtime: "path", Name: fmt.Sprintf("/proc/self/fd/%d", ns.Fd()), NetNS: st.Ino}
		opened[word], found[word] = guests.New(info, ns, nil), Guest{GuestInfo: info}
	}
	var there []attach.Attachment
	for _, line := range []string{"-i to-b br1 a 10.0.0.1/24", "-i to-a br1 b 10.0.0.2/24"} {
		s := entry(t, 1, line).Attach
		r, err := attach.Attach(t.Context(), *s, opened[s.Guest], opt)
		if err != nil {
			t.Fatal(err)
		}
		there = append(there, r.Attachments...)
	}
	want := Wanted{Origin: opt.Origin, Guests: found, Entries: []topology.Entry{entry(t, 1, "link a 10.1.0.1/29 b 10.1.0.2/29")}}
	d, err := Compare(want, there)
	if err != nil || len(d.Items) != 1 || !d.Items[0].Again {
		t.Fatalf("the difference is %+v, %v", d, err)
	}
	opened["b"].Namespace.Close() // its guest has ended
	h := Host{Options: opt, Find: func(_ context.Context, word string) (*attach.Guest, error) { return nil, os.ErrNotExist }}
	h.Do(t.Context(), d, func(_ *Item, o Outcome) { err = o.Err })
	if fault.CodeOf(err) != fault.Gone || !strings.Contains(err.Error(), "what was there before is attached again") {
		t.Errorf("got %v", err)
	}
	all, err := attach.List(t.Context(), opened["a"], opt)
	if err != nil || len(all.Attachments) != 1 || all.Attachments[0].Host.Name != "br1" || all.Attachments[0].Origin != "file:lab" {
		t.Errorf("there is %+v, %v", all, err)
	}
}
