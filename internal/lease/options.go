package lease

import (
	"encoding/hex"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/hostaddr"
)

// Options are what stands after "dhcp:" on a command line.
type Options struct {
	Hostname       string        // option 12; "": the guest's name
	ClientID       []byte        // option 61, with its type byte; nil: made from the guest and the interface
	Request        netip.Addr    // the address to ask for, option 50; the zero Addr: any
	VendorClass    string        // option 60; "": gopipework
	Timeout        time.Duration // for the first lease; 0: DefaultTimeout
	NoDefaultRoute bool          // leave the server's default route alone
	LeaseTime      time.Duration // where the server says none; 0: such a server is of no use
	Bits           int           // the prefix length, where the server says none; 0: the same
}

// DefaultTimeout is how long the first lease may take.
const DefaultTimeout = 25 * time.Second

const (
	minTimeout = time.Second
	maxTimeout = 10 * time.Minute
)

const (
	opRead   = "read DHCP option"
	allWords = "hostname=, client-id=, request=, vendor-class=, timeout=, default-route=yes|no, lease=, prefix=, with commas"
)

// option is one NAME=VALUE of a line.
type option struct {
	name  string
	parse func(*Options, string) error
	print func(Options) string // "" if it is not set
}

// options are in the order in which [Options.String] writes them.
var options = []option{
	{"hostname", parseHostname, func(o Options) string { return o.Hostname }},
	{"client-id", parseClientID, func(o Options) string { return printClientID(o.ClientID) }},
	{"request", parseRequest, func(o Options) string {
		if !o.Request.IsValid() {
			return ""
		}
		return o.Request.String()
	}},
	{"vendor-class", parseVendorClass, func(o Options) string { return o.VendorClass }},
	{"timeout", parseTimeout, func(o Options) string {
		if o.Timeout == 0 {
			return ""
		}
		return o.Timeout.String()
	}},
	{"default-route", parseDefaultRoute, func(o Options) string {
		if o.NoDefaultRoute {
			return "no"
		}
		return ""
	}},
	{"lease", parseLeaseTime, func(o Options) string {
		if o.LeaseTime == 0 {
			return ""
		}
		return o.LeaseTime.String()
	}},
	{"prefix", parsePrefix, func(o Options) string {
		if o.Bits == 0 {
			return ""
		}
		return strconv.Itoa(o.Bits)
	}},
}

// ParseOptions reads NAME=VALUE[,NAME=VALUE...]; "" asks for nothing special.
// Every error is a usage error.
func ParseOptions(word string) (Options, error) {
	var o Options
	if word == "" {
		return o, nil
	}
	word, err := fromUdhcpc(word)
	if err != nil || word == "" {
		return o, err
	}
	seen := map[string]bool{}
	for _, w := range strings.Split(word, ",") {
		name, value, ok := strings.Cut(w, "=")
		i := slices.IndexFunc(options, func(p option) bool { return p.name == name })
		switch {
		case i < 0 || !ok:
			return Options{}, fault.BadWord(opRead, w, "there is no such option").WithHint("%s", allWords)
		case seen[name]:
			return Options{}, fault.BadWord(opRead, w, "%s is given twice", name)
		case value == "":
			return Options{}, fault.BadWord(opRead, w, "it has no value").WithHint("leave %s out for the default", name)
		}
		seen[name] = true
		if err := options[i].parse(&o, value); err != nil {
			return Options{}, err
		}
	}
	return o, nil
}

// udhcpcOptions are the flags of udhcpc that have an option of ours.
var udhcpcOptions = map[string]string{"-r": "request", "-V": "vendor-class"}

// fromUdhcpc returns the options for flags of udhcpc, which pipework ran for "dhcp:FLAGS":
// "-f" keeps it running, as ours does anyway.
func fromUdhcpc(word string) (string, error) {
	if !strings.HasPrefix(word, "-") {
		return word, nil
	}
	var options []string
	flags := strings.Fields(word)
	for i := 0; i < len(flags); i++ {
		flag, value := flags[i], ""
		if flag == "-f" {
			continue
		}
		if i++; i < len(flags) {
			value = flags[i]
		}
		host, isHost := strings.CutPrefix(value, "hostname:")
		switch {
		case flag == "-x" && isHost:
			options = append(options, "hostname="+host)
		case udhcpcOptions[flag] != "" && value != "":
			options = append(options, udhcpcOptions[flag]+"="+value)
		default:
			return "", fault.BadWord(opRead, flag, "the built-in client has nothing for this flag of udhcpc").
				WithHint("%s; udhcpc:%s runs the host's udhcpc", allWords, word)
		}
	}
	return strings.Join(options, ","), nil
}

// ParseOptions6 is ParseOptions for what stands after "dhcp6:".
func ParseOptions6(word string) (o Options, err error) {
	if word == "" {
		return o, nil
	}
	value, ok := strings.CutPrefix(word, "timeout=")
	if !ok {
		return o, fault.BadWord("read DHCPv6 option", word, "there is no such option").WithHint("dhcp6:timeout=10s, or dhcp6 alone")
	}
	err = parseTimeout(&o, value)
	return o, err
}

// String writes what [ParseOptions] reads to the same Options.
func (o Options) String() string {
	var words []string
	for _, p := range options {
		if v := p.print(o); v != "" {
			words = append(words, p.name+"="+v)
		}
	}
	return strings.Join(words, ",")
}

