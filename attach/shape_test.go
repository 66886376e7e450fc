package attach

import (
	"math"
	"testing"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/guestnet"
	"github.com/gopipework/gopipework/internal/spec"
)

// FuzzShapeRead: the kernel returns what it was given.
func FuzzShapeRead(f *testing.F) {
	f.Add("10mbit", "1.5gbit", "0.1%", "100ms", "3us")
	f.Add("none", "0", "0.00%", "", "0.5s")
	f.Fuzz(func(t *testing.T, in, out, loss, delay, jitter string) {
		r, err := ShapeWords{RateIn: in, RateOut: out, Loss: loss, Delay: delay, Jitter: jitter}.Parse()
		if err != nil {
			return
		}
		s := r.Apply(Shaping{})
		if s.Delay == 0 {
			s.Jitter = 0
		}
		if got := guestnet.Shaping(asRead(s)); got != s {
			t.Errorf("%v is read back as %v", s, got)
		}
	})
}

// asRead is how the kernel shows a shaping.
func asRead(s Shaping) (out build.Shaped) {
	e := guestnet.Sent(s, 1500)
	if e.Shapes() {
		out.Out = append(out.Out, e.Root())
	}
	if e.Worse() && e.Rate != 0 {
		out.Out = append(out.Out, e.Below())
	}
	if e := guestnet.Received(s, 1500); e.Shapes() {
		out.In = append(out.In, e.Root())
	}
	return out
}

// TestBucket: a bucket holds a frame at any rate, whatever the MTU, and all
// sizes fit the kernel's.
func TestBucket(t *testing.T) {
	for _, rate := range []Rate{spec.MinRate, 512e3, 10e6, 1e9, 100e9, spec.MaxRate} {
		for _, mtu := range []int{spec.MinMTU, 1500, spec.MaxMTU} {
			b := guestnet.Egress{Rate: rate, MTU: mtu}.Tbf()
			if int(b.Burst) < mtu+guestnet.Header || b.Limit < b.Burst || b.Rate != uint64(rate)/8 {
				t.Errorf("%s, MTU %d: %+v", rate, mtu, *b)
			}
			if rate >= 10e6 && mtu == 1500 && float64(b.Burst)/float64(b.Rate) > 0.011 {
				t.Errorf("%s: the bucket lets %d bytes through at once", rate, b.Burst)
			}
		}
	}
}

func TestLossIsShare(t *testing.T) {
	if n := (guestnet.Egress{Loss: 10000}).Root().Netem; n.Loss/100 != math.MaxUint32/10000 {
		t.Errorf("1%% is %d of %d", n.Loss, uint32(math.MaxUint32))
	}
}

func TestInboundName(t *testing.T) {
	seen := map[string]bool{}
	for _, inner := range []string{"e", "eth1", "twelve-bytes", "thirteenbytes", "fifteen-bytes-a", "fifteen-bytes-b"} {
		n := guestnet.InboundName(inner)
		if why := spec.CheckName(n); why != "" || seen[n] {
			t.Errorf("%s: %s, %s", inner, n, why)
		}
		seen[n] = true
	}
}
