package attach

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"time"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/rtnl"
)

// glance is how long a wait sleeps at most before it looks again, also at
// whether the guest still lives.
const glance = 50 * time.Millisecond

// await looks whenever something changes on the side, until done says so, or
// somebody has changed the links that it waits for. It lets the host's lock go:
// everything of the host's is in place by then, and others need not wait for us.
// The guest's stays.
func (m *machine) await(ctx context.Context, s side, done func() (bool, error)) error {
	m.hostLock.release()
	ev, err := m.sides[s].Watch()
	if err != nil {
		return explain("watch", "links", err)
	}
	defer ev.Close()
	for {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		if err := m.stillThere(ctx); err != nil {
			return err
		}
		if err := ev.Wait(glance); err != nil {
			return explain("watch", "links", err)
		}
	}
}

// awaitForwarding waits until the bridge passes frames of the port on: a few
// milliseconds, or twice the forward delay if it runs STP. What is sent before
// is heard by nobody.
type awaitForwarding struct{ port, bridge string }

func (s awaitForwarding) do(ctx context.Context, m *machine) error {
	return m.await(ctx, host, func() (bool, error) {
		l, err := m.sides[host].LinkByIndex(m.index[end{host, s.port}])
		if err != nil {
			return false, explain("find", s.port, err)
		}
		if l.Master != m.index[end{host, s.bridge}] {
			return false, fault.New(fault.Gone, "wait for", s.port, "somebody took it off %s", s.bridge)
		}
		return l.Forwarding, nil
	})
}

func (s awaitForwarding) undo(context.Context, *machine) error { return nil }

func (awaitForwarding) nature() nature { return passive }

func (s awaitForwarding) String() string {
	return "# wait until " + s.bridge + " forwards on " + s.port
}

// carrierPatience is how long a card that has just been set up may take to find
// its partner: most have done so after three seconds.
const carrierPatience = 5 * time.Second

// awaitCarrier waits until a card that was set up has a carrier. Without one it
// goes on: the cable may be plugged in later.
type awaitCarrier struct {
	place
	link string
	card string // the name that it has on the host
}

func (s awaitCarrier) do(ctx context.Context, m *machine) error {
	patience := time.Now().Add(carrierPatience)
	return m.await(ctx, s.side, func() (bool, error) {
		i, err := m.find(end{s.side, s.link})
		if err != nil {
			return false, explain("find", s.link, err)
		}
		l, err := s.kernel(m).LinkByIndex(i)
		if err != nil {
			return false, explain("find", s.link, err)
		}
		if !l.Carrier && time.Now().After(patience) {
			m.warn(noCarrier(s.card) + ": nothing can be heard on it")
			return true, nil
		}
		return l.Carrier, nil
	})
}

func (s awaitCarrier) undo(context.Context, *machine) error { return nil }

func (awaitCarrier) nature() nature { return passive }

func (s awaitCarrier) String() string { return "# wait until " + s.card + " has a carrier" }

var errNoCarrier = errors.New("has no carrier")

func noCarrier(name string) string { return name + " " + errNoCarrier.Error() }

// awaitDAD waits for the verdict of duplicate address detection (RFC 4862,
// section 5.4) on the addresses.
type awaitDAD struct {
	place
	inner string
	addrs []netip.Addr
}

func (s awaitDAD) do(ctx context.Context, m *machine) error {
	return m.await(ctx, s.side, func() (bool, error) {
		if _, err := s.kernel(m).LinkByIndex(s.index(m, s.inner)); err != nil {
			return false, explain("find", s.inner, err)
		}
		all, err := s.kernel(m).Addrs()
		if err != nil {
			return false, explain("read addresses of", s.inner, err)
		}
		return s.verdict(all, s.index(m, s.inner))
	})
}

func (s awaitDAD) verdict(all []rtnl.Addr, index int) (bool, error) {
	ready := 0
	for _, a := range all {
		for _, want := range s.addrs {
			switch {
			case a.Index != index || a.Prefix.Addr() != want:
			case a.Duplicate():
				return false, fault.New(fault.Conflict, "take address", want.String(),
					"somebody on this network has it already (duplicate address detection)").
					WithHint("choose another, or find who has it: ping -6 %s from another guest, then ip -6 neigh", want)
			case !a.Tentative():
				ready++
			}
		}
	}
	return ready == len(s.addrs), nil
}

func (s awaitDAD) undo(context.Context, *machine) error { return nil }

func (awaitDAD) nature() nature { return passive }

func (s awaitDAD) String() string {
	return "# wait until " + joinAddrs(s.addrs) + " is known to be nobody else's"
}

func joinAddrs(addrs []netip.Addr) string {
	words := make([]string, len(addrs))
	for i, a := range addrs {
		words[i] = a.String()
	}
	return strings.Join(words, ", ")
}
