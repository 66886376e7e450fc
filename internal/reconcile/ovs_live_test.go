package reconcile

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"testing"

	"github.com/gopipework/gopipework/attach"
	testhost "github.com/gopipework/gopipework/e2e/host"
	"github.com/gopipework/gopipework/e2e/program"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/topology"
	"golang.org/x/sys/unix"
)

// TestOpenVSwitchAway: while Open vSwitch is started again, nobody can tell that a bridge is
// one of its. What is attached to it stays, and is as asked when Open vSwitch is back.
func TestOpenVSwitchAway(t *testing.T) {
	testhost.NeedRoot(t)
	if _, err := program.Look("ovs-vswitchd"); err != nil {
		testhost.Lacking(t, "ovs", err.Error())
	}
	on := testhost.New(t)
	ovs, err := on.StartOVS()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("OVS_RUNDIR", ovs.RunDir)
	if _, err := ovs.Vsctl("add-br", "ovs-lab", "--", "set", "bridge", "ovs-lab", "datapath_type=netdev"); err != nil {
		t.Fatal(err)
	}
	hostNS, err := os.Open(on.Namespace())
	if err != nil {
		t.Fatal(err)
	}
	defer hostNS.Close()
	ns := testhost.NewNamespace(t)
	var st unix.Stat_t
	if err := unix.Fstat(int(ns.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	web := attach.GuestInfo{Runtime: "path", Name: fmt.Sprintf("/proc/self/fd/%d", ns.Fd()), NetNS: st.Ino}
	open := func() *attach.Guest {
		own, err := os.Open(web.Name)
		if err != nil {
			t.Fatal(err)
		}
		return guests.New(web, own, nil)
	}
	opt := attach.Options{HostNS: hostNS, Origin: "file:lab"}
	h := Host{Options: opt, Find: func(context.Context, string) (*attach.Guest, error) { return open(), nil }}
	want := Wanted{Origin: opt.Origin, Guests: map[string]Guest{"web": {GuestInfo: web}}, Entries: []topology.Entry{entry(t, 1, "ovs-lab web 10.0.0.1/24 @10")}}
	made := open()
	defer made.Close()
	if _, err := attach.Attach(t.Context(), *want.Entries[0].Attach, made, opt); err != nil {
		t.Fatal(err)
	}
	list := func() []attach.Attachment {
		t.Helper()
		r, err := attach.List(t.Context(), nil, opt)
		if err != nil || len(r.Attachments) != 1 {
			t.Fatalf("there is %+v, %v", r, err)
		}
		return r.Attachments
	}
	apply := func() (items []Item, outcomes []Outcome) {
		t.Helper()
		d, err := Compare(want, list())
		if err == nil {
			err = h.Settle(t.Context(), &d)
		}
		if err != nil {
			t.Fatal(err)
		}
		h.Do(t.Context(), d, func(_ *Item, o Outcome) { outcomes = append(outcomes, o) })
		return d.Items, outcomes
	}
	before := list()[0]
	if err := ovs.SignalDatabase(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	items, outcomes := apply()
	if len(items) != 1 || items[0].Action != Refused || fault.CodeOf(items[0].Err) != fault.Unsupported || len(outcomes) != 1 || outcomes[0].Changed {
		t.Errorf("without a database: %+v, %+v", items, outcomes)
	}
	if err := ovs.StartDatabase(); err != nil {
		t.Fatal(err)
	}
	if items, _ := apply(); len(items) != 0 {
		t.Errorf("with the database again, %+v is to be done", items)
	}
	if after := list()[0]; after.Host != before.Host || after.Interface.MAC != before.Interface.MAC {
		t.Errorf("there is %+v, and was %+v", after, before)
	}
}
