package attach

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/gopipework/gopipework/internal/fault"
)

// fullMember is the bit of a partition key that makes its holder a full member
// of the partition (InfiniBand Architecture Specification, volume 1, 10.9.3).
// The kernel sets it in the key of every IPoIB link (ipoib_new_child_link).
const fullMember = 0x8000

// settlePKey reads the word after @ on an IPoIB device: a partition key in hex,
// as pipework has it.
func (j *job) settlePKey() error {
	n, err := strconv.ParseUint(strings.TrimPrefix(j.VLAN, "0x"), 16, 16)
	if err != nil || n&^fullMember == 0 {
		return fault.BadWord("read partition key", j.VLAN, "on an IPoIB device it is a number from 1 to 7fff in hex, with or without the bit 8000").
			WithHint("@8001")
	}
	j.tag = int(n) | fullMember
	return nil
}

func pkeyWord(pkey int) string { return fmt.Sprintf("%04x", pkey) }

// tagWord is the word after @ that the tag of a child of this kind was.
func tagWord(kind Kind, tag int) string {
	switch {
	case tag == 0:
		return ""
	case kind == KindIPoIB:
		return pkeyWord(tag)
	}
	return strconv.Itoa(tag)
}
