package firewall

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Sets, maps and verdict maps of nf_tables. Their elements are read when a frame
// comes to a rule that looks into them.

// element is one of a set: for each field that is looked up an interval, and in
// a verdict map what to do.
type element struct {
	fields  []interval
	all     bool // stands for what is in no other: "*"
	verdict verdict
	target  string
}

// nftSets reads each set once.
type nftSets struct {
	reader *nftReader
	kinds  map[nftChain]setKind // nil: not read
	have   map[nftChain][]element
	read   int               // elements
	large  map[nftChain]bool // there are too many in it to be read
}

// forget has elements read again: packets add some, and time deletes some, which is no
// writing.
func (s *nftSets) forget() {
	clear(s.have)
	clear(s.large)
	s.read = 0
}

type setKind struct {
	intervals bool
	keyLen    int // bytes
}

// elements returns those of a set whose keys have fields of some lengths. The
// error is errTooMany if there are too many.
func (s *nftSets) elements(set nftChain, lengths []int) ([]element, error) {
	if elems, ok := s.have[set]; ok {
		return elems, nil
	}
	if s.large[set] || s.read > maxElements {
		return nil, errTooMany
	}
	replies, err := s.reader.conn.requestUpTo(maxSet, unix.NFT_MSG_GETSETELEM, unix.NLM_F_DUMP, set.family,
		nl.NewRtAttr(unix.NFTA_SET_ELEM_LIST_TABLE, nl.ZeroTerminated(set.table)),
		nl.NewRtAttr(unix.NFTA_SET_ELEM_LIST_SET, nl.ZeroTerminated(set.name)))
	if errors.Is(err, errTooMany) {
		s.large[set] = true
	}
	if err != nil {
		return nil, fmt.Errorf("list elements of %s: %w", set, err)
	}
	var raw []rawElement
	for _, reply := range replies {
		for _, elem := range eachAttribute(attributes(reply.attrs)[unix.NFTA_SET_ELEM_LIST_ELEMENTS]) {
			raw = append(raw, readElement(elem))
		}
	}
	if s.read += len(raw); s.reader.ctx.Err() != nil {
		return nil, s.reader.ctx.Err()
	}
	elems := arrange(raw, s.kinds[set].intervals, lengths)
	s.have[set] = elems
	return elems, nil
}

// list reads what sets there are.
func (s *nftSets) list() error {
	if s.kinds != nil {
		return nil
	}
	replies, err := s.reader.conn.request(unix.NFT_MSG_GETSET, unix.NLM_F_DUMP, unix.AF_UNSPEC)
	if err != nil {
		return fmt.Errorf("list sets: %w", err)
	}
	s.kinds, s.have, s.large = map[nftChain]setKind{}, map[nftChain][]element{}, map[nftChain]bool{}
	for _, reply := range replies {
		attrs := attributes(reply.attrs)
		set := nftChain{reply.family, attrString(attrs[unix.NFTA_SET_TABLE]), attrString(attrs[unix.NFTA_SET_NAME])}
		s.kinds[set] = setKind{
			intervals: attrUint32(attrs[unix.NFTA_SET_FLAGS])&unix.NFT_SET_INTERVAL != 0,
			keyLen:    int(attrUint32(attrs[unix.NFTA_SET_KEY_LEN])),
		}
	}
	return nil
}

// rawElement is one as the kernel lists it.
type rawElement struct {
	element
	key, end []byte
	ends     bool // it is where an interval ends
}

// From linux/netfilter/nf_tables.h.
const (
	setElemKeyEnd   = 10 // NFTA_SET_ELEM_KEY_END
	setElemCatchAll = 2  // NFT_SET_ELEM_CATCHALL
)

func readElement(data []byte) (e rawElement) {
	attrs := attributes(data)
	flags := attrUint32(attrs[unix.NFTA_SET_ELEM_FLAGS])
	e.key = attributes(attrs[unix.NFTA_SET_ELEM_KEY])[unix.NFTA_DATA_VALUE]
	e.end = attributes(attrs[setElemKeyEnd])[unix.NFTA_DATA_VALUE]
	e.ends = flags&unix.NFT_SET_ELEM_INTERVAL_END != 0
	e.all = flags&setElemCatchAll != 0
	if v := attributes(attrs[unix.NFTA_SET_ELEM_DATA])[unix.NFTA_DATA_VERDICT]; v != nil {
		parts := attributes(v)
		e.verdict, e.target = decodeVerdict(&expr.Verdict{
			Kind:  expr.VerdictKind(int32(attrUint32(parts[unix.NFTA_VERDICT_CODE]))),
			Chain: attrString(parts[unix.NFTA_VERDICT_CHAIN]),
		})
	}
	return e
}

