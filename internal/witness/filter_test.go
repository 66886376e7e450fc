package witness

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/gopipework/gopipework/internal/rawsocket"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// markedFrames are frames of each kind, and of no kind.
func markedFrames(m Mark) (marked, others [][]byte) {
	mac, far := net.HardwareAddr{2, 0, 0, 0, 0, 1}, net.HardwareAddr{2, 0, 0, 0, 0, 2}
	for _, pair := range [][2]string{{chainA, chainB}, {chainA6, chainB6}} {
		from, to := netip.MustParseAddr(pair[0]), netip.MustParseAddr(pair[1])
		here, there := Station{MAC: mac, Addr: from}, Station{MAC: far, Addr: to}
		marked = append(marked, m.crossing(here, there, 9, 7)...)
		marked = append(marked, Question{MAC: mac, Addr: to}.frame())
		icmp, echoes, failed := byte(unix.IPPROTO_ICMP), []byte{8, 0}, byte(3)
		if from.Is6() {
			icmp, echoes, failed = unix.IPPROTO_ICMPV6, []byte{128, 129}, 1
		}
		for _, typ := range echoes {
			echo := ipFrame(far, mac, from, to, icmp, slices.Concat([]byte{typ, 0, 0, 0}, binary.BigEndian.AppendUint32(nil, m.magic), m.payload(7, 100)))
			about := echo[14:]
			marked = append(marked, echo,
				ipFrame(mac, far, to, from, icmp, slices.Concat([]byte{failed, 0, 0, 0, 0, 0, 0, 0}, about)),
				ipFrame(mac, far, to, from, icmp, slices.Concat([]byte{failed, 0, 0, 0, 0, 0, 0, 0}, about[:len(about)-108+8])))
		}
		for _, flags := range []byte{2, 4, 16} {
			segment := make([]byte, 20)
			binary.BigEndian.PutUint16(segment[2:], m.port)
			segment[12], segment[13] = 5<<4, flags
			marked = append(marked, ipFrame(mac, far, to, from, unix.IPPROTO_TCP, segment))
			others = append(others, ipFrame(mac, far, to, from, unix.IPPROTO_TCP, make([]byte, 20)))
		}
		others = append(others, ipFrame(mac, far, to, from, unix.IPPROTO_UDP, make([]byte, 200)))
	}
	for _, f := range marked {
		tagged := slices.Insert(slices.Clone(f), 12, 0x81, 0, 0, 7)
		marked = append(marked, tagged, slices.Insert(slices.Clone(tagged), 12, 0x88, 0xa8, 0, 9))
	}
	return marked, append(others, nil, make([]byte, 14), make([]byte, 60))
}

