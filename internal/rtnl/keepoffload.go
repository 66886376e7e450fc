package rtnl

import (
	"errors"
	"maps"
	"slices"
	"unsafe"

	"github.com/gopipework/gopipework/internal/shell"
	"golang.org/x/sys/unix"
)

// A guest can switch what a card does in hardware, and that stays as it is when the
// card moves (linux/ethtool.h).

const (
	ethSSFeatures  = 4  // ETH_SS_FEATURES
	ethGStringLen  = 32 // ETH_GSTRING_LEN
	offloadWords   = 8  // more than any kernel has
	maxOffloads    = 32 * offloadWords
	ethtoolSetSize = 1 // one set of strings is asked for
)

// ethtoolFeatures is struct ethtool_gfeatures.
type ethtoolFeatures struct {
	cmd, size uint32
	words     [offloadWords]struct{ available, requested, active, never uint32 }
}

// ethtoolSetFeatures is struct ethtool_sfeatures.
type ethtoolSetFeatures struct {
	cmd, size uint32
	words     [offloadWords]struct{ valid, requested uint32 }
}

// ethtoolSetInfo is struct ethtool_sset_info.
type ethtoolSetInfo struct {
	cmd, _ uint32
	mask   uint64
	count  [ethtoolSetSize]uint32
}

// ethtoolStrings is struct ethtool_gstrings.
type ethtoolStrings struct {
	cmd, set, count uint32
	names           [maxOffloads][ethGStringLen]byte
}

// Offloads returns those of the link that can be switched, and whether they are asked
// for: one may be off all the same, for lack of another. A link without any has none.
//
//	ethtool -k NAME
func (c *Conn) Offloads(index int) (map[string]bool, error) {
	names, err := c.offloadNames(index)
	if err != nil {
		return nil, err
	}
	f, err := c.features(index)
	if err != nil {
		return nil, err
	}
	on := map[string]bool{}
	for i, name := range names {
		if bit := uint32(1) << (i % 32); f.words[i/32].available&bit != 0 && name != "" {
			on[name] = f.words[i/32].requested&bit != 0
		}
	}
	return on, nil
}

// SetOffloads switches those that are named.
//
//	ethtool -K NAME OFFLOAD on|off
func (c *Conn) SetOffloads(index int, on map[string]bool) error {
	names, err := c.offloadNames(index)
	if err != nil {
		return err
	}
	f, err := c.features(index)
	if err != nil {
		return err
	}
	set := ethtoolSetFeatures{cmd: unix.ETHTOOL_SFEATURES, size: f.size}
	for i, name := range names {
		is, asked := on[name]
		if !asked {
			continue
		}
		bit := uint32(1) << (i % 32)
		set.words[i/32].valid |= bit
		if is {
			set.words[i/32].requested |= bit
		}
	}
	return c.ethtoolData(index, unsafe.Pointer(&set))
}

func (c *Conn) features(index int) (f ethtoolFeatures, err error) {
	f = ethtoolFeatures{cmd: unix.ETHTOOL_GFEATURES, size: offloadWords}
	err = c.ethtoolData(index, unsafe.Pointer(&f))
	f.size = min(f.size, offloadWords)
	return f, err
}

// offloadNames returns the names by their bits.
func (c *Conn) offloadNames(index int) (names []string, err error) {
	info := ethtoolSetInfo{cmd: unix.ETHTOOL_GSSET_INFO, mask: 1 << ethSSFeatures}
	if err := c.ethtoolData(index, unsafe.Pointer(&info)); err != nil {
		return nil, err
	}
	// The kernel writes as many as it has, whatever it is told.
	if info.mask == 0 || info.count[0] > maxOffloads {
		return nil, unix.EOPNOTSUPP
	}
	s := ethtoolStrings{cmd: unix.ETHTOOL_GSTRINGS, set: ethSSFeatures, count: info.count[0]}
	if err := c.ethtoolData(index, unsafe.Pointer(&s)); err != nil {
		return nil, err
	}
	for _, name := range s.names[:min(s.count, maxOffloads)] {
		names = append(names, unix.ByteSliceToString(name[:]))
	}
	return names, nil
}

// keepOffloads returns those of the link; nil: it does not tell any.
func (c *Conn) keepOffloads(index int) (map[string]bool, error) {
	on, err := c.Offloads(index)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil, nil
	}
	return on, err
}

// offloadPart is what differs now.
func (c *Conn) offloadPart(index int, k Kept) (parts []Part, err error) {
	if len(k.Offloads) == 0 {
		return nil, nil
	}
	now, err := c.Offloads(index)
	if err != nil {
		return nil, failed(shell.Line([]string{"ethtool", "-k", k.Name}), err)
	}
	words := []string{"ethtool", "-K", k.Name}
	differ := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(k.Offloads)) {
		if is, ok := now[name]; ok && is != k.Offloads[name] {
			differ[name] = k.Offloads[name]
			words = append(words, name, onOff(k.Offloads[name]))
		}
	}
	if len(differ) > 0 {
		parts = append(parts, Part{Kind: partOffloads, Offloads: differ, KeptPart: KeptPart{Command: shell.Line(words)}})
	}
	return parts, nil
}

// offloadsKind is all offloads that differ, which have to be switched at once.
type offloadsKind struct{ plainKind }

func (offloadsKind) countIn(k *Kept, p Part) { k.Offloads = over(k.Offloads, p.Offloads) }

func (kind offloadsKind) restore(r *restorer, p Part) error {
	if err := r.SetOffloads(r.index, p.Offloads); err != nil {
		return err
	}
	if there, _, err := kind.look(r, p); err != nil || !there {
		return errors.Join(err, unix.EOPNOTSUPP) // the kernel says nothing of those that it leaves as they are
	}
	return nil
}

// look also tells how they are now.
func (offloadsKind) look(r *restorer, p Part) (there bool, found string, err error) {
	now, err := r.Offloads(r.index)
	there = err == nil
	for _, name := range slices.Sorted(maps.Keys(p.Offloads)) {
		there = there && now[name] == p.Offloads[name]
		found += name + " " + onOff(now[name]) + " "
	}
	return there, found, err
}
