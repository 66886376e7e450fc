//go:build linux

package e2e

import (
	"context"
	"testing"
)

// A file of a directory that cannot be read asks for what it asked for before, whatever else is
// wrong there: with a link that leads nowhere, and with another file of its name.
func TestWatchBrokenFiles(t *testing.T) {
	m := keeping(t)
	m.sh("ip netns add green; ip netns add red")
	dir := m.Dir + "/topologies"
	m.sh("mkdir " + dir + "; ln -s nowhere " + dir + "/link.yaml")
	const blue, green, red = "br1 netns:blue 10.0.0.1/24", "br1 netns:green 10.0.0.2/24", "br1 netns:red 10.0.0.3/24"
	m.file(dir+"/a.yaml", blue)
	m.sh("printf 'attachments: [" + red + "]\n' >" + dir + "/other.yaml")
	w := m.watch("-f", dir)
	m.has("the start", "blue", "eth1 10.0.0.1/24")

	breaks := func() { m.sh("printf 'what: {\n' >>" + dir + "/a.yaml; ip netns del red; ip netns add red") }
	breaks()
	w.tells("source", "a.yaml:4:")
	m.sh("ip netns del blue; ip netns add blue")
	m.has("its file makes no sense", "blue", "eth1 10.0.0.1/24")

	m.file(dir+"/a.yaml", blue)
	m.file(dir+"/b.yaml", green)
	w.tells("warning", "another file has the same name")
	breaks()
	m.has("a restart", "red", "eth1 10.0.0.3/24")
	m.sh("ip netns del blue; ip netns add blue")
	m.has("a restart, and its file makes no sense", "blue", "eth1 10.0.0.1/24")
	m.has("another file has its name", "green")
	w.stop(t)
}

// A guest that deletes its interface while it is being attached has it again soon: it has not
// ended, so nothing tells that it starts.
func TestWatchLinkGone(t *testing.T) {
	m := keeping(t)
	path := m.Dir + "/lab.yaml"
	m.file(path, "br1 netns:blue 10.0.0.1/24")
	w := m.watch("-f", path)
	m.has("the start", "blue", "eth1 10.0.0.1/24")
	deletes := m.begin(m.Command(context.Background(), "sh", "-c", "while :; do ip -n blue link del eth1 2>/dev/null; done"))
	w.tells("pending", "meanwhile")
	m.check(deletes.Process.Kill())
	deletes.end(t)
	m.has("nobody deletes it any more", "blue", "eth1 10.0.0.1/24")
	w.stop(t)
}
