package attach

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/gopipework/gopipework/internal/fault"
	"golang.org/x/sys/unix"
)

// fullMember is the bit of a partition key that makes its holder a full member
// of the partition (InfiniBand Architecture Specification, volume 1, 10.9.3).
// The kernel sets it in the key of every IPoIB link (ipoib_new_child_link).
const fullMember = 0x8000

// ipoibKind is a link on an InfiniBand device.
type ipoibKind struct{ childKind }

var ipoib = ipoibKind{childKind{traits: traits{
	word: KindIPoIB, ifName: "ib0", child: true, onHost: true, upLate: true,
	noProbe: "it is for Ethernet, and HOSTIF is an InfiniBand device",
}}}

func (ipoibKind) claims(_ string, f Facts) bool {
	return f.Base != nil && f.Base.Type == unix.ARPHRD_INFINIBAND
}

func (k ipoibKind) settle(j *job, d *draft) error {
	if err := k.checkParent(j, settlePKey); err != nil {
		return err
	}
	if j.MAC != nil {
		return j.refuse(fault.Usage, "the address of an IPoIB interface is made by its hardware")
	}
	return nil
}

// settlePKey reads the word after @ on an IPoIB device: a partition key in hex,
// as pipework has it.
func settlePKey(j *job) error {
	if j.VLAN == "" {
		return nil
	}
	n, err := strconv.ParseUint(strings.TrimPrefix(j.VLAN, "0x"), 16, 16)
	if err != nil || n&^fullMember == 0 {
		return fault.BadWord("read partition key", j.VLAN, "on an IPoIB device it is a number from 1 to 7fff in hex, with or without the bit 8000").
			WithHint("@8001")
	}
	j.tag = int(n) | fullMember
	return nil
}

func (ipoibKind) mac(j *job) (net.HardwareAddr, bool) { return j.parentMAC(), true }

func (k ipoibKind) join(j *job, d *draft) { k.joinParent(j, d, addChild{pkey: j.tag}, func() {}) }

func (k ipoibKind) differ(j *job, differ differ) {
	k.childKind.differ(j, differ)
	if inner := j.f.Inner; Kind(inner.Kind) == k.word && j.tag != 0 && int(inner.PKey) != j.tag {
		differ("partition key", pkeyWord(int(inner.PKey)), pkeyWord(j.tag))
	}
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
