package survey

import (
	"context"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gopipework/gopipework/e2e/host"
	"github.com/gopipework/gopipework/e2e/program"
	"github.com/gopipework/gopipework/internal/graph"
	"golang.org/x/sys/unix"
)

// in runs a shell script in a namespace; the files are its descriptors from 4 on.
func in(t *testing.T, ns *os.File, script string, files ...*os.File) {
	t.Helper()
	cmd := program.Command("nsenter", "--net=/proc/self/fd/3", "sh", "-ec", script)
	cmd.ExtraFiles = append([]*os.File{ns}, files...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
}

// guest returns a namespace that a process is in, so that it can be found.
func guest(t *testing.T) *os.File {
	t.Helper()
	ns := host.NewNamespace(t)
	cmd := program.Command("nsenter", "--net=/proc/self/fd/3", "sleep", "300")
	cmd.ExtraFiles = []*os.File{ns}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	var st, own unix.Stat_t
	in := func() bool {
		return unix.Fstat(int(ns.Fd()), &st) == nil && unix.Stat("/proc/"+strconv.Itoa(cmd.Process.Pid)+"/ns/net", &own) == nil && st.Ino == own.Ino
	}
	if !host.Poll(host.Patience, in) {
		t.Fatal("nothing runs in the namespace")
	}
	return ns
}

// TestFollow: what happens to the host's links is told, and in a guest that one leads to.
func TestFollow(t *testing.T) {
	host.NeedRoot(t)
	ns, far := host.NewNamespace(t), host.NewNamespace(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	told := make(chan struct{}, 1000)
	if err := Follow(ctx, ns, func() { told <- struct{}{} }); err != nil {
		t.Fatal(err)
	}
	for _, change := range []func(){
		func() { in(t, ns, "ip link add near type veth peer name far") },
		func() { in(t, ns, "ip link set far netns /proc/self/fd/4", far) },
		func() { in(t, ns, "ip link set near up") },
		func() { in(t, far, "ip address add 10.0.0.2/24 dev far") },
		func() { in(t, far, "ip link set far up") },
		func() { in(t, ns, "ip link del near") },
	} {
		for len(told) > 0 {
			<-told
		}
		change()
		select {
		case <-told:
		case <-time.After(10 * time.Second):
			t.Fatal("it was not told")
		}
	}
}

// TestTraffic: the counters of the host's end of a pair are read on the host, and those of
// a wire between guests in these.
func TestTraffic(t *testing.T) {
	host.NeedRoot(t)
	ns, a, b := host.NewNamespace(t), guest(t), guest(t)
	in(t, ns, "ip link add port type veth peer name eth1; ip link set eth1 netns /proc/self/fd/4; ip link set port up", a)
	in(t, ns, "ip link add wire type veth peer name wire2; ip link set wire netns /proc/self/fd/4; ip link set wire2 netns /proc/self/fd/5", a, b)
	up := func(ns *os.File, ifName, addr string) {
		in(t, ns, "echo 1 >/proc/sys/net/ipv6/conf/"+ifName+"/disable_ipv6; ip address add "+addr+"/24 dev "+ifName+"; ip link set "+ifName+" up")
	}
	up(ns, "port", "10.1.0.1")
	up(a, "eth1", "10.1.0.2")
	up(a, "wire", "10.2.0.1")
	up(b, "wire2", "10.2.0.2")
	in(t, a, "ping -q -c 4 -i 0.01 -s 900 10.1.0.1 >/dev/null; ping -q -c 2 -i 0.01 -s 900 10.2.0.2 >/dev/null")
	g, err := Read(t.Context(), nil, ns)
	if err != nil {
		t.Fatal(err)
	}
	all, err := Traffic(t.Context(), g, ns)
	if err != nil {
		t.Fatal(err)
	}
	of := func(ns *os.File, name string) graph.Counters {
		var st unix.Stat_t
		if err := unix.Fstat(int(ns.Fd()), &st); err != nil {
			t.Fatal(err)
		}
		is := func(n graph.Node) bool { return n.Kind == graph.Guest && n.NetNS == st.Ino }
		at := slices.IndexFunc(g.Nodes, is)
		if at < 0 {
			return graph.Counters{}
		}
		return all[g.Nodes[at].ID+"/"+name]
	}
	if c := all["host/port"]; c.Received < 3600 || c.Sent < 3600 || c.Sent > 6000 {
		t.Errorf("of the port: %+v", c)
	}
	wire, wire2 := of(a, "wire"), of(b, "wire2")
	if wire != (graph.Counters{Received: wire2.Sent, Sent: wire2.Received}) || wire.Sent < 1800 || wire.Sent > 3000 {
		t.Errorf("of the wire: %+v and %+v", wire, wire2)
	}
	for id := range all {
		if strings.HasSuffix(id, "/eth1") {
			t.Errorf("%s was read, though it has a port", id)
		}
	}
}
