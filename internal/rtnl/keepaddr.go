package rtnl

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gopipework/gopipework/internal/shell"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// From linux/if_addr.h.
const (
	ifaProto         = 11
	ifaprotKernelLL  = 3 // 1 to 3: loopback's, a router's, link-local
	keptAddrFlags    = unix.IFA_F_NODAD | unix.IFA_F_OPTIMISTIC | unix.IFA_F_HOMEADDRESS | unix.IFA_F_MANAGETEMPADDR | unix.IFA_F_NOPREFIXROUTE | unix.IFA_F_MCAUTOJOIN
	forever          = 0xffffffff
	ifaPreferred     = 0 // where in struct ifa_cacheinfo
	ifaValid         = 4
	sizeofLifetimes  = 8
	ifaddrmsgFlags   = 2 // where in struct ifaddrmsg
	ifaddrmsgIndex   = 4
	ifaddrmsgScope   = 3
	ifaddrmsgPrefLen = 1
)

// keepAddrs returns the addresses of the link that somebody set, in the order
// in which they have to be added to stand as they do.
func (c *Conn) keepAddrs(l *Link) ([]KeptPart, error) {
	var v4, v6 []KeptPart
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		msgs, err := c.addrMessages(family)
		if err != nil {
			return nil, err
		}
		for _, m := range msgs {
			a, err := readAddr(m)
			if err != nil {
				return nil, err
			}
			if a.index() != l.Index || a.kernels() {
				continue
			}
			p := KeptPart{Command: a.command(l.Name), Message: a.message()}
			if family == unix.AF_INET {
				v4 = append(v4, p)
			} else {
				v6 = append(v6, p)
			}
		}
	}
	slices.Reverse(v6) // a new one goes in front of the others of its scope
	return append(v4, v6...), nil
}

// addrMessages returns the addresses of one family, of all links.
func (c *Conn) addrMessages(family uint8) ([][]byte, error) {
	msgs, err := c.dump(func() *nl.NetlinkRequest {
		req := c.request(unix.RTM_GETADDR, unix.NLM_F_DUMP)
		req.AddData(nl.NewIfAddrmsg(int(family)))
		return req
	}, unix.RTM_NEWADDR)
	// A kernel without IPv6 answers with all that it has.
	return slices.DeleteFunc(msgs, func(m []byte) bool { return len(m) == 0 || m[0] != family }), err
}

