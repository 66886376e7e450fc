package attach

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"golang.org/x/sys/unix"
)

// relook is how long a wait sleeps when nothing happens. The kernel announces
// every change, so this only bounds what an untold one could cost.
const relook = time.Second

// runAwait carries out Await. A timeout of 0 is none.
func runAwait(ctx context.Context, r Ready, g *guests.Guest, timeout time.Duration) (Interface, error) {
	if timeout > 0 {
		var cancel func()
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	k, err := openFor(g)
	if err != nil {
		return Interface{}, err
	}
	defer k.Close()
	sleep := relook
	if g != nil && guests.OwnerOf(g) != nil {
		sleep = plan.Glance // the kernel does not announce a death
	}
	return awaitReady(ctx, r, k, g, sleep)
}

// awaitReady looks when something has changed, or after sleep, until the interface
// is ready or ctx has ended.
func awaitReady(ctx context.Context, r Ready, k *rtnl.Conn, g *guests.Guest, sleep time.Duration) (Interface, error) {
	events, err := k.WatchAll() // before the first look, so that nothing falls between
	if err != nil {
		return Interface{}, fault.Explain("watch", r.IfName, err)
	}
	defer events.Close()
	defer context.AfterFunc(ctx, events.Close)() // the end of ctx ends a sleep
	for {
		seen, err := sightOf(r, k)
		if err != nil {
			return Interface{}, err
		}
		if err := stillAlive(g); err != nil {
			return Interface{}, err
		}
		missing := seen.missing(r)
		if missing == "" {
			return seen.describe(), nil
		}
		if cause := context.Cause(ctx); cause != nil {
			return Interface{}, gaveUp(r, cause, g, missing)
		}
		if err := events.Wait(sleep); err != nil && ctx.Err() == nil {
			return Interface{}, fault.Explain("watch", r.IfName, err)
		}
	}
}

func openFor(g *guests.Guest) (*rtnl.Conn, error) {
	if g == nil {
		c, err := rtnl.OpenOwn()
		return c, fault.Explain("open", "the network namespace of this process", err)
	}
	c, err := rtnl.Open(g.Namespace)
	return c, fault.Explain("enter", "guest "+g.Name, err)
}

// stillAlive reports whether the guest has died; the namespace of this process has
// not.
func stillAlive(g *guests.Guest) error {
	if g == nil {
		return nil
	}
	return g.Alive()
}

// gaveUp is the error for a wait that ended before the interface was ready.
func gaveUp(r Ready, cause error, g *guests.Guest, missing string) error {
	if !errors.Is(cause, context.DeadlineExceeded) {
		return cause
	}
	object := r.IfName
	if g != nil {
		object += " of " + g.Name
	}
	return fault.New(fault.Timeout, "wait for", object, "time is up, and %s %s", r.IfName, missing)
}

// sight is what one look saw.
type sight struct {
	link   *rtnl.Link // nil: there is none
	addrs  []rtnl.Addr
	routes []rtnl.Route
}

// sightOf finds the interface by its name each time: it may be deleted and made
// again while somebody waits for it.
func sightOf(r Ready, k *rtnl.Conn) (s sight, err error) {
	s.link, err = k.LinkByName(r.IfName)
	if errors.Is(err, rtnl.ErrNotFound) {
		return sight{}, nil
	}
	if err != nil {
		return s, fault.Explain("find", r.IfName, err)
	}
	if s.addrs, err = k.Addrs(); err != nil {
		return s, fault.Explain("read addresses of", r.IfName, err)
	}
	if s.routes, err = ours.RoutesFor(k, s.link); err != nil {
		return s, fault.Explain("read routes of", r.IfName, err)
	}
	return s, nil
}

// missing returns what the interface does not have yet, to be said after its
// name; "" if it is ready.
func (s sight) missing(r Ready) string {
	switch {
	case s.link == nil:
		return "is not there"
	case !s.link.Up:
		return "is down"
	case !s.link.Carrier:
		return "has no carrier"
	case s.link.Flags&unix.IFF_RUNNING == 0: // RFC 2863: dormant, as Wi-Fi before it is let in
		return "has a carrier, but does not pass frames yet"
	case r.Addr && len(s.usable()) == 0:
		return s.withoutAddr()
	case r.Route && !s.leadsOn():
		return "has no route that leads beyond the link"
	}
	return ""
}

// usable returns the addresses that a program can use. The link-local ones
// that every interface gives itself are no sign of anybody's having set it up.
func (s sight) usable() []netip.Prefix {
	out := []netip.Prefix{}
	for _, a := range s.own() {
		if !a.Tentative() && !a.Duplicate() {
			out = append(out, a.Prefix)
		}
	}
	return out
}

func (s sight) own() (out []rtnl.Addr) {
	for _, a := range s.addrs {
		if ip := a.Prefix.Addr(); a.Index == s.link.Index && !(ip.Is6() && ip.IsLinkLocalUnicast()) {
			out = append(out, a)
		}
	}
	return out
}

// withoutAddr says why there is no usable address.
func (s sight) withoutAddr() string {
	why := "has no address"
	for _, a := range s.own() {
		if !a.Duplicate() {
			return "has the address " + a.Prefix.Addr().String() + ", which is not yet known to be unique"
		}
		why = "has the address " + a.Prefix.Addr().String() + ", which somebody else on this network has too"
	}
	return why
}

// leadsOn reports whether there is a default route by the link, or one by a
// gateway on it.
func (s sight) leadsOn() bool {
	for _, route := range s.routes {
		for _, h := range hops(route) {
			if h.Index == s.link.Index && (h.Gateway.IsValid() || route.Default()) {
				return true
			}
		}
	}
	return false
}

// hops returns the next hops of a route, be it one or several.
func hops(r rtnl.Route) []rtnl.Hop {
	if len(r.Hops) > 0 {
		return r.Hops
	}
	return []rtnl.Hop{{Gateway: r.Gateway, Index: r.Index}}
}

// describe is the interface for a caller: with every usable address and
// gateway, whoever set it.
func (s sight) describe() Interface {
	i := Interface{
		Name: s.link.Name, Kind: s.link.Kind, MAC: s.link.MAC.String(), MTU: s.link.MTU,
		Addresses: s.usable(), Gateway: []netip.Addr{},
	}
	for _, route := range s.routes {
		for _, h := range hops(route) {
			if route.Default() && h.Index == s.link.Index && h.Gateway.IsValid() {
				i.Gateway = append(i.Gateway, h.Gateway)
			}
		}
	}
	return i
}
