package rtnl

import (
	"fmt"
	"strconv"

	"github.com/gopipework/gopipework/internal/shell"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// command is the line that adds the route behind those of the same destination
// and metric, as addRoute does.
func (r keptRoute) command(name func(index int) (string, error)) (string, error) {
	words := []string{"ip", "route", "append"}
	if r.header[0] == unix.AF_INET6 {
		words = []string{"ip", "-6", "route", "append"}
	}
	if typ := r.header[rtmType]; typ != unix.RTN_UNICAST {
		words = append(words, named(routeTypes, typ))
	}
	words = append(words, r.prefix(unix.RTA_DST, r.header[rtmDstLen]))
	if r.header[rtmSrcLen] != 0 {
		words = append(words, "from", r.prefix(unix.RTA_SRC, r.header[rtmSrcLen]))
	}
	words = append(words, gatewayWords(r.attrs)...)
	if oif, ok := r.attrs.get(unix.RTA_OIF); ok {
		dev, err := name(int(u32(oif)))
		if err != nil {
			return "", err
		}
		words = append(words, "dev", dev)
	}
	words = append(words, r.optionWords()...)
	metrics, _ := r.attrs.get(unix.RTA_METRICS)
	words = append(words, metricWords(metrics)...)
	if u32(r.header[rtmFlags:])&unix.RTNH_F_ONLINK != 0 {
		words = append(words, "onlink")
	}
	hops, err := r.hopWords(name)
	if err != nil {
		return "", err
	}
	line := shell.Line(append(words, hops...))
	if _, ok := r.attrs.get(unix.RTA_ENCAP); ok {
		return "# with an encapsulation that is not shown: " + line, nil
	}
	return line, nil
}

// ip's words for RTN_* and RT_SCOPE_*.
var (
	routeTypes = map[uint8]string{unix.RTN_LOCAL: "local", unix.RTN_BROADCAST: "broadcast", unix.RTN_ANYCAST: "anycast",
		unix.RTN_MULTICAST: "multicast", unix.RTN_BLACKHOLE: "blackhole", unix.RTN_UNREACHABLE: "unreachable",
		unix.RTN_PROHIBIT: "prohibit", unix.RTN_THROW: "throw"}
	scopes = map[uint8]string{unix.RT_SCOPE_UNIVERSE: "global", unix.RT_SCOPE_SITE: "site", unix.RT_SCOPE_LINK: "link",
		unix.RT_SCOPE_HOST: "host"}
)

// named returns the word for the number, or the number, which ip takes as well.
func named(words map[uint8]string, n uint8) string {
	if w, ok := words[n]; ok {
		return w
	}
	return strconv.Itoa(int(n))
}

func (r keptRoute) prefix(typ uint16, bits uint8) string {
	ip, ok := r.attrs.get(typ)
	if !ok {
		return "default"
	}
	return ipText(ip) + "/" + strconv.Itoa(int(bits))
}

// gatewayWords are of a route or of one of its next hops.
func gatewayWords(as attrs) []string {
	if gw, ok := as.get(unix.RTA_GATEWAY); ok {
		return []string{"via", ipText(gw)}
	}
	// struct rtvia: the gateway of an IPv4 route that has an IPv6 address.
	if via, ok := as.get(unix.RTA_VIA); ok && len(via) > 2 {
		if nl.NativeEndian().Uint16(via) == unix.AF_INET6 {
			return []string{"via", "inet6", ipText(via[2:])}
		}
		return []string{"via", "inet", ipText(via[2:])}
	}
	return nil
}

func (r keptRoute) optionWords() (words []string) {
	add := func(word string, typ uint16, text func([]byte) string) {
		if v, ok := r.attrs.get(typ); ok {
			words = append(words, word, text(v))
		}
	}
	if tos := r.header[rtmTOS]; tos != 0 {
		words = append(words, "tos", fmt.Sprintf("%#x", tos))
	}
	add("src", unix.RTA_PREFSRC, ipText)
	add("metric", unix.RTA_PRIORITY, number)
	table := uint32(r.header[rtmTable])
	if t, ok := r.attrs.get(unix.RTA_TABLE); ok {
		table = u32(t)
	}
	if table != unix.RT_TABLE_MAIN || r.header[rtmType] != unix.RTN_UNICAST {
		words = append(words, "table", strconv.FormatUint(uint64(table), 10))
	}
	if p := r.header[rtmProtocol]; p != unix.RTPROT_BOOT {
		words = append(words, "proto", strconv.Itoa(int(p)))
	}
	if r.header[0] == unix.AF_INET {
		words = append(words, "scope", named(scopes, r.header[rtmScope]))
	}
	add("realms", unix.RTA_FLOW, realms)
	add("expires", unix.RTA_EXPIRES, number)
	if p, ok := r.attrs.get(unix.RTA_PREF); ok && len(p) == 1 && p[0] != 0 {
		words = append(words, "pref", map[byte]string{1: "high", 3: "low"}[p[0]])
	}
	return words
}

// realms are two numbers in one; the first may be missing.
func realms(b []byte) string {
	from, to := u32(b)>>16, u32(b)&0xffff
	if from == 0 {
		return strconv.FormatUint(uint64(to), 10)
	}
	return fmt.Sprintf("%d/%d", from, to)
}

func (r keptRoute) hopWords(name func(index int) (string, error)) (words []string, err error) {
	b, _ := r.attrs.get(unix.RTA_MULTIPATH)
	hops, err := readHops(b)
	if err != nil {
		return nil, err
	}
	for _, h := range hops {
		words = append(words, "nexthop")
		words = append(words, gatewayWords(h.attrs)...)
		dev, err := name(h.index())
		if err != nil {
			return nil, err
		}
		words = append(words, "dev", dev, "weight", strconv.Itoa(int(h.header[rtnhHops])+1))
		if h.header[rtnhFlags]&unix.RTNH_F_ONLINK != 0 {
			words = append(words, "onlink")
		}
	}
	return words, nil
}

// metricNames are ip's words for those of RTAX_* that are plain numbers.
var metricNames = map[uint16]string{
	unix.RTAX_MTU: "mtu", unix.RTAX_WINDOW: "window", unix.RTAX_SSTHRESH: "ssthresh", unix.RTAX_CWND: "cwnd",
	unix.RTAX_ADVMSS: "advmss", unix.RTAX_REORDERING: "reordering", unix.RTAX_HOPLIMIT: "hoplimit",
	unix.RTAX_INITCWND: "initcwnd", unix.RTAX_INITRWND: "initrwnd", unix.RTAX_QUICKACK: "quickack",
	unix.RTAX_FASTOPEN_NO_COOKIE: "fastopen_no_cookie",
}

func metricWords(b []byte) (words []string) {
	metrics, err := readAttrs(b)
	if err != nil {
		return nil
	}
	locked, _ := metrics.get(unix.RTAX_LOCK)
	add := func(typ uint16, word, value string) {
		words = append(words, word)
		if u32(locked)&(1<<typ) != 0 && typ != unix.RTAX_RTO_MIN { // which ip always locks
			words = append(words, "lock")
		}
		words = append(words, value)
	}
	for _, m := range metrics {
		switch m.typ {
		case unix.RTAX_RTT: // in 1/8 ms
			add(m.typ, "rtt", strconv.Itoa(int(u32(m.value)/8))+"ms")
		case unix.RTAX_RTTVAR: // in 1/4 ms
			add(m.typ, "rttvar", strconv.Itoa(int(u32(m.value)/4))+"ms")
		case unix.RTAX_RTO_MIN:
			add(m.typ, "rto_min", number(m.value)+"ms")
		case unix.RTAX_CC_ALGO:
			add(m.typ, "congctl", unix.ByteSliceToString(m.value))
		case unix.RTAX_FEATURES:
			if u32(m.value)&unix.RTAX_FEATURE_ECN != 0 {
				add(m.typ, "features", "ecn")
			}
		default:
			if word, ok := metricNames[m.typ]; ok {
				add(m.typ, word, number(m.value))
			}
		}
	}
	return words
}
