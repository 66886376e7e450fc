package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/internal/report"
)

// missingEvents is what a watch may say.
var missingEvents = []report.Event{
	{Kind: report.Pending, Origin: "keep", Line: "br1 web 10.0.0.1/24@10.0.0.9 @10", Reason: "no such container"},
	{Kind: report.Failed, Origin: "file:lab", Line: "ovs:sw -i lan0 docker:db dhcp", Reason: "no server\nanswers", Failures: 3, Again: time.Date(2030, 1, 2, 3, 4, 5, 0, time.Local)},
	{Kind: report.Refused, Origin: "label", Guest: "docker:bad", IfName: "eth1", Line: "$(reboot) \x1b[2J", Reason: "no entry matches"},
	{Kind: report.Pending, Origin: "file:lab", Line: "link db:to-web 10.8.0.1/30 web 10.8.0.2/30", Reason: "not running"},
	{Kind: report.Failed, Origin: "keep", Guest: "docker:there", IfName: "eth1", Line: "br1 there 10.0.0.7/24", Reason: "busy", Failures: 1},
}

// there are the attachments of the same host.
func there() []attach.Attachment {
	a := attach.Attachment{State: attach.Complete, Origin: "keep"}
	a.Guest = attach.GuestInfo{Runtime: "docker", Name: "there"}
	a.Interface.Name = "eth1"
	return []attach.Attachment{a}
}

// TestListMissing: what is wanted and not there is in the table, with the reason, and what is
// there and not as it is wanted has a note.
func TestListMissing(t *testing.T) {
	var out strings.Builder
	(&output{stdout: &out}).table(answer{events: missingEvents}.rows(there(), nil))
	want := `GUEST INTERFACE ADDRESS GATEWAY HOST PORT STATE ORIGIN NOTE
docker:there eth1 - - - - complete keep failed: busy
web eth1 10.0.0.1/24 10.0.0.9 br1@10 - pending keep no such container
docker:db lan0 - - sw - pending file:lab failed 3 times, tried again at 03:04:05: no server\u000aanswers
docker:bad eth1 - - - - pending label refused: no entry matches
db to-web 10.8.0.1/30 - - - pending file:lab not running
web eth1 10.8.0.2/30 - - - pending file:lab not running
`
	var got strings.Builder
	for l := range strings.Lines(out.String()) {
		got.WriteString(strings.Join(strings.Fields(l), " ") + "\n")
	}
	if got.String() != want {
		t.Errorf("\n got\n%swant\n%s", &got, want)
	}
}

// TestListMissingOfGuest: a list of one guest has what is missing for it.
func TestListMissingOfGuest(t *testing.T) {
	g := &attach.Guest{GuestInfo: attach.GuestInfo{Runtime: "docker", ID: "0123456789abcdef", Name: "web"}}
	rows := answer{events: missingEvents}.rows(nil, g)
	if len(rows) != 2 || rows[0].Host.Name != "br1" || rows[1].Interface.Name != "eth1" {
		t.Errorf("%+v", rows)
	}
}

// TestListMissingJSON: in JSON it is an attachment whose state is pending, and what is there
// has its own state.
func TestListMissingJSON(t *testing.T) {
	var out strings.Builder
	if err := (&output{stdout: &out, json: true}).list(answer{events: missingEvents}.rows(there(), nil), nil, nil); err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Attachments []struct {
			Guest struct{ Name, Runtime string }
			State string
			Host  struct{ Kind, Name, VLAN string }

			Interface struct{ Addresses []string }
			Pending   *struct {
				Why, Reason, Hint, Line, Again string
				Failures                       int
			}
		}
	}
	if err := json.Unmarshal([]byte(out.String()), &doc); err != nil {
		t.Fatal(err)
	}
	all := doc.Attachments
	if len(all) != 6 || all[0].State != "complete" || all[0].Pending.Reason != "busy" {
		t.Fatalf("%+v", all)
	}
	if web := all[1]; web.State != "pending" || web.Pending.Why != "pending" || web.Pending.Again != "" || web.Host.VLAN != "10" || web.Interface.Addresses[0] != "10.0.0.1/24" || web.Pending.Line != missingEvents[0].Line {
		t.Errorf("%+v", web)
	}
	if db := all[2]; db.State != "pending" || db.Pending.Why != "failed" || db.Pending.Failures != 3 || db.Pending.Again == "" || db.Guest.Runtime != "docker" || db.Guest.Name != "db" {
		t.Errorf("%+v", db)
	}
	if bad := all[3]; bad.Interface.Addresses == nil {
		t.Errorf("an empty list is null: %s", &out)
	}
}

// TestMissingBridge: what is missing of a bridge is in the row of the bridge, and a device of
// that name is not one.
func TestMissingBridge(t *testing.T) {
	a := answer{events: []report.Event{
		{Kind: report.Failed, Origin: "file:lab", Line: "bridge br9 uplink eth9", Reason: "there is no eth9"},
		{Kind: report.Pending, Guest: "web", Origin: "file:lab", Line: "bridge web 10.0.0.2/24", Reason: "no such container"},
	}}
	rows := a.bridgesFor([]attach.Bridge{{Name: "br1", Origin: "file:lab", Uplink: "eth1"}}, nil)
	if len(rows) != 2 || rows[0].Pending != nil || rows[1].Name != "br9" || rows[1].Pending == nil {
		t.Fatalf("bridges: %+v", rows)
	}
	if all := a.rows(nil, nil); len(all) != 1 || all[0].Guest.Name != "web" {
		t.Errorf("attachments: %+v", all)
	}
	var out strings.Builder
	if err := (&output{stdout: &out}).list(nil, rows, nil); err != nil {
		t.Fatal(err)
	}
	if want := "BRIDGE  ADDRESS  UPLINK  ORIGIN    NOTE\nbr1     -        eth1    file:lab  -\nbr9     -        -       file:lab  failed: there is no eth9\n"; out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}

// TestListParked: what waits for its guest is one row, with what is said about it.
func TestListParked(t *testing.T) {
	parked := attach.Attachment{State: attach.Parked, Origin: "keep", Guest: attach.GuestInfo{Runtime: "docker", ID: "0123456789ab", Name: "web"}}
	parked.Interface.Name, parked.Host.Port = "eth1", "veth1pl7"
	rows := answer{events: missingEvents[:1]}.rows([]attach.Attachment{parked}, nil)
	if len(rows) != 1 || rows[0].State != attach.Parked || rows[0].Pending == nil || rows[0].Pending.Reason != "no such container" {
		t.Errorf("%+v", rows)
	}
}

// TestListUnread: a list warns of a file that watch cannot read, and has no row for it.
func TestListUnread(t *testing.T) {
	a := newAnswer([]report.Event{{Kind: report.Source, Name: "/etc/gopipework/lab.yml", State: report.Down, Reason: "/etc/gopipework/lab.yml:3:5: unknown key"}, missingEvents[0]}, nil)
	want := []string{"what watch cannot read may ask for more: /etc/gopipework/lab.yml:3:5: unknown key"}
	if rows := a.rows(nil, nil); len(rows) != 1 || !slices.Equal(a.warnings(), want) {
		t.Errorf("%d rows, warnings %q, want %q", len(rows), a.warnings(), want)
	}
}
