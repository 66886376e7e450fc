package witness

import (
	"encoding/binary"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// snapshot is how much of a frame is received: an ICMP error, and enough of the
// packet that it is about to recognize that.
const snapshot = 256

// filter lets through, in the kernel, what [Mark.read] may recognize, so that a busy
// link costs little. A load from beyond the end of a frame rejects that, so each part
// reads from the front to the back.
func (m Mark) filter() []bpf.Instruction {
	program := []bpf.Instruction{
		// A is the Ethernet type, and X what its VLAN tags take: those that the kernel has
		// not taken out.
		bpf.LoadConstant{Dst: bpf.RegX, Val: 0},
		bpf.LoadAbsolute{Off: 12, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_8021Q, SkipTrue: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.ETH_P_8021AD, SkipTrue: 5},
		bpf.LoadConstant{Dst: bpf.RegX, Val: 4},
		bpf.LoadAbsolute{Off: 16, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.ETH_P_8021Q, SkipTrue: 2},
		bpf.LoadConstant{Dst: bpf.RegX, Val: 8},
		bpf.LoadAbsolute{Off: 20, Size: 2},
		bpf.StoreScratch{Src: bpf.RegA, N: 0},
	}
	for _, part := range [][]bpf.Instruction{
		when(bpf.LoadScratch{Dst: bpf.RegA, N: 0}, unix.ETH_P_ARP, m.filterARP()),
		when(bpf.LoadScratch{Dst: bpf.RegA, N: 0}, unix.ETH_P_IP, m.filterIP(20)),
		when(bpf.LoadScratch{Dst: bpf.RegA, N: 0}, unix.ETH_P_IPV6, m.filterIP(40)),
	} {
		program = append(program, part...)
	}
	return append(program, bpf.RetConstant{Val: 0})
}

// when is a part of a filter for frames that have a value somewhere.
func when(load bpf.Instruction, value uint32, part []bpf.Instruction) []bpf.Instruction {
	return append([]bpf.Instruction{load, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: value, SkipTrue: uint8(len(part))}}, part...)
}

// accept accepts frames that have one of the values at an offset behind their tags.
func accept(offset uint32, size int, values ...uint32) []bpf.Instruction {
	program := []bpf.Instruction{bpf.LoadIndirect{Off: offset, Size: size}}
	for _, v := range values {
		program = append(program, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: v, SkipTrue: 1}, bpf.RetConstant{Val: snapshot})
	}
	return program
}

// ends are the last four bytes of the addresses of a family.
func (m Mark) ends(ipv6 bool) (all []uint32) {
	for _, a := range m.addrs {
		if b := a.AsSlice(); a.IsValid() && a.Is6() == ipv6 {
			all = append(all, binary.BigEndian.Uint32(b[len(b)-4:]))
		}
	}
	return all
}

func (m Mark) filterARP() []bpf.Instruction {
	const sender, target = 14 + 14, 14 + 24
	return append(accept(sender, 4, m.ends(false)...), accept(target, 4, m.ends(false)...)...)
}

// filterIP is for packets with an IP header of that size, without options.
func (m Mark) filterIP(header uint32) (program []bpf.Instruction) {
	add := func(part []bpf.Instruction) { program = append(program, part...) }
	body := 14 + header
	protocol := bpf.LoadIndirect{Off: 14 + 9, Size: 1}
	if header == 40 {
		protocol = bpf.LoadIndirect{Off: 14 + 6, Size: 1}
		discovery := append(
			when(bpf.LoadIndirect{Off: body, Size: 1}, 135, accept(body+8+12, 4, m.ends(true)...)),
			when(bpf.LoadIndirect{Off: body, Size: 1}, 136, accept(body+8+12, 4, m.ends(true)...))...)
		add(when(protocol, unix.IPPROTO_ICMPV6, discovery))
	}
	ports := append(accept(body, 2, uint32(m.port)), accept(body+2, 2, uint32(m.port))...)
	add(when(protocol, unix.IPPROTO_TCP, append(ports, bpf.RetConstant{Val: 0})))
	add(accept(body+8, 4, m.magic)) // what follows the header of ICMP or UDP
	about := body + 8 + header      // what an ICMP error is about
	icmp := uint32(unix.IPPROTO_ICMP)
	if header == 40 {
		icmp = unix.IPPROTO_ICMPV6
	}
	inside := append(accept(about, 2, uint32(m.port)), accept(about+4, 4, m.magic)...)
	return append(program, when(protocol, icmp, append(inside, accept(about+8, 4, m.magic)...))...)
}
