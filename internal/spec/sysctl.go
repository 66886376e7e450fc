package spec

import (
	"slices"
	"strconv"
	"strings"

	"github.com/gopipework/gopipework/internal/fault"
)

// Sysctl is one of an interface's own settings in /proc/sys/net (ip-sysctl in the kernel's
// documentation).
type Sysctl struct {
	Dir   string // "ipv4/conf", "ipv6/neigh", ...
	Key   string // "rp_filter"
	Value string
}

// Path is where the sysctl of an interface is, below net.
func (s Sysctl) Path(ifName string) string { return s.Dir + "/" + ifName + "/" + s.Key }

// String returns the word that parses to s.
func (s Sysctl) String() string {
	return strings.ReplaceAll(strings.TrimSuffix(s.Dir, "/conf"), "/", ".") + "." + s.Key + "=" + s.Value
}

// sysctlDirs are those that have a directory for each interface.
var sysctlDirs = []string{"ipv4/conf", "ipv4/neigh", "ipv6/conf", "ipv6/neigh", "mpls/conf"}

const sysctlHint = "--sysctl ipv4.KEY=VALUE, ipv6.KEY=VALUE, or as Docker writes it net.ipv4.conf.IFNAME.KEY=VALUE"

// parseSysctls reads the words after --sysctl.
func parseSysctls(words []string) (all []Sysctl, err error) {
	for _, w := range words {
		s, err := parseSysctl(w)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// IsSysctl reports whether a name is that of a sysctl of an interface, as --sysctl takes it.
func IsSysctl(name string) bool {
	_, err := parseSysctl(name + "=0")
	return err == nil
}

// onceEach refuses a sysctl that is given twice, by --sysctl or by an option of slaac.
func onceEach(all []Sysctl) error {
	for i, s := range all {
		if slices.ContainsFunc(all[:i], func(o Sysctl) bool { return o.Dir == s.Dir && o.Key == s.Key }) {
			return fault.BadWord("read --sysctl", s.String(), "%s is given twice", s.Key)
		}
	}
	return nil
}

func parseSysctl(word string) (s Sysctl, err error) {
	bad := func(format string, args ...any) (Sysctl, error) {
		return Sysctl{}, fault.BadWord("read --sysctl", word, format, args...).WithHint(sysctlHint)
	}
	name, value, ok := strings.Cut(word, "=")
	if !ok || value == "" {
		return bad("it has no value")
	}
	name, whole := strings.CutPrefix(strings.ReplaceAll(name, "/", "."), "net.")
	f := strings.Split(name, ".")
	switch {
	case len(f) == 2 && !whole:
		f = []string{f[0], "conf", f[1]}
	case len(f) == 4 && f[2] == anyInterface:
		f = []string{f[0], f[1], f[3]}
	case len(f) == 4:
		return bad("it names the interface %s: write %s", f[2], anyInterface)
	case len(f) != 3:
		return bad("it is not a sysctl of an interface")
	}
	s = Sysctl{Dir: f[0] + "/" + f[1], Key: f[2], Value: value}
	if !slices.Contains(sysctlDirs, s.Dir) || s.Key == "" || strings.Trim(s.Key, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
		return bad("it is not a sysctl of an interface")
	}
	const longest = 256
	switch {
	case len(value) > longest:
		return bad("its value is longer than %d bytes", longest)
	case strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' }):
		return bad("its value is not printable")
	}
	return s, nil
}

// anyInterface stands for the interface's name.
const anyInterface = "IFNAME"

// AllSysctls are those that the line asks for, by --sysctl and by options of a source.
func (s Spec) AllSysctls() []Sysctl { return append(s.From.SLAAC.sysctls(), s.Sysctls...) }

// SLAAC is what is made of router advertisements.
type SLAAC struct {
	RouteInfo string // the longest prefix of a route that a router may give (RFC 4191); "": what the guest has
	Privacy   string // temporary addresses (RFC 8981): a key of privacies; "": what the guest has
}

// privacies are the words for temporary addresses, with the values of use_tempaddr.
var privacies = map[string]string{"off": "0", "on": "1", "prefer": "2"}

func (o SLAAC) sysctls() (all []Sysctl) {
	if o.RouteInfo != "" {
		all = append(all, Sysctl{"ipv6/conf", "accept_ra_rt_info_max_plen", o.RouteInfo})
	}
	if o.Privacy != "" {
		all = append(all, Sysctl{"ipv6/conf", "use_tempaddr", privacies[o.Privacy]})
	}
	return all
}

// String writes what parseSLAAC reads.
func (o SLAAC) String() string {
	var words []string
	if o.RouteInfo != "" {
		words = append(words, "route-info="+o.RouteInfo)
	}
	if o.Privacy != "" {
		words = append(words, "privacy="+o.Privacy)
	}
	return strings.Join(words, ",")
}

// parseSLAAC reads what stands after "slaac:".
func parseSLAAC(options string) (o SLAAC, err error) {
	const hint = "slaac:route-info=64 (the longest prefix of a route that a router may give), privacy=on, off or prefer"
	for w := range strings.SplitSeq(options, ",") {
		name, value, _ := strings.Cut(w, "=")
		switch {
		case name == "route-info" && o.RouteInfo == "" && isLength(value):
			o.RouteInfo = value
		case name == "privacy" && o.Privacy == "" && privacies[value] != "":
			o.Privacy = value
		case name == "route-info" && o.RouteInfo != "", name == "privacy" && o.Privacy != "":
			return o, fault.BadWord("read option of slaac", w, "%s is given twice", name)
		case name == "route-info" || name == "privacy":
			return o, fault.BadWord("read option of slaac", w, "%s has no such value", name).WithHint(hint)
		default:
			return o, fault.BadWord("read option of slaac", w, "there is no such option").WithHint(hint)
		}
	}
	return o, nil
}

// isLength reports whether a word is the length of an IPv6 prefix.
func isLength(word string) bool {
	n, err := strconv.ParseUint(word, 10, 8)
	return err == nil && n <= 128 && strconv.FormatUint(n, 10) == word
}
