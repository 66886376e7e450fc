package attach

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/gopipework/gopipework/internal/guests"

	testhost "github.com/gopipework/gopipework/e2e/host"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"golang.org/x/sys/unix"
)

// shapeStages are hosts and lines with a shaping in either direction.
func shapeStages() []stage {
	return slices.DeleteFunc(slices.Clone(stages), func(st stage) bool { return !strings.HasPrefix(st.name, "shaped") })
}

// TestShape: what is asked for is there and listed; the same line changes
// nothing, another is refused and told of set; and it goes with the detach.
func TestShape(t *testing.T) {
	needRoot(t)
	for _, st := range shapeStages() {
		t.Run(st.name, func(t *testing.T) {
			hostNS, guestNS := st.ready(t)
			g := docker(guestNS, 0)
			before := inventory(t, hostNS) + queues(t, hostNS)
			guestBefore := inventory(t, guestNS) + queues(t, guestNS)
			for i, changed := range []bool{true, false} {
				r, err := runAttach(context.Background(), parsed(t, st.line), g, hostNS, Options{})
				if err != nil || r.Changed != changed {
					t.Fatalf("attach %d: changed = %v, %v; want %v", i+1, r.Changed, err, changed)
				}
			}
			want := Shaping{RateIn: 10e6, RateOut: 512e3}
			if got := listed(t, hostNS, g).Shaping; got == nil || *got != want {
				t.Errorf("listed: %v, want %v", got, want)
			}
			other := strings.Replace(st.line, "10mbit", "20mbit", 1)
			_, err := runAttach(context.Background(), parsed(t, other), g, hostNS, Options{})
			if text := errorText(err); fault.CodeOf(err) != fault.Conflict || !strings.Contains(text, "rate-in 10mbit") ||
				!strings.Contains(text, "gopipework set web eth1 --rate-in 20mbit") {
				t.Errorf("another rate: %s", text)
			}
			detachKind(t, g, hostNS)
			sameSoon(t, "host after detach", before, func() string { return inventory(t, hostNS) + queues(t, hostNS) })
			sameSoon(t, "guest after detach", guestBefore, func() string { return inventory(t, guestNS) + queues(t, guestNS) })
		})
	}
}

// listed returns the guest's only attachment.
func listed(t *testing.T, hostNS *os.File, g guests.Guest) Attachment {
	t.Helper()
	all, err := runList(context.Background(), hostNS, &g)
	if err != nil || len(all) != 1 {
		t.Fatalf("list: %+v, %v; want one", all, err)
	}
	return all[0]
}

func (r refusing) SetQdisc(q rtnl.Qdisc) error {
	if err := r.refuse(); err != nil {
		return err
	}
	return r.Kernel.SetQdisc(q)
}

func (r refusing) RedirectIngress(from, to int) error {
	if err := r.refuse(); err != nil {
		return err
	}
	return r.Kernel.RedirectIngress(from, to)
}

// TestShapeErrno: whatever request the kernel refuses, both sides are as
// before.
func TestShapeErrno(t *testing.T) {
	needRoot(t)
	st := shapeStages()[1]
	hostNS, guestNS := st.ready(t)
	before := inventory(t, hostNS) + inventory(t, guestNS)
	for errno, code := range map[unix.Errno]fault.Code{unix.EPERM: fault.Permission, unix.EEXIST: fault.Conflict, unix.ENOMEM: fault.Failed} {
		for n, left := 0, -1; left < 0; n++ {
			left = n
			err := attempt(t, parsed(t, st.line), docker(guestNS, 0), hostNS, func(_ plan.Side, k plan.Kernel) plan.Kernel {
				return refusing{Kernel: k, left: &left, errno: errno}
			}, unedited, untold)
			if left >= 0 {
				if err != nil {
					t.Fatal(err)
				}
				detachKind(t, docker(guestNS, 0), hostNS)
			} else if got := fault.CodeOf(err); got != code {
				t.Errorf("request %d refused with %v: %s (%v); want %s", n, errno, got, err, code)
			}
			sameSoon(t, fmt.Sprintf("host and guest after request %d", n), before, func() string { return inventory(t, hostNS) + inventory(t, guestNS) })
			if t.Failed() {
				return
			}
		}
	}
}

