package rtnl

import (
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// emptyKind is a link whose IFLA_INFO_KIND has no byte, not even the zero that
// ends a string.
func emptyKind() []byte {
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nil)
	info.AddRtAttr(nl.IFLA_INFO_SLAVE_KIND, []byte{})
	return append(make([]byte, unix.SizeofIfInfomsg), info.Serialize()...)
}

// Strings of the kernel end with a zero byte, and are strings all the same where
// it is missing.
func TestStringsWithoutEnd(t *testing.T) {
	l, err := parseLink(emptyKind())
	if err != nil || l.Kind != "" || l.Slave != "" {
		t.Errorf("an empty kind: %+v, %v", l, err)
	}
	m := make([]byte, unix.SizeofIfInfomsg)
	for typ, text := range map[int]string{unix.IFLA_IFNAME: "eth0", unix.IFLA_IFALIAS: "", unix.IFLA_PARENT_DEV_NAME: "x\x00y"} {
		m = append(m, nl.NewRtAttr(typ, []byte(text)).Serialize()...)
	}
	l, err = parseLink(m)
	if err != nil || l.Name != "eth0" || l.Alias != "" || l.ParentDev != "x" {
		t.Errorf("got %+v, %v", l, err)
	}
}

// FuzzMessages: no message makes a parser panic, of those that the kernel sends
// and of those that are read back from a file.
func FuzzMessages(f *testing.F) {
	pad := func(n int, attrs ...*nl.RtAttr) []byte {
		m := make([]byte, n)
		for _, a := range attrs {
			m = append(m, a.Serialize()...)
		}
		return m
	}
	f.Add(emptyKind())
	f.Add(pad(unix.SizeofIfInfomsg, nl.NewRtAttr(unix.IFLA_AF_SPEC, []byte{4, 0, 2, 0})))
	for _, kind := range []string{"bridge", "macvlan", "ipvlan", "vlan", "ipoib"} {
		info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
		info.AddRtAttr(nl.IFLA_INFO_KIND, []byte(kind))
		data := info.AddRtAttr(nl.IFLA_INFO_DATA, nil)
		for typ := 1; typ < 40; typ++ {
			data.AddRtAttr(typ, []byte{1})
		}
		f.Add(pad(unix.SizeofIfInfomsg, info))
	}
	f.Add(pad(unix.SizeofIfAddrmsg, nl.NewRtAttr(unix.IFA_LABEL, nil), nl.NewRtAttr(unix.IFA_CACHEINFO, []byte{1}), nl.NewRtAttr(unix.IFA_LOCAL, []byte{1, 2})))
	f.Add(pad(unix.SizeofRtMsg, nl.NewRtAttr(unix.RTA_OIF, nil), nl.NewRtAttr(unix.RTA_MULTIPATH, []byte{8, 0, 0, 0, 1, 0, 0, 0}),
		nl.NewRtAttr(unix.RTA_METRICS, []byte{4, 0, unix.RTAX_CC_ALGO, 0}), nl.NewRtAttr(unix.RTA_VIA, []byte{2, 0, 1})))
	f.Fuzz(func(t *testing.T, m []byte) {
		before := slices.Clone(m)
		parseLink(m)
		parseWiphy([][]byte{m})
		nsids([][]byte{m})
		parseVLANs(m)
		parseRule(make([]byte, sizeofRuleHeader), m)
		if a, err := readAddr(m); err == nil {
			a.index()
			a.kernels()
			a.command("eth0")
			a.grow(time.Hour)
			a.message()
		}
		if r, err := readRoute(m); err == nil {
			r.kernels()
			r.source()
			r.depth()
			r.by(0)
			r.command(func(int) (string, error) { return "eth0", nil })
			r.reindex(0, 1)
			r.grow(time.Hour)
			r.message()
		}
		if !slices.Equal(m, before) {
			t.Error("a parser changed its message")
		}
	})
}
