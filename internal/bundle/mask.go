package bundle

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/gopipework/gopipework/internal/lazyregexp"
)

// Mask replaces the MAC and IP addresses, the container ids and the names in all files: one
// value always by the same other one. Addresses of one subnet stay in one, whatever its
// prefix length; the first and the last byte of an IPv4 address, and the first two and a
// small interface identifier of an IPv6 address, stay as they are. Names of interfaces stay,
// but for what of a name is in them.
func Mask(files []File, names map[string]string) []File {
	m := masker{macs: map[string]string{}, ids: map[string]string{}}
	rand.Read(m.key[:])
	replace := namesReplacer(names)
	out := make([]File, len(files))
	for i, f := range files {
		out[i] = File{f.Name, []byte(m.text(string(f.Data), replace))}
	}
	return out
}

// namesReplacer replaces names where no letter or digit stands beside them. The longest comes first.
func namesReplacer(names map[string]string) func(string) string {
	var all []string
	masked := map[string]string{}
	for name, as := range names {
		if len(name) > 1 {
			all = append(all, regexp.QuoteMeta(name))
			masked[strings.ToLower(name)] = as
		}
	}
	if len(all) == 0 {
		return func(s string) string { return s }
	}
	slices.SortFunc(all, func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b)) })
	re := regexp.MustCompile("(?i)" + strings.Join(all, "|"))
	return func(s string) string {
		var out strings.Builder
		last := 0
		for _, at := range re.FindAllStringIndex(s, -1) {
			if at[0] > 0 && inWord(s[at[0]-1]) || at[1] < len(s) && inWord(s[at[1]]) {
				continue
			}
			out.WriteString(s[last:at[0]] + masked[strings.ToLower(s[at[0]:at[1]])])
			last = at[1]
		}
		return out.String() + s[last:]
	}
}

func inWord(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9'
}

// candidates are what may be an address, with its prefix length, or an id.
var candidates = lazyregexp.Regexp{Expr: `[0-9A-Fa-f]*(?::[0-9A-Fa-f]*){2,}(?:\.[0-9]{1,3}){0,3}(?:/[0-9]{1,3})?|[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?:/[0-9]{1,2})?|[0-9a-f]{12,}`}

// hardware is a MAC address, or one of InfiniBand, which is longer. In the id of a bridge ip
// prints its bytes without a leading zero.
var (
	hardware = lazyregexp.Regexp{Expr: `^[0-9A-Fa-f]{1,2}(:[0-9A-Fa-f]{1,2}){5,}$`}
	number   = lazyregexp.Regexp{Expr: `^[0-9]+$`}
	hex      = lazyregexp.Regexp{Expr: `^[0-9a-f]{12,}$`}
)

// masker masks the values of one archive.
type masker struct {
	key  [32]byte
	macs map[string]string
	ids  map[string]string
}

// text masks the addresses and ids in a text, and by names what is between them.
func (m *masker) text(s string, names func(string) string) string {
	var out strings.Builder
	last, at := 0, 0
	for {
		next := candidates.Get().FindStringIndex(s[at:])
		if next == nil {
			out.WriteString(names(s[last:]))
			return out.String()
		}
		from, to := at+next[0], at+next[1]
		masked, ok := m.value(s[from:to])
		if !ok { // there may be one in it, as in "eth1:10.0.0.2"
			if colon := strings.IndexByte(s[from:to], ':'); colon >= 0 {
				to = from + colon + 1
			}
			at = to
			continue
		}
		out.WriteString(names(s[last:from]) + masked)
		last, at = to, to
	}
}

// value masks an address or an id; ok is false for what is none.
func (m *masker) value(s string) (masked string, ok bool) {
	switch {
	case number.Get().MatchString(s):
		return s, false
	case hex.Get().MatchString(s):
		return numbered(m.ids, s[:12], "%012x"), true
	case hardware.Get().MatchString(s):
		if _, err := netip.ParseAddr(s); err != nil { // an IPv6 address has eight parts
			return m.mac(s), true
		}
	}
	text, length, hasLength := strings.Cut(s, "/")
	a, err := netip.ParseAddr(text)
	if err != nil {
		return s, false
	}
	bits := a.BitLen()
	if hasLength {
		fmt.Sscan(length, &bits)
		length = "/" + length
	}
	return m.addr(a, min(bits, a.BitLen())).String() + length, true
}

func (m *masker) mac(text string) string {
	parts := strings.Split(strings.ToLower(text), ":")
	for i, p := range parts {
		parts[i] = ("0" + p)[len(p)-1:]
	}
	s := strings.Join(parts, ":")
	if strings.HasPrefix(s, "33:33:ff:") && len(parts) == 6 { // it ends as the address of a station
		var b [3]byte
		fmt.Sscanf(s, "33:33:ff:%02x:%02x:%02x", &b[0], &b[1], &b[2])
		m.hash(b[:])
		return fmt.Sprintf("33:33:ff:%02x:%02x:%02x", b[0], b[1], b[2])
	}
	group := strings.IndexByte("13579bdf", s[1]) >= 0
	if group && len(parts) == 6 || strings.Trim(s, "0:") == "" {
		return text
	}
	return numbered(m.macs, s, "02:00:00:%02x:%02x:%02x")
}

// numbered returns the mask of a value: the number of its first appearance.
func numbered(known map[string]string, s, format string) string {
	if known[s] == "" {
		n := len(known) + 1
		if strings.Count(format, "%") == 1 {
			known[s] = fmt.Sprintf(format, n)
		} else {
			known[s] = fmt.Sprintf(format, n>>16&255, n>>8&255, n&255)
		}
	}
	return known[s]
}

// addr masks an address; one that is the first of its subnet stays the first.
func (m *masker) addr(a netip.Addr, bits int) netip.Addr {
	if a.IsUnspecified() || a.IsLoopback() || a.Is4() && (a.As4()[0] == 0 || a.As4()[0] >= 224) {
		return a
	}
	b := a.AsSlice()
	switch {
	case a.Is4():
		m.flip(b, 8, 24)
	case a.Is4In6():
		m.flip(b, 104, 120)
	case a.IsMulticast():
		if b[11] == 1 && b[12] == 0xff { // of a solicited node, whose address it ends with
			m.hash(b[13:])
		}
	default:
		if !a.IsLinkLocalUnicast() {
			m.flip(b, 16, 64)
		}
		if binary.BigEndian.Uint64(b[8:])>>16 != 0 { // it may have the MAC address
			m.hash(b[8:])
		}
	}
	out, _ := netip.AddrFromSlice(b)
	if whole := netip.PrefixFrom(a, bits); whole.IsValid() && whole.Masked().Addr() == a {
		return netip.PrefixFrom(out, bits).Masked().Addr()
	}
	return out
}

// flip flips bits, each by those before it: addresses that begin alike still do. The first
// is always flipped, so that none stays as it was.
func (m *masker) flip(b []byte, from, to int) {
	before := slices.Clone(b)
	for i := from; i < to; i++ {
		prefix := slices.Clone(before[:i/8+1])
		prefix[i/8] &= ^byte(0xff >> (i % 8))
		sum := sha256.Sum256(append(append(m.key[:], byte(i), byte(len(b))), prefix...))
		if i == from || sum[0]&1 == 1 {
			b[i/8] ^= 0x80 >> (i % 8)
		}
	}
}

// hash replaces bytes by others that tell nothing of them.
func (m *masker) hash(b []byte) {
	sum := sha256.Sum256(append(m.key[:], b...))
	copy(b, sum[:])
}
