package plan

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/spec"
	"golang.org/x/sys/unix"
)

// AddAddr gives an interface an address.
type AddAddr struct {
	Place
	Inner  string
	Prefix netip.Prefix
	NoDAD  bool
	Proto  uint8 // who sets it; 0: nobody is noted
}

func (s AddAddr) Do(_ context.Context, m *Machine) error {
	i, err := m.Find(s.Side, s.Inner)
	switch {
	case err != nil:
	case s.Proto != 0:
		err = s.Kernel(m).AddAddrBy(i, s.Prefix, s.NoDAD, s.Proto)
	default:
		err = s.Kernel(m).AddAddr(i, s.Prefix, s.NoDAD)
	}
	return fault.Explain("add address "+s.Prefix.String()+" to", s.Inner, err)
}

func (s AddAddr) Undo(_ context.Context, m *Machine) error {
	return fault.IgnoreAbsent("delete address "+s.Prefix.String()+" from", s.Inner,
		s.Kernel(m).DelAddr(s.Index(m, s.Inner), s.Prefix))
}

func (AddAddr) Nature() Nature { return Undoable }

func (s AddAddr) String() string {
	w := s.Enter + "ip address add " + s.Prefix.String()
	if s.Prefix.Addr().Is4() && s.Prefix.Bits() < 31 {
		w += " brd +"
	}
	w += " dev " + s.Inner
	if s.NoDAD {
		w += " nodad"
	}
	if s.Proto != 0 {
		w += " proto " + strconv.Itoa(int(s.Proto))
	}
	return w
}

// DelAddr deletes an address.
type DelAddr struct {
	Place
	Inner  string
	Prefix netip.Prefix
	Behind []netip.Prefix // that the kernel puts in its place
	Routes []rtnl.Route   // that may go with it
}

func (s DelAddr) Do(_ context.Context, m *Machine) error {
	return AddAddr{Place: s.Place, Inner: s.Inner, Prefix: s.Prefix}.Undo(context.Background(), m)
}

// Undo restores it, in front of those that were behind it, and the routes that
// went with it.
func (s DelAddr) Undo(ctx context.Context, m *Machine) error {
	again := AddAddr{Place: s.Place, Inner: s.Inner, Prefix: s.Prefix, NoDAD: s.Prefix.Addr().Is6()}
	if err := again.Do(ctx, m); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	for _, p := range s.Behind {
		again.Prefix = p
		if err := again.Undo(ctx, m); err != nil {
			return err
		}
		if err := again.Do(ctx, m); err != nil {
			return err
		}
	}
	for _, r := range s.Routes {
		if err := s.Kernel(m).AddRoute(r, false); err != nil && !errors.Is(err, unix.EEXIST) {
			return fault.Explain("add again route", r.Dst.String(), err)
		}
	}
	return nil
}

func (DelAddr) Nature() Nature { return Undoable }

func (s DelAddr) String() string {
	return s.Enter + "ip address del " + s.Prefix.String() + " dev " + s.Inner
}

// AddRoute adds a route by a guest's interface; with prepend, in front of what
// has the same destination and metric.
type AddRoute struct {
	Place
	Inner   string
	Dst     netip.Prefix
	Gateway netip.Addr // the zero Addr: on link
	Metric  int        // 0: the kernel's default
	Prepend bool

	Source   netip.Addr // that what takes it is sent from; the zero Addr: any
	Table    int        // 0: main
	Protocol uint8      // who sets it; 0: RTPROT_BOOT, as a person's "ip route" does
	Known    int        // index of a link that is there; 0: an earlier step makes it
	Learned  bool       // the address came from the network: a keeper may have added the route, and its gateway is out of reach
}

// Route takes a machine only where an earlier step makes the link.
func (s AddRoute) Route(m *Machine) rtnl.Route {
	r := rtnl.Route{Dst: s.Dst, Gateway: s.Gateway, Metric: s.Metric, Table: s.Table, Protocol: s.Protocol, Source: s.Source, Index: s.Known}
	if r.Index == 0 {
		r.Index = s.Index(m, s.Inner)
	}
	return r
}

func (s AddRoute) Do(_ context.Context, m *Machine) error {
	if s.Learned {
		return s.afterLease(m)
	}
	return s.explain(s.Kernel(m).AddRoute(s.Route(m), s.Prepend))
}

// explain says what of the guest's own routes and rules keeps it from having this
// one.
func (s AddRoute) explain(err error) error {
	refuse := func(format string, args ...any) *fault.Error {
		return fault.New(fault.Conflict, "add route", s.Words(), format+": %w", append(args, err)...)
	}
	switch {
	case errors.Is(err, unix.EEXIST):
		// One that leads nowhere (blackhole, unreachable, prohibit): it is not taken
		// for a default route, and so not gone in front of.
		return refuse("there is one with the same destination and metric already").
			WithHint("%sip route show %s", s.Enter, s.Dst)
	case s.Gateway.IsValid() && (errors.Is(err, unix.EACCES) || errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.EHOSTUNREACH)):
		return refuse("a rule or a route of its own keeps %s from being reached by %s", s.Gateway, s.Inner).
			WithHint("%sip rule; %[1]sip route get %[2]s", s.Enter, s.Gateway)
	}
	return fault.Explain("add route", s.Words(), err)
}

