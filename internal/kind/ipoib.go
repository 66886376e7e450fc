package kind

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/spec"
	"golang.org/x/sys/unix"
)

// fullMember is the bit of a partition key that makes its holder a full member
// of the partition (InfiniBand Architecture Specification, volume 1, 10.9.3).
// The kernel sets it in the key of every IPoIB link (ipoib_new_child_link).
const fullMember = 0x8000

// ipoibKind is a link on an InfiniBand device.
type ipoibKind struct{ childKind }

var ipoib = ipoibKind{childKind{plain: plain{build.Traits{
	Word: spec.KindIPoIB, IfName: "ib0", Child: true, OnHost: true, UpLate: true,
	NoProbe: "it is for Ethernet, and HOSTIF is an InfiniBand device",
}}}}

func (ipoibKind) claims(_ string, f build.Facts) bool {
	return f.Base != nil && f.Base.Type == unix.ARPHRD_INFINIBAND
}

func (k ipoibKind) settle(j *build.Job, d *build.Draft) error {
	if err := k.checkParent(j, settlePKey); err != nil {
		return err
	}
	if j.MAC != nil {
		return j.Refuse(fault.Usage, "an IPoIB interface gets its MAC address from the hardware")
	}
	return nil
}

// settlePKey reads the word after @ on an IPoIB device: a partition key in hex,
// as pipework has it.
func settlePKey(j *build.Job) error {
	if j.VLAN == "" {
		return nil
	}
	n, err := strconv.ParseUint(strings.TrimPrefix(j.VLAN, "0x"), 16, 16)
	if err != nil || n&^fullMember == 0 {
		return fault.BadWord("read partition key", j.VLAN, "on an IPoIB device it is a number from 1 to 7fff in hex, with or without the bit 8000").
			WithHint("@8001")
	}
	j.Tag = int(n) | fullMember
	return nil
}

func (ipoibKind) mac(j *build.Job) (net.HardwareAddr, bool) { return parentMAC(j), true }

func (k ipoibKind) Join(j *build.Job, d *build.Draft) {
	k.joinParent(j, d, AddChild{pkey: j.Tag}, func() {})
}

func (k ipoibKind) Differ(j *build.Job, differ build.Differ) {
	k.childKind.Differ(j, differ)
	if inner := j.There.Inner; spec.Kind(inner.Kind) == k.Word && j.Tag != 0 && int(inner.PKey) != j.Tag {
		differ("partition key", pkeyWord(int(inner.PKey)), pkeyWord(j.Tag))
	}
}

func pkeyWord(pkey int) string { return fmt.Sprintf("%04x", pkey) }

// TagWord is the word after @ that the tag of a child of this kind was.
func TagWord(kind spec.Kind, tag int) string {
	switch {
	case tag == 0:
		return ""
	case kind == spec.KindIPoIB:
		return pkeyWord(tag)
	}
	return strconv.Itoa(tag)
}