func parseHostname(o *Options, s string) error {
	if !isHostname(s) {
		e := fault.BadWord(opRead, "hostname="+s, "it is not a host name: letters, digits and '-', with dots between")
		if h := toHostname(s); h != "" {
			e.WithHint("hostname=%s", h)
		}
		return e
	}
	o.Hostname = s
	return nil
}

// isHostname says whether s is one by RFC 1123, section 2.1, and fits option 12.
func isHostname(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.Trim(label, letters+"-") != "" {
			return false
		}
	}
	return true
}

const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

// toHostname makes a host name of a guest's name, as near as can be; "" if
// nothing is left.
func toHostname(name string) string {
	h := strings.Map(func(r rune) rune {
		if strings.ContainsRune(letters+".", r) {
			return r
		}
		return '-'
	}, name)
	var labels []string
	for label := range strings.SplitSeq(h, ".") {
		if label = strings.Trim(label[:min(len(label), 63)], "-"); label != "" {
			labels = append(labels, label)
		}
	}
	if h = strings.Join(labels, "."); !isHostname(h) {
		return ""
	}
	return h
}

// maxClientID leaves room for the type byte in an option's 255.
const maxClientID = 254

// parseClientID reads bytes in hex with colons, as they go on the wire (the
// first is the type), or a text, which gets the type 0 (RFC 2132, section 9.14).
func parseClientID(o *Options, s string) error {
	if b, ok := parseHex(s); ok {
		if len(b) < 2 {
			return fault.BadWord(opRead, "client-id="+s, "it needs a type and at least one byte").
				WithHint("client-id=01:52:54:00:12:34:56, or a text")
		}
		if len(b) > maxClientID+1 {
			return fault.BadWord(opRead, "client-id="+s, "it is longer than %d bytes", maxClientID+1)
		}
		o.ClientID = b
		return nil
	}
	if !isText(s, maxClientID) {
		return fault.BadWord(opRead, "client-id="+s, "it is neither bytes in hex nor a plain text of at most %d bytes", maxClientID).
			WithHint("client-id=01:52:54:00:12:34:56")
	}
	o.ClientID = append([]byte{0}, s...)
	return nil
}

// parseHex reads XX:XX[:XX...].
func parseHex(s string) ([]byte, bool) {
	var out []byte
	if !strings.Contains(s, ":") {
		return nil, false
	}
	for pair := range strings.SplitSeq(s, ":") {
		b, err := hex.DecodeString(pair)
		if err != nil || len(b) != 1 {
			return nil, false
		}
		out = append(out, b[0])
	}
	return out, true
}

func printClientID(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	if text := string(b[1:]); b[0] == 0 && isText(text, maxClientID) {
		if _, isHex := parseHex(text); !isHex {
			return text
		}
	}
	return printHex(b)
}

func printHex(b []byte) string {
	pairs := make([]string, len(b))
	for i := range b {
		pairs[i] = hex.EncodeToString(b[i : i+1])
	}
	return strings.Join(pairs, ":")
}

func parseRequest(o *Options, s string) error {
	a, err := netip.ParseAddr(s)
	if err != nil || !a.Is4() {
		return fault.BadWord(opRead, "request="+s, "it is not an IPv4 address").
			WithHint("request=192.168.1.2, without a prefix length")
	}
	if why := hostaddr.Unleasable4(a); why != "" {
		return fault.BadWord(opRead, "request="+s, "%s", why)
	}
	o.Request = a
	return nil
}

func parseVendorClass(o *Options, s string) error {
	if !isText(s, 255) {
		return fault.BadWord(opRead, "vendor-class="+s, "it is not a plain text of at most 255 bytes")
	}
	o.VendorClass = s
	return nil
}

// isText says whether s is printable ASCII without a comma, which would end it
// on a command line.
func isText(s string, most int) bool {
	if s == "" || len(s) > most {
		return false
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' || s[i] == ',' {
			return false
		}
	}
	return true
}

func parseTimeout(o *Options, s string) error {
	d, err := time.ParseDuration(s)
	if err != nil {
		return fault.BadWord(opRead, "timeout="+s, "it is not a duration").WithHint("timeout=10s")
	}
	if d < minTimeout || d > maxTimeout {
		return fault.BadWord(opRead, "timeout="+s, "it is not between %v and %v", minTimeout, maxTimeout)
	}
	o.Timeout = d
	return nil
}

func parseDefaultRoute(o *Options, s string) error {
	if s != "yes" && s != "no" {
		return fault.BadWord(opRead, "default-route="+s, "it is neither yes nor no")
	}
	o.NoDefaultRoute = s == "no"
	return nil
}

// A lease of less than a minute that nobody has asked for is a slip; at the
// other end is what option 51 holds.
const minLeaseTime, maxLeaseTime = time.Minute, Forever - time.Second

func parseLeaseTime(o *Options, s string) error {
	d, err := time.ParseDuration(s)
	if err != nil {
		return fault.BadWord(opRead, "lease="+s, "it is not a duration").WithHint("lease=1h")
	}
	if d < minLeaseTime || d > maxLeaseTime || d%time.Second != 0 {
		return fault.BadWord(opRead, "lease="+s, "it is not whole seconds between %v and %v", minLeaseTime, maxLeaseTime)
	}
	o.LeaseTime = d
	return nil
}

func parsePrefix(o *Options, s string) error {
	const least, most = 8, 32
	n, err := strconv.Atoi(strings.TrimPrefix(s, "/"))
	if err != nil || n < least || n > most {
		return fault.BadWord(opRead, "prefix="+s, "it is not a prefix length from %d to %d", least, most).WithHint("prefix=24")
	}
	o.Bits = n
	return nil
}
