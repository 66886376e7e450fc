package dockerutil

import (
	"context"
	"os"
	"testing"

	"github.com/gopipework/gopipework/e2e/host"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guests"
)

// A real systemd-nspawn, registered with a real systemd-machined on a host of the
// test's own.
func TestLiveMachine(t *testing.T) {
	need(t, "machine", "machinectl", "systemd-nspawn", "dbus-daemon", "nsenter", "busybox")
	if !exists(host.MachinedPath) {
		host.Lacking(t, "machine", host.MachinedPath)
	}
	h := host.New(t)
	m, err := h.StartMachined()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	end, err := m.Spawn("web")
	if err != nil {
		t.Fatal(err)
	}

	// gopipework's machinectl is the real one, seen from outside.
	dir := t.TempDir()
	f := liveFinder(t)
	f.commands = []string{dir}
	f.machines = m.Machines()
	writeFile(t, dir+"/machinectl", m.Machinectl())
	if err := os.Chmod(dir+"/machinectl", 0o755); err != nil {
		t.Fatal(err)
	}
	pid := counted(t)(m.PID("web"))
	guest := Guest{GuestInfo: guests.GuestInfo{Runtime: "machine", ID: "web", Name: "web", PID: pid}}
	checkWords(t, f, []wordCase{
		{word: "machine:web", want: guest},
		{word: "web", want: guest},
		{word: "machine:nosuch", code: fault.NotFound, text: "machinectl list"},
		{word: "nosuch", code: fault.NotFound},
	})
	g, err := f.find(context.Background(), wordRef{Runtime: "machine", Name: "web"})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	end()
	waitEnded(t, g)
	wantFault(t, g.Alive(), fault.Gone)
	// It is from systemd that machined hears of an end. Here there is none, and it
	// may go on giving the number of a process that is no more.
	_, err = f.find(context.Background(), wordRef{Runtime: "machine", Name: "web"})
	if code := fault.CodeOf(err); code != fault.NotFound && code != fault.Runtime {
		t.Errorf("after its end: %v", err)
	}

	// Without a system bus there is no machined, which a bare word passes over.
	f.commands = commandDirs()
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+dir+"/nosuch")
	checkWords(t, f, []wordCase{{word: "machine:web", code: fault.Runtime, text: "systemd-machined is not here"}})
}
