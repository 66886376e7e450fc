package rtnl

import (
	"encoding/binary"
	"errors"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// TestSocketOtherAnswers: an answer that nobody waited for is not taken for the next
// request's, and the kernel's words come with its error.
func TestSocketOtherAnswers(t *testing.T) {
	needRoot(t)
	s := newSpace(t)
	ask := s.request(unix.RTM_GETLINK, unix.NLM_F_ACK)
	lo := nl.NewIfInfomsg(unix.AF_UNSPEC)
	lo.Index = 1
	ask.AddData(lo)
	ask.Seq = 1 << 30
	ok(t, "send", unix.Sendto(s.route.fd, ask.Serialize(), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}))
	_, err := s.LinkByName("none0")
	if !errors.Is(err, ErrNotFound) {
		t.Errorf("a link that is not there, after a forgotten request for lo: %v", err)
	}
	ok(t, "make a veth pair", s.AddVeth(Veth{Name: "v0", PeerName: "v1", PeerNS: s.ns}))
	err = s.AddVeth(Veth{Name: "v0", PeerName: "v2", PeerNS: s.ns})
	if !errors.Is(err, unix.EEXIST) {
		t.Errorf("the same pair again: %v", err)
	}
	bad := s.linkRequest(unix.RTM_NEWLINK, 0, 1)
	bad.AddData(nl.NewRtAttr(unix.IFLA_MTU, []byte{1})) // too short
	if err := s.write(bad); err == nil || !strings.Contains(err.Error(), ": ") {
		t.Errorf("the kernel's words for a short attribute: %v", err)
	}
	s.Conn.route.close()
	if _, err := s.LinkByIndex(1); !errors.Is(err, os.ErrClosed) {
		t.Errorf("a closed socket: %v", err)
	}
}

// TestVerdict: how an answer ends, whatever stands in front of the kernel's words.
func TestVerdict(t *testing.T) {
	number := binary.NativeEndian.AppendUint32(nil, ^uint32(unix.EBUSY)+1)
	request := make([]byte, unix.SizeofNlMsghdr+8)
	binary.NativeEndian.PutUint32(request, uint32(len(request)))
	words := nl.NewRtAttr(nl.NLMSGERR_ATTR_MSG, nl.ZeroTerminated("somebody has it")).Serialize()
	for _, one := range []struct {
		name  string
		kind  uint16
		flags uint16
		data  [][]byte
		want  string
	}{
		{"success", unix.NLMSG_ERROR, 0, [][]byte{make([]byte, 4), request}, ""},
		{"end of a dump", unix.NLMSG_DONE, 0, nil, ""},
		{"no words", unix.NLMSG_ERROR, 0, [][]byte{number, request}, "device or resource busy"},
		{"words", unix.NLMSG_ERROR, unix.NLM_F_ACK_TLVS, [][]byte{number, request, words}, "device or resource busy: somebody has it"},
		{"words, header alone", unix.NLMSG_ERROR, unix.NLM_F_ACK_TLVS | unix.NLM_F_CAPPED, [][]byte{number, request[:unix.SizeofNlMsghdr], words}, "device or resource busy: somebody has it"},
		{"words at the end of a dump", unix.NLMSG_DONE, unix.NLM_F_ACK_TLVS, [][]byte{number, words}, "device or resource busy: somebody has it"},
		{"cut off", unix.NLMSG_ERROR, unix.NLM_F_ACK_TLVS, [][]byte{number, request[:3]}, "device or resource busy"},
		{"words cut off", unix.NLMSG_ERROR, unix.NLM_F_ACK_TLVS, [][]byte{number, request, words[:7]}, "device or resource busy"},
	} {
		m := syscall.NetlinkMessage{Header: syscall.NlMsghdr{Type: one.kind, Flags: one.flags}, Data: slices.Concat(one.data...)}
		said := ""
		if err := verdictOf(m); err != nil {
			said = err.Error()
		}
		if said != one.want {
			t.Errorf("%s: %q, want %q", one.name, said, one.want)
		}
	}
}

// TestAddrs: the addresses of a namespace, from within and from another; where an
// address has a peer, the subnet is the peer's.
func TestAddrs(t *testing.T) {
	needRoot(t)
	here, there := newSpace(t), newSpace(t)
	ok(t, "make a veth pair", here.AddVeth(Veth{Name: "v0", PeerName: "v1", PeerNS: there.ns}))
	there.sh(`ip address add 10.0.0.1/24 brd + dev v1
		ip address add 10.1.0.1 peer 10.1.0.2/24 dev v1
		ip address add fd00::1/64 dev v1 nodad
		ip address add fd01::1 peer fd01::2/64 dev v1 nodad`)
	index := there.link("v1").Index
	all, err := there.Addrs()
	ok(t, "list addresses", err)
	var within []Addr
	var texts []string
	for _, a := range all {
		if a.Index == index {
			within, texts = append(within, a), append(texts, a.Prefix.String())
		}
	}
	slices.Sort(texts)
	if want := []string{"10.0.0.1/24", "10.1.0.1/32", "fd00::1/64", "fd01::1/128"}; !slices.Equal(texts, want) {
		t.Errorf("addresses %v, want %v", texts, want)
	}
	id, err := here.GiveNamespaceID(there.ns)
	ok(t, "find the namespace's id", err)
	from, err := here.AddrsIn(id, index)
	ok(t, "list addresses from outside", err)
	if !slices.Equal(from, within) {
		t.Errorf("from outside %v, from within %v", from, within)
	}
}