// TestShapeLink: between two guests each end has its own.
func TestShapeLink(t *testing.T) {
	needRoot(t)
	hostNS := newNamespace(t)
	web, db := docker(newNamespace(t), 0), docker(newNamespace(t), 0)
	db.Name, db.ID = "db", "00000000000d"
	s, err := ParseLink(LinkWords{
		Ends:  [2]EndWords{{Guest: "web", Address: "10.0.0.1/24"}, {Guest: "db", Address: "10.0.0.2/24"}},
		Shape: ShapeWords{RateOut: "10mbit"},
	})
	if err != nil {
		t.Fatal(err)
	}
	before := inventory(t, web.Namespace) + inventory(t, db.Namespace)
	for i, changed := range []bool{true, false} {
		r, err := runLink(context.Background(), s, [2]guests.Guest{web, db}, hostNS, Options{})
		if err != nil || r.Changed != changed {
			t.Fatalf("link %d: changed = %v, %v; want %v", i+1, r.Changed, err, changed)
		}
	}
	want := Shaping{RateOut: 10e6}
	for _, g := range []guests.Guest{web, db} {
		if got := listed(t, hostNS, g).Shaping; got == nil || *got != want {
			t.Errorf("%s: %v, want %v", g.Name, got, want)
		}
	}
	if !hears(web.Namespace, "10.0.0.2") {
		t.Error("the guests do not hear each other")
	}
	if _, err := runDetach(context.Background(), Selection{}, web, hostNS, Options{}); err != nil {
		t.Fatal(err)
	}
	sameSoon(t, "guests after detach", before, func() string { return inventory(t, web.Namespace) + inventory(t, db.Namespace) })
}

// TestShapeKilled: what a killed run or a deleted link leaves of an ifb goes by
// the same line again, and by gc.
func TestShapeKilled(t *testing.T) {
	needRoot(t)
	for _, clean := range []string{"again", "gc"} {
		t.Run(clean, func(t *testing.T) {
			hostNS, guestNS := shapeStages()[1].ready(t)
			inhabit(t, guestNS)
			g, s := docker(guestNS, 0), parsed(t, shapeStages()[1].line)
			before := inventory(t, guestNS)
			if _, err := runAttach(context.Background(), s, g, hostNS, Options{}); err != nil {
				t.Fatal(err)
			}
			in(t, guestNS, "ip", "link", "del", "eth1")
			if in(t, guestNS, "ip", "link", "show", "eth1-in") == "" {
				t.Fatal("there is nothing to clean up")
			}
			if clean == "again" {
				if _, err := runAttach(context.Background(), s, g, hostNS, Options{}); err != nil {
					t.Fatal(err)
				}
				detachKind(t, g, hostNS)
			} else if _, err := runGC(context.Background(), hostNS, Options{}); err != nil {
				t.Fatal(err)
			}
			sameSoon(t, "guest", before, func() string { return inventory(t, guestNS) })
		})
	}
}

// TestShapeUnsupported: a kernel without netem is told of, and nothing has
// changed. Where there is netem, it works.
func TestShapeUnsupported(t *testing.T) {
	needRoot(t)
	st := stage{line: "brtest web 192.168.1.2/24 --rate-out 1mbit --loss 1% --delay 20ms --jitter 1ms"}
	hostNS, guestNS := st.ready(t)
	g := docker(guestNS, 0)
	before := inventory(t, hostNS) + inventory(t, guestNS)
	_, err := runAttach(context.Background(), parsed(t, st.line), g, hostNS, Options{})
	if fault.CodeOf(err) == fault.Unsupported {
		if text := errorText(err); !strings.Contains(text, "sch_netem (CONFIG_NET_SCH_NETEM)") {
			t.Errorf("it does not say what is missing: %s", text)
		}
		sameSoon(t, "host and guest", before, func() string { return inventory(t, hostNS) + inventory(t, guestNS) })
		if testhost.Required("netem") {
			t.Fatal("netem is required")
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	want := Shaping{RateOut: 1e6, Loss: 10000, Delay: 20e6, Jitter: 1e6}
	if got := listed(t, hostNS, g).Shaping; got == nil || *got != want {
		t.Errorf("listed: %v, want %v", got, want)
	}
	detachKind(t, g, hostNS)
	sameSoon(t, "host and guest", before, func() string { return inventory(t, hostNS) + inventory(t, guestNS) })
}

// seed is netem's own, at random; newer versions of tc print it.
var seed = regexp.MustCompile(` seed \d+`)

// queues are the qdiscs that somebody made.
func queues(t *testing.T, ns *os.File) string {
	t.Helper()
	var b strings.Builder
	for line := range strings.Lines(in(t, ns, "tc", "qdisc", "show")) {
		if !strings.Contains(line, " 0: ") {
			fmt.Fprint(&b, seed.ReplaceAllString(line, ""))
		}
	}
	return b.String()
}
