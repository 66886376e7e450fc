package capture

import (
	"encoding/binary"
	"io"
	"slices"
	"time"
)

// linkType is what the frames of an interface begin with (www.tcpdump.org/linktypes.html).
type linkType uint16

// The link types of ours.
const (
	ethernet linkType = 1
	rawIP    linkType = 101 // frames begin with the header of IP
)

// writer writes the frames of one interface, as Wireshark and tcpdump read them
// (draft-ietf-opsawg-pcapng).
type writer struct{ out io.Writer }

// The types of blocks, and what each of them has.
const (
	sectionHeader = 0x0a0d0d0a
	interfaceDesc = 1
	packet        = 6

	byteOrder  = 0x1a2b3c4d
	major      = 1
	endOption  = 0
	nameOption = 2 // if_name
	unitOption = 9 // if_tsresol: the exponent of ten of its unit
	nanosecond = 9
)

// newWriter begins a file about an interface of that name.
func newWriter(out io.Writer, name string, link linkType) (*writer, error) {
	w := &writer{out}
	head := binary.LittleEndian.AppendUint32(nil, byteOrder)
	head = binary.LittleEndian.AppendUint16(head, major)
	head = binary.LittleEndian.AppendUint16(head, 0)
	head = binary.LittleEndian.AppendUint64(head, ^uint64(0)) // how long the section is, is not known
	about := binary.LittleEndian.AppendUint16(nil, uint16(link))
	about = binary.LittleEndian.AppendUint16(about, 0)
	about = binary.LittleEndian.AppendUint32(about, 0) // frames are whole
	about = slices.Concat(about, option(nameOption, []byte(name)), option(unitOption, []byte{nanosecond}), option(endOption, nil))
	if err := w.block(sectionHeader, head); err != nil {
		return nil, err
	}
	return w, w.block(interfaceDesc, about)
}

// frame writes a frame, and when it passed. Where the kernel has taken its VLAN tag out, it is
// to be put in again.
func (w *writer) frame(frame []byte, at time.Time) error {
	ns := uint64(at.UnixNano())
	b := binary.LittleEndian.AppendUint32(nil, 0) // of the one interface
	b = binary.LittleEndian.AppendUint32(b, uint32(ns>>32))
	b = binary.LittleEndian.AppendUint32(b, uint32(ns))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(frame)))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(frame)))
	return w.block(packet, append(b, padded(frame)...))
}

// block writes a block, whose length stands at both of its ends.
func (w *writer) block(kind uint32, body []byte) error {
	const around = 12
	length := uint32(len(body) + around)
	b := binary.LittleEndian.AppendUint32(nil, kind)
	b = binary.LittleEndian.AppendUint32(b, length)
	b = append(b, body...)
	_, err := w.out.Write(binary.LittleEndian.AppendUint32(b, length))
	return err
}

func option(code uint16, value []byte) []byte {
	b := binary.LittleEndian.AppendUint16(nil, code)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(value)))
	return append(b, padded(value)...)
}

// padded is b, as long as whole words of four bytes.
func padded(b []byte) []byte { return append(slices.Clone(b), make([]byte, -len(b)&3)...) }
