package bridge

import (
	"context"
	"os"
	"strconv"
	"strings"
)

// What only ovs-vswitchd itself knows, and its database does not.

// Trace asks ovs-vswitchd what becomes of a frame that the port gets: how far its flows
// and the datapath's actions let it go, not whether the links that it leaves by are
// alive. Nothing is sent, and nothing is learned from it. A flow that tracks connections
// takes the frame for the first of a new one. The port is one that [ObserveOVS] has found.
// The error is a timeout if ovs-vswitchd does not answer.
//
//	ovs-appctl ofproto/trace BRIDGE in_port=NUMBER,dl_src=MAC,dl_dst=MAC,...
func (p OVSPort) Trace(ctx context.Context, f OVSFrame) (OVSTrace, error) {
	const op = "trace a frame from"
	args := p.traceArgs(f)
	text, err := appctl(ctx, append([]string{args[0], "--names"}, args[1:]...)...)
	if err != nil {
		return OVSTrace{}, ovsFault(op, p.Name, err)
	}
	t, err := parseTrace(text)
	return t, ovsFault(op, p.Name, err)
}

// PingOVS returns nil if ovs-vswitchd answers. Without it, what the database says is not
// done, and the datapath that is its own passes nothing on; the kernel's passes on the
// frames of those flows that it knows already. The error is a timeout if ovs-vswitchd
// runs and is silent.
//
//	ovs-appctl version
func PingOVS(ctx context.Context) error {
	_, err := appctl(ctx, "version")
	return ovsFault("ask ovs-vswitchd", "", err)
}

// Deaf reports whether the datapath of ovs-vswitchd does not listen to the link of a port,
// so that nothing sent by the guest arrives, though frames for the guest leave. This is so
// after a link has been deleted and one of the same name was made: the record of the port
// gets the Index of the new link, but the socket that ovs-vswitchd reads stays with the
// old one. Only a port that is deleted and added again, in two transactions, gets another.
// The kernel's datapath takes the new link, and no port of it is deaf.
//
// It is asked in the network namespace of ovs-vswitchd. A socket of another program, such
// as tcpdump, counts as one of ovs-vswitchd's, so that a deaf port may not be reported.
func (b OVSBridge) Deaf(p OVSPort) (bool, error) {
	if !b.Userspace() || p.Type != "" && p.Type != "system" || p.Index == 0 {
		return false, nil
	}
	const sockets = "/proc/thread-self/net/packet" // packet(7)
	text, err := os.ReadFile(sockets)
	if err != nil {
		return false, ovsFault("read the packet sockets on", p.Name, err)
	}
	return !listened(string(text), p.Index), nil
}

// listened reports whether a packet socket in the kernel's list is bound to a link.
func listened(sockets string, index int) bool {
	const column = 4 // Iface, an index
	for line := range strings.Lines(sockets) {
		if words := strings.Fields(line); len(words) > column && words[column] == strconv.Itoa(index) {
			return true
		}
	}
	return false
}
