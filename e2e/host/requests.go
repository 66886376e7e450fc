//go:build linux

package host

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Requests are what a command asked of the kernel's network configuration and of
// daemons, in order: "route GETLINK", "route GETADDR dump", "netfilter GETRULE dump",
// "socket GET /v1.54/containers/web/json", "exec iptables".
type Requests []string

// Count is how many begin with the words.
func (r Requests) Count(words string) (n int) {
	for _, one := range r {
		if one == words || strings.HasPrefix(one, words+" ") {
			n++
		}
	}
	return n
}

// Dumps is how many ask for all there is of something.
func (r Requests) Dumps(protocol string) (n int) {
	for _, one := range r {
		if strings.HasPrefix(one, protocol+" ") && strings.HasSuffix(one, " dump") {
			n++
		}
	}
	return n
}

// Requests runs a command on the host under strace; it has to succeed.
func (h *Host) Requests(name string, args ...string) (Requests, error) {
	return h.requests(nil, append([]string{name}, args...))
}

// RequestsAlone is Requests where the command sees no process but its own, and so no
// namespace of a test beside this one. Its guests have to have names.
func (h *Host) RequestsAlone(name string, args ...string) (Requests, error) {
	return h.requests([]string{"unshare", "--pid", "--fork", "--mount-proc"}, append([]string{name}, args...))
}

// requests runs strace by the command that prepares its surroundings, if there is one.
func (h *Host) requests(prepare, command []string) (Requests, error) {
	trace := filepath.Join(h.Dir, "requests")
	defer os.Remove(trace)
	words := slices.Concat(prepare, []string{"strace", "-f", "-yy", "-s", "200", "-e", "signal=none",
		"-e", "trace=socket,sendto,sendmsg,write,execve", "-o", trace}, command)
	if _, err := h.Must(words[0], words[1:]...); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(trace)
	if err != nil {
		return nil, err
	}
	t := tracer{asked: map[string]string{}, sockets: map[string]string{}}
	for line := range strings.Lines(string(text)) {
		t.read(strings.TrimSpace(line))
	}
	if len(t.seen) < 2 { // the first is the command itself
		return nil, fmt.Errorf("strace saw no request of %s", command[0])
	}
	return t.seen[1:], nil
}

// tracer reads what strace wrote. Of a socket in another namespace strace knows
// neither the protocol nor what its numbers mean.
type tracer struct {
	asked   map[string]string // thread: the protocol of the socket it is about to get
	sockets map[string]string // descriptor: protocol
	seen    Requests
}

var (
	opening     = regexp.MustCompile(`^(\d+) +socket\(AF_NETLINK, [^,]*, NETLINK_([A-Z_]+)`)
	opened      = regexp.MustCompile(`^(\d+) .*socket.* = (\d+)<NETLINK`)
	netlinkCall = regexp.MustCompile(`^\d+ +(?:sendto|sendmsg|write)\((\d+)<NETLINK:`)
	message     = regexp.MustCompile(`nlmsg_type=([^,]*), nlmsg_flags=([A-Za-z0-9_|]+)`)
	socketCall  = regexp.MustCompile(`^\d+ +(?:sendto|sendmsg|write)\(\d+<UNIX.*?, "([A-Z]+ [^ ]+) HTTP`)
	execCall    = regexp.MustCompile(`^\d+ +execve\("([^"]+)".* = 0$`)
)

func (t *tracer) read(line string) {
	if m := opening.FindStringSubmatch(line); m != nil {
		t.asked[m[1]] = strings.ToLower(m[2])
	}
	if m := opened.FindStringSubmatch(line); m != nil {
		t.sockets[m[2]] = t.asked[m[1]]
	}
	if m := netlinkCall.FindStringSubmatch(line); m != nil {
		for _, part := range message.FindAllStringSubmatch(line, -1) {
			t.seen = append(t.seen, netlinkRequest(t.sockets[m[1]], part[1], part[2]))
		}
	} else if m := socketCall.FindStringSubmatch(line); m != nil {
		t.seen = append(t.seen, "socket "+m[1])
	} else if m := execCall.FindStringSubmatch(line); m != nil {
		t.seen = append(t.seen, "exec "+filepath.Base(m[1]))
	}
}

// netlinkRequest names a request. Its type is a name, or a number and a remark.
func netlinkRequest(protocol, kind, flags string) string {
	name, _, _ := strings.Cut(kind, " ")
	if n, err := strconv.ParseUint(name, 0, 16); err == nil {
		switch {
		case protocol == "route" && routeRequests[uint16(n)] != "":
			name = routeRequests[uint16(n)]
		case protocol == "netfilter" && n>>8 == unix.NFNL_SUBSYS_NFTABLES && nftRequests[uint16(n&0xff)] != "":
			name = nftRequests[uint16(n&0xff)]
		}
	}
	name = name[strings.LastIndex(name, "|")+1:]
	name = strings.TrimPrefix(strings.TrimPrefix(name, "RTM_"), "NFT_MSG_")
	dump := strings.Contains(flags, "NLM_F_DUMP") || strings.Contains(flags, "0x300")
	if dump && strings.HasPrefix(name, "GET") {
		name += " dump"
	}
	return protocol + " " + name
}

var routeRequests = map[uint16]string{
	unix.RTM_NEWLINK: "NEWLINK", unix.RTM_DELLINK: "DELLINK", unix.RTM_GETLINK: "GETLINK", unix.RTM_SETLINK: "SETLINK",
	unix.RTM_NEWADDR: "NEWADDR", unix.RTM_DELADDR: "DELADDR", unix.RTM_GETADDR: "GETADDR",
	unix.RTM_NEWROUTE: "NEWROUTE", unix.RTM_DELROUTE: "DELROUTE", unix.RTM_GETROUTE: "GETROUTE",
	unix.RTM_NEWRULE: "NEWRULE", unix.RTM_DELRULE: "DELRULE", unix.RTM_GETRULE: "GETRULE",
	unix.RTM_NEWNEIGH: "NEWNEIGH", unix.RTM_GETNEIGH: "GETNEIGH", unix.RTM_GETQDISC: "GETQDISC",
	unix.RTM_GETNSID: "GETNSID", unix.RTM_NEWNSID: "NEWNSID", unix.RTM_NEWLINKPROP: "NEWLINKPROP", unix.RTM_GETNEXTHOP: "GETNEXTHOP",
}

var nftRequests = map[uint16]string{
	unix.NFT_MSG_GETTABLE: "GETTABLE", unix.NFT_MSG_GETCHAIN: "GETCHAIN", unix.NFT_MSG_GETRULE: "GETRULE",
	unix.NFT_MSG_GETSET: "GETSET", unix.NFT_MSG_GETSETELEM: "GETSETELEM", unix.NFT_MSG_GETGEN: "GETGEN",
}
