package firewall

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// answer says whether a condition holds, as far as is known before there is a packet.
type answer int

const (
	no      answer = iota
	unclear        // it asks for something that is not known here
	partly         // it holds for some of these frames, and not for others
	yes
)

func (a answer) inverted() answer {
	switch a {
	case yes:
		return no
	case no:
		return yes
	}
	return a
}

func only(b []byte) interval { return interval{b, b} }

// in tells whether the value lies in the interval. It is compared over the
// interval's length, so that a name can be asked for by its beginning.
func (v value) in(i interval) answer {
	if v.answer != yes {
		if v.never != nil && bytes.Equal(i.lo, i.hi) && v.never(i.lo) {
			return no
		}
		return v.answer
	}
	if len(v.lo) < len(i.lo) {
		return unclear
	}
	lo, hi := v.lo[:len(i.lo)], v.hi[:len(i.lo)]
	switch {
	case bytes.Compare(hi, i.lo) < 0 || bytes.Compare(lo, i.hi) > 0:
		return no
	case bytes.Compare(lo, i.lo) >= 0 && bytes.Compare(hi, i.hi) <= 0:
		return yes
	}
	return partly
}

// masked is the value after "& mask ^ xor". Bounds stay bounds if the mask keeps
// the leading bits, as a prefix does.
func (v value) masked(mask, xor []byte) value {
	if mask == nil || v.answer != yes {
		v.never = nil
		return v
	}
	if len(mask) != len(v.lo) || len(xor) != len(mask) {
		return value{answer: unclear}
	}
	if !bytes.Equal(v.lo, v.hi) && !isPrefix(mask, xor) {
		return value{answer: partly}
	}
	lo, hi := slices.Clone(v.lo), slices.Clone(v.hi)
	for i := range mask {
		lo[i] = lo[i]&mask[i] ^ xor[i]
		hi[i] = hi[i]&mask[i] ^ xor[i]
	}
	v.lo, v.hi = lo, hi
	return v
}

func isPrefix(mask, xor []byte) bool {
	over := false
	for i, m := range mask {
		if xor[i] != 0 {
			return false
		}
		for bit := byte(0x80); bit != 0; bit >>= 1 {
			if m&bit == 0 {
				over = true
			} else if over {
				return false
			}
		}
	}
	return true
}

// load is what a rule takes of a packet before it compares.
type load struct {
	field     field
	offset, n int
	mask, xor []byte
	swapped   bool // from the host's order of bytes to the network's, or back
	exists    bool // only whether it is 0
}

func (l load) of(f bridgedFrame) value {
	v := f.value(l.field, l.offset, l.n)
	if l.exists && v.answer == yes {
		v = exactly(native32(uint32(min(1, binary.NativeEndian.Uint32(v.lo)))))
	}
	if l.swapped && v.answer == yes {
		v.lo, v.hi = slices.Clone(v.lo), slices.Clone(v.hi)
		slices.Reverse(v.lo)
		slices.Reverse(v.hi)
	}
	if l.mask == nil {
		return v
	}
	return v.masked(l.mask, l.xor)
}

// test is a comparison.
type test interface {
	meets(f bridgedFrame) (answer, error)
}

// check is whether what was loaded is in one of some intervals.
type check struct {
	load
	within []interval
}

func (c *check) meets(f bridgedFrame) (answer, error) {
	v := c.of(f)
	a := no
	for _, i := range c.within {
		a = max(a, v.in(i))
	}
	return a, nil
}

// condition is one match of a rule. It is compared with ==.
type condition struct {
	key    field
	name   string // for names
	prefix bool   // name is only the beginning of what is looked for: "br+"
	test   test   // for all else
	few    bool   // it holds for few packets of a connection, or of few connections
	not    bool
}

func (f bridgedFrame) meets(c condition) (a answer, err error) {
	switch {
	case c.test != nil:
		if a, err = c.test.meets(f); err != nil {
			return unclear, err
		}
	case c.key == isBridged && f.guest != nil:
		a = no
	case c.key == isBridged:
		a = yes
	case c.key == anything:
		a = unclear
	case c.key == varied:
		a = partly
	default:
		want := append([]byte(c.name), 0)
		if c.prefix || len(want) > 16 {
			want = want[:len(c.name)]
		}
		a = f.value(c.key, 0, 0).in(only(want))
	}
	if c.not {
		a = a.inverted()
	}
	return a, nil
}

func (f bridgedFrame) meetsAll(cs []condition) (answer, error) {
	all := yes
	for _, c := range cs {
		a, err := f.meets(c)
		if all = min(all, a); err != nil || all == no {
			return all, err
		}
	}
	return all, nil
}

// interval is what a value is looked for in, both ends included.
type interval struct{ lo, hi []byte }
