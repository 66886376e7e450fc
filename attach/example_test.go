package attach_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/dockerutil"
	testhost "github.com/gopipework/gopipework/e2e/host"
	"github.com/gopipework/gopipework/e2e/program"
)

// Attach a guest to a bridge, which is made if it is not there, and detach it again.
func ExampleAttach() {
	ctx := context.Background()
	spec, err := attach.Parse(attach.Words{HostIF: "br1", Guest: "netns:web", Address: "192.168.1.2/24"})
	if err != nil {
		log.Fatal(err)
	}
	guest, err := dockerutil.Find(ctx, spec.Guest) // any word of the command: "web", "pid:4711"
	if err != nil {
		log.Fatal(err)
	}
	defer guest.Close()
	r, err := attach.Attach(ctx, spec, guest, attach.Options{})
	if err != nil {
		log.Fatal(err)
	}
	a := r.Attachments[0]
	fmt.Println(a.Guest.Word(), "has", a.Interface.Name, a.Interface.Addresses, "on", a.Host.Name)
	r, err = attach.Detach(ctx, attach.Selection{IfName: "eth1"}, guest, attach.Options{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("changed:", r.Changed)
}

// Give the host an address of its own on a bridge, and take it out again.
func ExampleEnsureBridge() {
	ctx := context.Background()
	lab := attach.Options{Origin: "file:lab"} // who asks, and may remove it again
	spec := attach.BridgeSpec{Name: "br7", Addrs: []netip.Prefix{netip.MustParsePrefix("192.168.7.1/24")}}
	if _, err := attach.EnsureBridge(ctx, spec, lab); err != nil {
		log.Fatal(err)
	}
	there, err := attach.List(ctx, nil, attach.Options{})
	if err != nil {
		log.Fatal(err)
	}
	for _, b := range there.Bridges {
		fmt.Println(b.Name, b.Addresses, b.Origin)
	}
	if _, err := attach.RemoveBridge(ctx, "br7", lab); err != nil {
		log.Fatal(err)
	}
}

// Plan only: nothing is changed, and the result has the commands that a person would
// type.
func ExampleOptions() {
	ctx := context.Background()
	spec, err := attach.Parse(attach.Words{HostIF: "br1", Guest: "netns:web", Address: "0/0"})
	if err != nil {
		log.Fatal(err)
	}
	guest, err := dockerutil.Find(ctx, spec.Guest)
	if err != nil {
		log.Fatal(err)
	}
	defer guest.Close()
	r, err := attach.Attach(ctx, spec, guest, attach.Options{DryRun: true})
	if err != nil {
		log.Fatal(err)
	}
	for _, command := range r.Steps {
		fmt.Println(command)
	}
}

// Two network namespaces and a link between them, as a test of a network program needs
// them.
func ExampleLink() {
	web, err := attach.OpenGuest("/run/netns/web")
	if err != nil {
		log.Fatal(err)
	}
	defer web.Close()
	db, err := attach.OpenGuest("/run/netns/db")
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	link, err := attach.ParseLink(attach.LinkWords{Ends: [2]attach.EndWords{
		{Guest: "web", Address: "10.8.0.1/30"},
		{Guest: "db", Address: "10.8.0.2/30"},
	}})
	if err != nil {
		log.Fatal(err)
	}
	r, err := attach.Link(context.Background(), link, web, db, attach.Options{})
	if err != nil {
		log.Fatal(err)
	}
	for _, a := range r.Attachments {
		fmt.Println(a.Guest.Name, a.Interface.Name, a.Interface.Addresses)
	}
}

// The code of an error says what kind it is, and the hint what to do about it.
func ExampleError() {
	_, err := attach.Parse(attach.Words{HostIF: "br1", Guest: "web", Address: "192.168.1.2"})
	var e *attach.Error
	if !errors.As(err, &e) {
		log.Fatal(err)
	}
	switch e.Code {
	case attach.CodeUsage:
		fmt.Printf("%v; try %s\n", e, e.Hint)
	case attach.CodeNotFound, attach.CodeGone:
		fmt.Println("there is no such guest any more")
	case attach.CodeResidue:
		fmt.Println("not all could be undone:", e.Residue)
	default:
		fmt.Println(e)
	}
	// Output: read address "192.168.1.2": it has no prefix length; try 192.168.1.2/24
}

// A program that lives long keeps the leases of dhcp and dhcp6 itself. When it ends, a
// process of gopipework's goes on with each guest.
func ExampleKeepLeases() {
	opt := attach.Options{Keeper: "/usr/bin/gopipework"}
	leases, err := attach.KeepLeases(opt, func(e attach.LeaseEvent) {
		fmt.Println(e.Guest, e.IfName, e.What, e.Address)
	})
	if err != nil {
		log.Fatal(err)
	}
	opt.Leases = leases // for every Attach and Detach
	fmt.Println("leases:", leases.Len())
	if err := leases.Close(context.Background()); err != nil {
		log.Fatal(err)
	}
}

// TestExamples runs the examples that need root, with the namespaces that they name,
// on a host of their own.
func TestExamples(t *testing.T) {
	if os.Getenv("GOPIPEWORK_TEST_EXAMPLES") == "" {
		testhost.NeedRoot(t)
		cmd := program.Command("unshare", "--net", "--mount", "sh", "-ec",
			`mount -t tmpfs tmpfs /run; ip netns add web; ip netns add db; exec "$0" -test.run '^TestExamples$'`, os.Args[0])
		cmd.Env = append(os.Environ(), "GOPIPEWORK_TEST_EXAMPLES=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	for _, tt := range []struct {
		name string
		run  func()
		want string // among what it prints
	}{
		{"ExampleAttach", ExampleAttach, "netns:web has eth1 [192.168.1.2/24] on br1\nchanged: true\n"},
		{"ExampleEnsureBridge", ExampleEnsureBridge, "br7 [192.168.7.1/24] file:lab\n"},
		{"ExampleOptions", ExampleOptions, " master br1"},
		{"ExampleLink", ExampleLink, "/run/netns/web eth1 [10.8.0.1/30]\n/run/netns/db eth1 [10.8.0.2/30]\n"},
		{"ExampleKeepLeases", ExampleKeepLeases, "leases: 0\n"},
	} {
		if got := printed(t, tt.run); !strings.Contains(got, tt.want) {
			t.Errorf("%s prints\n%swithout\n%s", tt.name, got, tt.want)
		}
	}
}

// printed returns what f prints.
func printed(t *testing.T, f func()) string {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout := os.Stdout
	os.Stdout = w
	read := make(chan string)
	go func() {
		var b bytes.Buffer
		io.Copy(&b, r)
		read <- b.String()
	}()
	f()
	os.Stdout = stdout
	w.Close()
	return <-read
}
