package attach

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gopipework/gopipework/internal/nsfs"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// A view is what a namespace looks like: the text of snapshot, and the kernel's own words
// for all that the text is about. These are read without a fork, in a tenth of the time. If
// they are the same again, so is the text; if they are not, the text decides, for it leaves
// out what changes by itself.
type view struct {
	ns          *os.File
	text, words string
	sysctls     []string // their files
}

func viewOf(t *testing.T, ns *os.File) view {
	t.Helper()
	v := view{ns: ns, text: snapshot(t, ns)}
	for _, pattern := range []string{"ipv*/conf/all/*", "ipv*/conf/default/*", "bridge/*"} {
		files, err := filepath.Glob("/proc/sys/net/" + pattern)
		if err != nil {
			t.Fatal(err)
		}
		v.sysctls = append(v.sysctls, files...)
	}
	v.words = v.read(t)
	return v
}

// same fails the test if the namespace is not as it was.
func (v view) same(t *testing.T, what string) {
	t.Helper()
	if v.read(t) != v.words {
		same(t, what, v.text, snapshot(t, v.ns))
	}
}

// sameSoon is the same, a moment later if need be.
func (v view) sameSoon(t *testing.T, what string) {
	t.Helper()
	if v.read(t) != v.words {
		sameSoon(t, what, v.text, func() string { return snapshot(t, v.ns) })
	}
}

func (v view) read(t *testing.T) string {
	t.Helper()
	thread, err := nsfs.In(v.ns)
	if err != nil {
		t.Fatal(err)
	}
	defer thread.End()
	var b strings.Builder
	err = thread.Run(func() error {
		for _, d := range dumps {
			if err := d.read(&b); err != nil {
				return err
			}
		}
		for _, f := range v.sysctls {
			value, _ := os.ReadFile(f) // some can only be written
			b.WriteString(f + " " + string(value))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// dump is a question that the kernel answers with a list.
type dump struct {
	protocol, typ int
	head          int      // bytes before the attributes
	leave         []uint16 // attributes that change by themselves: counters, clocks, the queueing discipline
}

var dumps = []dump{
	{unix.NETLINK_ROUTE, unix.RTM_GETLINK, unix.SizeofIfInfomsg, []uint16{unix.IFLA_STATS, unix.IFLA_STATS64, unix.IFLA_AF_SPEC, unix.IFLA_QDISC}},
	{unix.NETLINK_ROUTE, unix.RTM_GETADDR, unix.SizeofIfAddrmsg, []uint16{unix.IFA_CACHEINFO}},
	{unix.NETLINK_ROUTE, unix.RTM_GETROUTE, unix.SizeofRtMsg, []uint16{unix.RTA_CACHEINFO}},
	{unix.NETLINK_ROUTE, unix.RTM_GETRULE, unix.SizeofRtMsg, nil},
	{unix.NETLINK_NETFILTER, unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETTABLE, nl.SizeofNfgenmsg, nil},
	{unix.NETLINK_NETFILTER, unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETCHAIN, nl.SizeofNfgenmsg, nil},
	{unix.NETLINK_NETFILTER, unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETRULE, nl.SizeofNfgenmsg, nil},
	{unix.NETLINK_NETFILTER, unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETSET, nl.SizeofNfgenmsg, nil},
}

// zeros is the head of a question: all families.
type zeros int

func (z zeros) Len() int          { return int(z) }
func (z zeros) Serialize() []byte { return make([]byte, z) }

func (d dump) read(b *strings.Builder) error {
	ask := nl.NewNetlinkRequest(d.typ, unix.NLM_F_DUMP)
	ask.AddData(zeros(d.head))
	answers, err := ask.Execute(d.protocol, 0)
	if err != nil {
		return os.NewSyscallError("netlink", err)
	}
	for _, a := range answers {
		if d.protocol == unix.NETLINK_ROUTE {
			b.WriteString(hex.EncodeToString(a[:d.head]))
		} // that of the packet filter numbers the changes that there have been
		attrs, err := nl.ParseRouteAttr(a[d.head:])
		if err != nil {
			return err
		}
		for _, attr := range attrs {
			if !slices.Contains(d.leave, attr.Attr.Type) {
				b.WriteString(" " + hex.EncodeToString(attr.Value))
			}
		}
		b.WriteString("\n")
	}
	return nil
}

// TestView: what changes the text changes the kernel's words, and what is undone is as before.
func TestView(t *testing.T) {
	needRoot(t)
	ns := newNamespace(t)
	in(t, ns, "sh", "-ec", quiet+"ip link add one type veth peer name two; ip link set two up; ip link set one up; iptables -P FORWARD ACCEPT; ip6tables -P FORWARD ACCEPT")
	carriers(t, ns, "one", "two")
	before := viewOf(t, ns)
	for _, c := range [][2]string{
		{"ip link set one mtu 1400", "ip link set one mtu 1500"},
		{"ip link set one alias x", "ip link set one alias ''"},
		{"ip address add 10.0.0.1/24 dev one", "ip address del 10.0.0.1/24 dev one"},
		{"ip -6 address add fd00::1/64 dev one nodad", "ip -6 address del fd00::1/64 dev one"},
		{"ip route add 10.9.0.0/24 dev one", "ip route del 10.9.0.0/24"},
		{"ip -6 route add fd09::/64 dev one table 7", "ip -6 route del fd09::/64 table 7"},
		{"ip rule add from 10.0.0.1 table 7", "ip rule del from 10.0.0.1 table 7"},
		{"ip -6 rule add from fd00::1 table 7", "ip -6 rule del from fd00::1 table 7"},
		{"iptables -A FORWARD -i one -j ACCEPT", "iptables -D FORWARD -i one -j ACCEPT"},
		{"ip6tables -P FORWARD DROP", "ip6tables -P FORWARD ACCEPT"},
		{"sysctl -qw net.ipv4.conf.all.log_martians=1", "sysctl -qw net.ipv4.conf.all.log_martians=0"},
	} {
		in(t, ns, "sh", "-ec", c[0])
		if before.read(t) == before.words {
			t.Errorf("%s: the kernel says the same", c[0])
		}
		in(t, ns, "sh", "-ec", c[1])
		before.sameSoon(t, c[1])
	}
	if before.read(t) != before.words {
		t.Error("after all is undone, the kernel does not say the same")
	}
}