// TestFilter: the filter lets all that is ours through, and little else; and whatever is
// recognized, it lets through.
func TestFilter(t *testing.T) {
	m := chain{}.mark()
	vm, err := bpf.NewVM(m.filter())
	if err != nil {
		t.Fatal(err)
	}
	passes := func(f []byte) bool {
		n, err := vm.Run(f)
		if err != nil {
			t.Fatal(err)
		}
		return n > 0
	}
	marked, others := markedFrames(m)
	kinds := map[Kind]bool{}
	for _, f := range marked {
		p, ok := m.read(f)
		kinds[p.Kind] = true
		if !ok || !passes(f) || p.Tagged != (f[12] == 0x81 || f[12] == 0x88) {
			t.Errorf("read %v, passes %v, tagged %v: %x", ok, passes(f), p.Tagged, f)
		}
	}
	for _, k := range []Kind{ARPRequest, Solicitation, EchoRequest, EchoReply, ICMPError, Datagram, SYN, RST, OtherTCP} {
		if !kinds[k] && k != EchoReply {
			t.Errorf("no %s was tried", k)
		}
	}
	for _, f := range others {
		if _, ok := m.read(f); ok || passes(f) {
			t.Errorf("not ours, read %v, passes %v: %x", ok, passes(f), f)
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 200_000 {
		f := slices.Clone(marked[random.IntN(len(marked))])
		for range random.IntN(4) {
			f[random.IntN(len(f))] = byte(random.IntN(256))
		}
		f = f[:len(f)-random.IntN(len(f))/2]
		if p, ok := m.read(f); ok && !passes(f) {
			t.Fatalf("%s is recognized, and does not pass: %x", p.Kind, f)
		}
	}
}

// TestTags: taps tell a VLAN tag, whether it is among the bytes of a frame, as where it is
// sent, or the kernel has taken it out, as where it is received.
func TestTags(t *testing.T) {
	c := newChain(t)
	addr := netip.MustParseAddr(chainB)
	m := NewMark(addr)
	taps, err := m.Tap(c.points())
	if err != nil {
		t.Fatal(err)
	}
	defer taps.Close()
	here, mac := c.a.point("eth1")
	answers := make(chan []Answer)
	go func() {
		got, err := Ask(context.Background(), Question{From: here, MAC: mac, Addr: addr, VLAN: 7, Patience: plenty})
		if err != nil {
			t.Error(err)
		}
		answers <- got
	}()
	// Nobody is on that VLAN but us.
	there, far := c.b.point("eth1")
	var s *rawsocket.Socket
	if err := there.Run(func() (err error) {
		s, err = rawsocket.Packet{Name: "test", Index: there.Index, Headers: true}.Open()
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	reply := slices.Concat(mac, far, []byte{0x81, 0, 0x60, 7, 8, 6, 0, 1, 8, 0, 6, 4, 0, 2}, far, addr.AsSlice(), mac, make([]byte, 4))
	for done := false; !done; {
		select {
		case got := <-answers:
			if len(got) != 1 || !got[0].Tagged || got[0].VLAN != 7 || got[0].MAC.String() != far.String() {
				t.Errorf("answers: %+v", got)
			}
			done = true
		case <-time.After(pause):
			if _, err := s.Write(reply); err != nil {
				t.Fatal(err)
			}
		}
	}
	seen := taps.Seen(m)
	for _, k := range []Kind{ARPRequest, ARPReply} {
		if Furthest(seen, k) != 3 {
			t.Errorf("%s: %s", k, steps(seen))
		}
	}
	for _, s := range seen {
		if !s.Tagged || s.VLAN != 7 {
			t.Errorf("%+v", s)
		}
	}
}

// TestBusy: on links with hundreds of Mbit/s nothing of ours is missed.
func TestBusy(t *testing.T) {
	c := newChain(t)
	c.ping(c.mark(), chainB, plenty)
	stop, done := make(chan struct{}), make(chan int)
	go func() {
		from, to := c.host(c.a, chainA), c.host(c.b, chainB)
		there, err := to.socket(unix.SOCK_DGRAM, 0, 0)
		if err != nil {
			t.Error(err)
		}
		defer unix.Close(there)
		here, err := from.socket(unix.SOCK_DGRAM, 0, 0)
		if err != nil {
			t.Error(err)
		}
		defer unix.Close(here)
		port, _ := portOf(there)
		load := make([]byte, 1400)
		for n := 0; ; n++ {
			select {
			case <-stop:
				done <- n * len(load)
				return
			default:
			}
			_ = unix.Sendto(here, load, 0, from.at(to.Addr, port)) // a full queue is no matter
		}
	}()
	m := c.mark()
	taps, err := m.Tap(c.points())
	if err != nil {
		t.Fatal(err)
	}
	defer taps.Close()
	const pings = 10
	began := time.Now()
	for range pings {
		if e := c.ping(m, chainB, plenty); !e.Answered {
			t.Errorf("%+v", e)
		}
		time.Sleep(20 * time.Millisecond)
	}
	close(stop)
	bits := float64(<-done) * 8 / time.Since(began).Seconds() / 1e6
	t.Logf("%.0f Mbit/s", bits)
	at := map[Kind]int{}
	for _, s := range taps.Seen(m) {
		at[s.Kind]++
	}
	for _, k := range []Kind{EchoRequest, EchoReply} {
		if at[k] < 4*pings {
			t.Errorf("%s: seen %d times, want %d", k, at[k], 4*pings)
		}
	}
}