// addAddr adds the address, unless its time is up.
func (c *Conn) addAddr(index int, p KeptPart, age time.Duration) error {
	a, err := readAddr(p.Message)
	if err != nil {
		return err
	}
	if !a.grow(age) {
		return nil
	}
	nl.NativeEndian().PutUint32(a.header[ifaddrmsgIndex:], uint32(index))
	req := c.request(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	req.AddRawData(a.message())
	return c.write(req)
}

// keptAddr is an RTM_NEWADDR message, taken apart: struct ifaddrmsg, and of its
// attributes those that can be set.
type keptAddr struct {
	header []byte
	attrs  attrs
	flags  uint32 // all of them
}

func readAddr(m []byte) (a keptAddr, err error) {
	if len(m) < unix.SizeofIfAddrmsg {
		return a, fmt.Errorf("address message of %d bytes: %w", len(m), errDamaged)
	}
	a.header = slices.Clone(m[:unix.SizeofIfAddrmsg])
	all, err := readAttrs(m[unix.SizeofIfAddrmsg:])
	if err != nil {
		return a, err
	}
	a.flags = uint32(a.header[ifaddrmsgFlags])
	if f, ok := all.get(unix.IFA_FLAGS); ok {
		a.flags = u32(f)
	}
	a.header[ifaddrmsgFlags] = 0
	for _, at := range all {
		switch at.typ {
		case unix.IFA_FLAGS:
			at.value = nl.Uint32Attr(a.flags & keptAddrFlags)
			a.attrs = append(a.attrs, at)
		case unix.IFA_ADDRESS, unix.IFA_LOCAL, unix.IFA_LABEL, unix.IFA_BROADCAST, unix.IFA_CACHEINFO, unix.IFA_RT_PRIORITY, ifaProto:
			a.attrs = append(a.attrs, at)
		}
	}
	return a, nil
}

func (a keptAddr) message() []byte { return a.attrs.append(slices.Clone(a.header)) }

func (a keptAddr) index() int { return int(u32(a.header[ifaddrmsgIndex:])) }

// local is the address itself, which for a peer's is not the one that is shown first.
func (a keptAddr) local() string {
	local, ok := a.attrs.get(unix.IFA_LOCAL)
	if !ok {
		local, _ = a.attrs.get(unix.IFA_ADDRESS)
	}
	return ipText(local)
}

// text tells it from the link's others.
func (a keptAddr) text() string {
	address, _ := a.attrs.get(unix.IFA_ADDRESS)
	return fmt.Sprintf("%s peer %s/%d", a.local(), ipText(address), a.header[ifaddrmsgPrefLen])
}

// kernels reports whether the kernel made the address by itself. Since Linux
// 5.18 it says so; before, a link-local one and a router's count as set, which
// does no harm: the kernel makes the same again.
func (a keptAddr) kernels() bool {
	if p, ok := a.attrs.get(ifaProto); ok && len(p) == 1 && p[0] >= 1 && p[0] <= ifaprotKernelLL {
		return true
	}
	return a.header[0] == unix.AF_INET6 && a.flags&unix.IFA_F_TEMPORARY != 0
}

// lifetimes in seconds, or forever.
func (a keptAddr) lifetimes() (preferred, valid uint32) {
	ci, _ := a.attrs.get(unix.IFA_CACHEINFO)
	if len(ci) < sizeofLifetimes {
		return forever, forever
	}
	return u32(ci[ifaPreferred:]), u32(ci[ifaValid:])
}

// grow takes the age from the lifetimes. It returns false if none is left.
func (a keptAddr) grow(age time.Duration) bool {
	preferred, valid := a.lifetimes()
	if valid == forever && preferred == forever {
		return true
	}
	ci, _ := a.attrs.get(unix.IFA_CACHEINFO)
	preferred, valid = left(preferred, age), left(valid, age)
	nl.NativeEndian().PutUint32(ci[ifaPreferred:], preferred)
	nl.NativeEndian().PutUint32(ci[ifaValid:], valid)
	return valid != 0
}

// left is what is left of so many seconds.
func left(seconds uint32, age time.Duration) uint32 {
	if seconds == forever {
		return forever
	}
	return uint32(max(int64(seconds)-int64(age/time.Second), 0))
}

// command is the line that adds the address to the link called dev.
func (a keptAddr) command(dev string) string {
	words := []string{"ip", "address", "add"}
	address, _ := a.attrs.get(unix.IFA_ADDRESS)
	bits := "/" + strconv.Itoa(int(a.header[ifaddrmsgPrefLen]))
	if local, ok := a.attrs.get(unix.IFA_LOCAL); ok && !slices.Equal(local, address) {
		words = append(words, ipText(local), "peer")
	}
	words = append(words, ipText(address)+bits)
	if b, ok := a.attrs.get(unix.IFA_BROADCAST); ok {
		words = append(words, "brd", ipText(b))
	}
	if l, ok := a.attrs.get(unix.IFA_LABEL); ok && unix.ByteSliceToString(l) != dev {
		words = append(words, "label", unix.ByteSliceToString(l))
	}
	if scope := a.header[ifaddrmsgScope]; a.header[0] == unix.AF_INET && scope != unix.RT_SCOPE_UNIVERSE {
		words = append(words, "scope", named(scopes, scope))
	}
	if m, ok := a.attrs.get(unix.IFA_RT_PRIORITY); ok && u32(m) != 0 {
		words = append(words, "metric", number(m))
	}
	if p, ok := a.attrs.get(ifaProto); ok && len(p) == 1 && p[0] != 0 {
		words = append(words, "proto", strconv.Itoa(int(p[0])))
	}
	for _, f := range addrFlagWords {
		if a.flags&f.flag != 0 {
			words = append(words, f.word)
		}
	}
	if preferred, valid := a.lifetimes(); valid != forever || preferred != forever {
		words = append(words, "valid_lft", seconds(valid), "preferred_lft", seconds(preferred))
	}
	return shell.Line(append(words, "dev", dev))
}

var addrFlagWords = []struct {
	flag uint32
	word string
}{
	{unix.IFA_F_NODAD, "nodad"}, {unix.IFA_F_OPTIMISTIC, "optimistic"}, {unix.IFA_F_HOMEADDRESS, "home"},
	{unix.IFA_F_MANAGETEMPADDR, "mngtmpaddr"}, {unix.IFA_F_NOPREFIXROUTE, "noprefixroute"}, {unix.IFA_F_MCAUTOJOIN, "autojoin"},
}

func seconds(n uint32) string {
	if n == forever {
		return "forever"
	}
	return strconv.FormatUint(uint64(n), 10)
}

func number(b []byte) string { return strconv.FormatUint(uint64(u32(b)), 10) }

func ipText(b []byte) string {
	ip, _ := netip.AddrFromSlice(b)
	return ip.String()
}

func (k Kept) addrParts() (parts []Part) {
	for _, p := range k.Addrs {
		parts = append(parts, Part{Kind: partAddr, KeptPart: p})
	}
	return parts
}

// addrKind is an address.
type addrKind struct{ plainKind }

func (addrKind) countIn(k *Kept, p Part) { k.Addrs = append(slices.Clone(k.Addrs), p.KeptPart) }

func (addrKind) restore(r *restorer, p Part) error { return r.addAddr(r.index, p.KeptPart, r.age) }

func (addrKind) place(p Part) string {
	a, err := readAddr(p.Message)
	if err != nil {
		return ""
	}
	return fmt.Sprint(p.Kind, a.header[0])
}

// look also tells what addresses of the family the link has that it had not,
// and which other links have the same address: whoever gives it those may not want
// this one back.
func (addrKind) look(r *restorer, p Part) (there bool, found string, err error) {
	want, err := readAddr(p.Message)
	if err != nil {
		return false, "", err
	}
	msgs, err := r.addrMessages(want.header[0])
	if err != nil {
		return false, "", err
	}
	ours := map[string]bool{}
	for _, k := range r.kept.Addrs {
		if a, err := readAddr(k.Message); err == nil {
			ours[a.text()] = true
		}
	}
	var others []string
	for _, m := range msgs {
		a, err := readAddr(m)
		if err != nil {
			return false, "", err
		}
		switch here := a.index() == r.index; {
		case here && a.text() == want.text():
			there = true
		case here && !a.kernels() && !ours[a.text()], !here && a.local() == want.local():
			others = append(others, fmt.Sprintf("%s on %d", a.text(), a.index()))
		}
	}
	slices.Sort(others)
	return there, strings.Join(others, ", "), nil
}
