package acd

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"
)

// Conflict is the answer that an address is somebody's.
type Conflict struct {
	Addr   netip.Addr
	Holder net.HardwareAddr
	Asking bool // the holder does not have it yet, but probes for it at the same time
}

// Error says who has the address.
func (c *Conflict) Error() string {
	if c.Asking {
		return fmt.Sprintf("%s is about to take %s too", c.Holder, c.Addr)
	}
	return fmt.Sprintf("%s has %s already", c.Holder, c.Addr)
}

// Times are how probes follow each other. In the RFC's words: PROBE_NUM,
// PROBE_MIN and PROBE_MAX, which are one here, and ANNOUNCE_WAIT.
type Times struct {
	Probes   int
	Interval time.Duration // from one probe to the next
	Wait     time.Duration // after the last one
}

// Quick is a second in all.
var Quick = Times{Probes: 3, Interval: 300 * time.Millisecond, Wait: 400 * time.Millisecond}

// Total is how long it takes to find that an address is free.
func (t Times) Total() time.Duration { return time.Duration(t.Probes-1)*t.Interval + t.Wait }

// probing is one run on its way.
type probing struct {
	Times
	from  mac
	own   []mac
	addrs []netip.Addr
	sent  int
	next  time.Time // when there is something to do again
}

// due returns the packets to send at the time now. Where done, nobody has the
// addresses.
func (p *probing) due(now time.Time) (out []packet, done bool) {
	if p.sent > 0 && now.Before(p.next) {
		return nil, false
	}
	if p.sent == p.Probes {
		return nil, true
	}
	for _, a := range p.addrs {
		out = append(out, probe(p.from, a))
	}
	p.sent++
	p.next = now.Add(p.Interval)
	if p.sent == p.Probes {
		p.next = now.Add(p.Wait)
	}
	return out, false
}

// judge says what a packet means that was heard (RFC 5227, section 2.1.1): a
// conflict, or nil. Our own probe may come back by a switch that sends it
// around; and Linux answers for an address of another interface of its own.
func (p *probing) judge(h packet) *Conflict {
	holder := net.HardwareAddr(slices.Clone(h.senderMAC[:]))
	switch {
	case slices.Contains(p.own, h.senderMAC):
		return nil
	case slices.Contains(p.addrs, h.senderIP):
		return &Conflict{Addr: h.senderIP, Holder: holder}
	case h.op == request && h.senderIP.IsUnspecified() && h.senderMAC != p.from && slices.Contains(p.addrs, h.targetIP):
		return &Conflict{Addr: h.targetIP, Holder: holder, Asking: true}
	}
	return nil
}
