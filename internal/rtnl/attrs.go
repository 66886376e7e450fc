package rtnl

import (
	"fmt"
	"slices"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// attr is an attribute of a message that is kept and sent again.
type attr struct {
	typ   uint16 // with the bit that says that it is nested
	value []byte
}

type attrs []attr

// readAttrs takes attributes apart. Those of a kept message come from a file,
// so nothing is taken for granted.
func readAttrs(b []byte) (as attrs, err error) {
	for len(b) > 0 {
		if len(b) < unix.SizeofRtAttr {
			return nil, fmt.Errorf("attribute of %d bytes: %w", len(b), errDamaged)
		}
		n := int(nl.NativeEndian().Uint16(b))
		if n < unix.SizeofRtAttr || n > len(b) {
			return nil, fmt.Errorf("attribute of %d bytes in %d: %w", n, len(b), errDamaged)
		}
		as = append(as, attr{typ: nl.NativeEndian().Uint16(b[2:]), value: slices.Clone(b[unix.SizeofRtAttr:n])})
		b = b[min(aligned(n), len(b)):]
	}
	return as, nil
}

// get returns the value of the attribute.
func (as attrs) get(typ uint16) ([]byte, bool) {
	for _, a := range as {
		if a.typ&^unix.NLA_F_NESTED == typ {
			return a.value, true
		}
	}
	return nil, false
}

// append writes the attributes behind b.
func (as attrs) append(b []byte) []byte {
	for _, a := range as {
		b = append(b, nl.NewRtAttr(int(a.typ), a.value).Serialize()...)
	}
	return b
}

func aligned(n int) int { return (n + unix.NLMSG_ALIGNTO - 1) &^ (unix.NLMSG_ALIGNTO - 1) }