// arrange makes intervals of the elements. In most sets with intervals where one
// ends is an element of its own, the first that is no longer in it.
func arrange(raw []rawElement, intervals bool, lengths []int) []element {
	split := len(lengths) > 1
	if intervals && !split {
		slices.SortStableFunc(raw, func(a, b rawElement) int { return bytes.Compare(a.key, b.key) })
	}
	var out []element
	for i, e := range raw {
		switch {
		case e.ends:
			continue
		case e.all:
		case split:
			e.fields = splitKey(e.key, e.end, lengths)
		case intervals && e.end != nil:
			e.fields = []interval{{e.key, e.end}}
		case intervals:
			last := bytes.Repeat([]byte{0xff}, len(e.key))
			if i+1 < len(raw) {
				last, _ = step(raw[i+1].key, -1)
			}
			e.fields = []interval{{e.key, last}}
		default:
			e.fields = []interval{only(e.key)}
		}
		out = append(out, e.element)
	}
	return out
}

// splitKey takes a key of several fields apart. Each begins at a multiple of
// four bytes.
func splitKey(key, end []byte, lengths []int) (fields []interval) {
	if end == nil {
		end = key
	}
	for _, n := range lengths {
		if len(key) < n || len(end) < n {
			return nil
		}
		fields = append(fields, interval{key[:n], end[:n]})
		next := min((n+3)&^3, len(key), len(end))
		key, end = key[next:], end[next:]
	}
	return fields
}

// inSet is a lookup: as a condition whether what was loaded is in a set, and in
// a verdict map what is to be done.
type inSet struct {
	loads []load
	sets  *nftSets
	set   nftChain
}

var (
	_ test     = (*inSet)(nil)
	_ branches = (*inSet)(nil)
)

// fields returns what is looked up: what was loaded, as far as the keys of the set go.
// An earlier match may have left something in the next register. The lengths are those
// of the fields in a key.
func (s *inSet) fields() (loads []load, lengths []int, err error) {
	if err := s.sets.list(); err != nil {
		return nil, nil, err
	}
	left := s.sets.kinds[s.set].keyLen
	for _, l := range s.loads {
		if left <= 0 {
			break
		}
		loads, lengths = append(loads, l), append(lengths, l.n)
		left -= (l.n + 3) &^ 3
	}
	return loads, lengths, nil
}

// of yields what may be met, and how sure that is.
func (s *inSet) of(f bridgedFrame) (met []branch, err error) {
	loads, lengths, err := s.fields()
	if err != nil {
		return nil, err
	}
	elems, err := s.sets.elements(s.set, lengths)
	if errors.Is(err, errTooMany) {
		return []branch{{unclear, undecided, ""}}, nil
	}
	if err != nil {
		return nil, err
	}
	var values []value
	for _, l := range loads {
		values = append(values, l.of(f))
	}
	most := no
	var rest *element
	for i, e := range elems {
		if e.all {
			rest = &elems[i]
			continue
		}
		a := e.matches(values)
		if most = max(most, a); a != no {
			met = append(met, branch{a, e.verdict, e.target})
		}
		if a == yes {
			return met[len(met)-1:], nil
		}
	}
	if rest != nil {
		a := yes
		if most != no {
			a = most
		}
		met = append(met, branch{a, rest.verdict, rest.target})
	}
	return met, nil
}

// matches tells whether the values lie in the element's fields.
func (e element) matches(values []value) answer {
	a := yes
	for i, v := range values {
		if i >= len(e.fields) {
			return min(a, unclear)
		}
		a = min(a, v.in(e.fields[i]))
	}
	return a
}

func (s *inSet) meets(f bridgedFrame) (answer, error) {
	met, err := s.of(f)
	a := no
	for _, b := range met {
		a = max(a, b.answer)
	}
	return a, err
}

// ports returns those of the elements; nil: it asks for something else.
func (s *inSet) ports() (out []interval) {
	at := slices.IndexFunc(s.loads, load.isPort)
	if at < 0 {
		return nil
	}
	_, lengths, err := s.fields()
	if err != nil {
		return nil
	}
	all, err := s.sets.elements(s.set, lengths)
	if err != nil {
		return nil
	}
	for _, e := range all {
		if e.all || at >= len(e.fields) {
			return nil
		}
		out = append(out, e.fields[at])
	}
	return out
}

func (d *decoder) lookup(e *expr.Lookup) {
	s := &inSet{sets: d.sets, set: nftChain{d.family, d.table, e.SetName}}
	var words []string
	for at := slot(e.SourceRegister); at >= 0 && at < len(d.regs) && d.regs[at] != nil; {
		l := d.regs[at]
		s.loads = append(s.loads, l.load)
		words = append(words, l.word)
		at += max(1, (l.n+3)/4)
	}
	name := "@" + e.SetName
	if strings.HasPrefix(name, "@__") {
		name = "{...}"
	}
	word := strings.Join(words, " . ")
	switch {
	case len(s.loads) == 0 || d.sets == nil:
		d.require(condition{}, word, notWord(e.Invert)+name)
	case !e.IsDestRegSet:
		d.require(condition{test: s, not: e.Invert}, word, notWord(e.Invert)+name)
	case e.DestRegister == unix.NFT_REG_VERDICT:
		d.branch = s
		d.words = append(d.words, word, "vmap", name)
	default:
		d.require(condition{test: s}, word, "map", name)
		d.put(e.DestRegister, nil)
	}
}