func (s AddRoute) afterLease(m *Machine) error {
	err := EnsureRoute(s.Kernel(m), s.Route(m))
	if s.Gateway.IsValid() && (errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.EHOSTUNREACH) || errors.Is(err, unix.EINVAL)) {
		return fault.New(fault.Conflict, "add route", s.Words(), "its gateway %s is in no subnet that the network gave the interface, or is the interface's own address: %w", s.Gateway, err).
			WithHint("--route %s puts it on the link", netip.PrefixFrom(s.Gateway, s.Gateway.BitLen()))
	}
	return fault.Explain("add route", s.Words(), err)
}

func (s AddRoute) Undo(_ context.Context, m *Machine) error {
	return fault.IgnoreAbsent("delete route", s.Words(), s.Kernel(m).DelRoute(s.Route(m)))
}

// Words are those of the route, as ip takes them.
func (s AddRoute) Words() string {
	w := s.Dst.String()
	if s.Dst.Bits() == 0 {
		w = "default"
	}
	if s.Gateway.IsValid() {
		w += " via " + s.Gateway.String()
	}
	w += " dev " + s.Inner
	if s.Source.IsValid() {
		w += " src " + s.Source.String()
	}
	if s.Metric != 0 {
		w += " metric " + strconv.Itoa(s.Metric)
	}
	if s.Table != 0 {
		w += " table " + strconv.Itoa(s.Table)
	}
	if s.Protocol != 0 {
		w += " protocol " + strconv.Itoa(int(s.Protocol))
	}
	return w
}

func (AddRoute) Nature() Nature { return Undoable }

func (s AddRoute) String() string {
	verb := "add "
	if s.Prepend {
		verb = "prepend "
	}
	return s.Enter + IPCommand(s.Dst.Addr().Is6()) + "route " + verb + s.Words()
}

// EnsureRoute adds a route, or finds that it is there.
func EnsureRoute(k Kernel, r rtnl.Route) error {
	err := k.AddRoute(r, false)
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	all, lookErr := k.AllRoutes()
	if slices.ContainsFunc(all, func(o rtnl.Route) bool {
		return o.Index == r.Index && o.Dst == r.Dst && o.Gateway == r.Gateway && o.Metric == spec.UsualMetric(r.Dst, r.Metric) && o.Table == r.Table && o.Protocol == r.Protocol
	}) {
		return nil
	}
	return errors.Join(err, lookErr)
}

// IPCommand is the beginning of a command about routes or rules of one family.
func IPCommand(ipv6 bool) string {
	if ipv6 {
		return "ip -6 "
	}
	return "ip "
}

// AwaitDAD waits for the verdict of duplicate address detection (RFC 4862,
// section 5.4) on the addresses.
type AwaitDAD struct {
	Place
	Inner string
	Addrs []netip.Addr
}

func (s AwaitDAD) Do(ctx context.Context, m *Machine) error {
	return m.Await(ctx, s.Side, func() (bool, error) {
		if _, err := s.Kernel(m).LinkByIndex(s.Index(m, s.Inner)); err != nil {
			return false, fault.Explain("find", s.Inner, err)
		}
		all, err := s.Kernel(m).Addrs()
		if err != nil {
			return false, fault.Explain("read addresses of", s.Inner, err)
		}
		return s.verdict(all, s.Index(m, s.Inner))
	})
}

func (s AwaitDAD) verdict(all []rtnl.Addr, index int) (bool, error) {
	ready := 0
	for _, a := range all {
		for _, want := range s.Addrs {
			switch {
			case a.Index != index || a.Prefix.Addr() != want:
			case a.Duplicate():
				return false, fault.New(fault.Conflict, "take address", want.String(),
					"somebody on this network has it already (duplicate address detection)").
					WithHint("choose another address, or find out who has it: ping -6 %s from another guest, then ip -6 neigh", want)
			case !a.Tentative():
				ready++
			}
		}
	}
	return ready == len(s.Addrs), nil
}

func (s AwaitDAD) Undo(context.Context, *Machine) error { return nil }

func (AwaitDAD) Nature() Nature { return Passive }

func (s AwaitDAD) String() string {
	return "# wait until " + JoinAddrs(s.Addrs) + " is known to be nobody else's"
}

// JoinAddrs lists addresses for people.
func JoinAddrs(addrs []netip.Addr) string {
	words := make([]string, len(addrs))
	for i, a := range addrs {
		words[i] = a.String()
	}
	return strings.Join(words, ", ")
}
