package attach

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"path/filepath"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/shell"
	"golang.org/x/sys/unix"
)

// The steps that every kind of link needs. Those of one kind are in its file.

// place is one side, and how a person's command gets there: "" on the host,
// "nsenter ... " in a guest.
type place struct {
	side  side
	enter string
}

// kernel is the side's.
func (p place) kernel(m *machine) kernel { return m.sides[p.side] }

// index is that of a link which an earlier step has made there.
func (p place) index(m *machine, name string) int { return m.index[end{p.side, name}] }

func isOurs(l *rtnl.Link) bool { return l.Group == Group }

// attached reports whether a link in a guest is that of an attachment: made here,
// or lent, which is told by the mark alone.
func attached(l *rtnl.Link) bool {
	_, marked := ParseMark(l.Alias)
	return isOurs(l) || marked
}

// delLink deletes a link of ours on the host, and its other end with it.
type delLink struct {
	name  string
	index int // what had the name when it was looked at
}

// do looks once more: the rules that went before have taken their time.
func (s delLink) do(_ context.Context, m *machine) error {
	l, err := m.sides[host].LinkByIndex(s.index)
	if err != nil {
		return ignoreAbsent("delete", s.name, err)
	}
	if l.Group != Group || l.Name != s.name {
		return fault.New(fault.Conflict, "delete", s.name, "somebody has renamed it or taken it over")
	}
	if l.Kind != "veth" { // made for others, some of whom may not be ours
		if used, err := isUsed(m, l.Index); err != nil || used {
			return err
		}
	}
	delete(m.index, end{host, s.name})
	return ignoreAbsent("delete", s.name, deleteLink(m.sides[host], l.Index))
}

func (s delLink) undo(context.Context, *machine) error { return nil }

func (delLink) nature() nature { return final }

func (s delLink) String() string { return "ip link del dev " + s.name }

// delInner deletes a link of ours in a guest that has no end on the host.
type delInner struct {
	place
	name  string
	index int // what had the name when it was looked at
}

func (s delInner) do(_ context.Context, m *machine) error {
	return ignoreAbsent("delete", s.name, deleteLink(s.kernel(m), s.index))
}

func (s delInner) undo(context.Context, *machine) error { return nil }

func (delInner) nature() nature { return final }

func (s delInner) String() string { return s.enter + "ip link del dev " + s.name }

// setLink changes a link of ours. What it sets goes with the link.
type setLink struct {
	place
	name string
	set  rtnl.Change
}

func (s setLink) do(_ context.Context, m *machine) error { return s.apply(m, s.set) }

func (s setLink) undo(context.Context, *machine) error { return nil }

func (s setLink) apply(m *machine, ch rtnl.Change) error {
	i, err := m.find(end{s.side, s.name})
	if err != nil {
		return explain("find", s.name, err)
	}
	err = s.kernel(m).SetLink(i, ch)
	if ch.AddrGenNone && errors.Is(err, unix.EAFNOSUPPORT) {
		// Without IPv6, for its MTU is below 1280 or the kernel has none, it
		// gets no address anyway.
		ch.AddrGenNone = false
		err = s.kernel(m).SetLink(i, ch)
	}
	if s.set.Up && errors.Is(err, unix.EADDRINUSE) {
		return fault.New(fault.Conflict, "set", s.words(), "its card, or another macvlan on the card, has that MAC address already").
			WithHint("choose another MAC address, or leave it out")
	}
	if err == nil && s.side != host {
		m.isUp[end{s.side, s.name}] = ch.Up || m.isUp[end{s.side, s.name}] && !ch.Down
	}
	return explain("set", s.words(), err)
}

func (setLink) nature() nature { return undoable }

func (s setLink) String() string { return s.enter + "ip link set dev " + s.words() }

func (s setLink) words() string {
	w := s.name
	if s.set.MAC != nil {
		w += " address " + s.set.MAC.String()
	}
	if s.set.MTU != 0 {
		w += " mtu " + itoa(s.set.MTU)
	}
	if s.set.Alias != "" {
		w += " alias " + shell.Quote(s.set.Alias)
	}
	if s.set.AddrGenNone {
		w += " addrgenmode none"
	}
	if s.set.Up {
		w += " up"
	}
	return w
}

// setSysctl sets a sysctl of our interface in a guest. It goes with the
// interface: there is nothing to undo, unless that stays.
type setSysctl struct {
	place
	path, value string
	was         string // undo sets it to that; "": it does not
}

func (s setSysctl) do(_ context.Context, m *machine) error {
	err := s.kernel(m).SetSysctl(s.path, s.value)
	var p *fs.PathError
	if errors.As(err, &p) {
		err = p.Err
	}
	if !locked(err) {
		return explain("set sysctl", "net/"+s.path+" of "+m.guests[s.side].Name, err)
	}
	if is, rerr := s.kernel(m).Sysctl(s.path); rerr == nil && is == s.value {
		return nil
	}
	if without, nice := niceties[filepath.Base(s.path)+"="+s.value]; nice {
		m.warn(fmt.Sprintf("/proc/sys cannot be written here (%v), and net/%s is not %s: %s", err, s.path, s.value, without))
		return nil
	}
	return fault.New(fault.Permission, "set sysctl", "net/"+s.path+" of "+m.guests[s.side].Name, "%w", err).
		WithHint("in a container /proc/sys is read-only: run it with --privileged, or on the host")
}

// locked reports whether a sysctl could not be set because none can: /proc/sys
// is mounted read-only, as in a container with capabilities but not privileged.
func locked(err error) bool { return errors.Is(err, unix.EROFS) }

// niceties are the sysctls that an attachment works without, and how.
var niceties = map[string]string{
	"arp_notify=1":                "neighbours that know its address from before may go on sending to another MAC address for a while",
	"ndisc_notify=1":              "neighbours that know its address from before may go on sending to another MAC address for a while",
	"router_solicitation_delay=0": "the wait for duplicate address detection takes up to a second more",
	"autoconf=0":                  "a router may give it other addresses beside its own",
	"accept_ra=0":                 "a router may take the place of its gateway",
	"accept_ra=1":                 "a router is heard even if the guest forwards",
}

func (s setSysctl) undo(ctx context.Context, m *machine) error {
	if s.was == "" {
		return nil
	}
	return setSysctl{place: s.place, path: s.path, value: s.was}.do(ctx, m)
}

func (setSysctl) nature() nature { return undoable }

func (s setSysctl) String() string {
	return s.enter + "sysctl -qw net/" + s.path + "=" + s.value
}

// addAddr gives a guest's interface an address.
type addAddr struct {
	place
	inner  string
	prefix netip.Prefix
	nodad  bool
}

func (s addAddr) do(_ context.Context, m *machine) error {
	return explain("add address "+s.prefix.String()+" to", s.inner,
		s.kernel(m).AddAddr(s.index(m, s.inner), s.prefix, s.nodad))
}

func (s addAddr) undo(_ context.Context, m *machine) error {
	return ignoreAbsent("delete address "+s.prefix.String()+" from", s.inner,
		s.kernel(m).DelAddr(s.index(m, s.inner), s.prefix))
}

func (addAddr) nature() nature { return undoable }

func (s addAddr) String() string {
	w := s.enter + "ip address add " + s.prefix.String()
	if s.prefix.Addr().Is4() && s.prefix.Bits() < 31 {
		w += " brd +"
	}
	w += " dev " + s.inner
	if s.nodad {
		w += " nodad"
	}
	return w
}

// addRoute adds a route by a guest's interface; with prepend, in front of what
// has the same destination and metric.
type addRoute struct {
	place
	inner   string
	dst     netip.Prefix
	gateway netip.Addr // the zero Addr: on link
	metric  int        // 0: the kernel's default
	prepend bool

	source   netip.Addr // that what takes it is sent from; the zero Addr: any
	table    int        // 0: main
	protocol uint8      // who sets it; 0: RTPROT_BOOT, as a person's "ip route" does
	known    int        // index of a link that is there; 0: an earlier step makes it
	learned  bool       // the address came from the network: a keeper may have added the route, and its gateway is out of reach
}

// route takes a machine only where an earlier step makes the link.
func (s addRoute) route(m *machine) rtnl.Route {
	r := rtnl.Route{Dst: s.dst, Gateway: s.gateway, Metric: s.metric, Table: s.table, Protocol: s.protocol, Source: s.source, Index: s.known}
	if r.Index == 0 {
		r.Index = s.index(m, s.inner)
	}
	return r
}

func (s addRoute) do(_ context.Context, m *machine) error {
	if s.learned {
		return s.afterLease(m)
	}
	return s.explain(s.kernel(m).AddRoute(s.route(m), s.prepend))
}

// explain says what of the guest's own routes and rules keeps it from having this
// one.
func (s addRoute) explain(err error) error {
	refuse := func(format string, args ...any) *fault.Error {
		return fault.New(fault.Conflict, "add route", s.words(), format+": %w", append(args, err)...)
	}
	switch {
	case errors.Is(err, unix.EEXIST):
		// One that leads nowhere (blackhole, unreachable, prohibit): it is not taken
		// for a default route, and so not gone in front of.
		return refuse("there is one with the same destination and metric already").
			WithHint("%sip route show %s", s.enter, s.dst)
	case s.gateway.IsValid() && (errors.Is(err, unix.EACCES) || errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.EHOSTUNREACH)):
		return refuse("a rule or a route of its own keeps %s from being reached by %s", s.gateway, s.inner).
			WithHint("%sip rule; %[1]sip route get %[2]s", s.enter, s.gateway)
	}
	return explain("add route", s.words(), err)
}

func (s addRoute) afterLease(m *machine) error {
	err := ensureRoute(s.kernel(m), s.route(m))
	if s.gateway.IsValid() && (errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.EHOSTUNREACH) || errors.Is(err, unix.EINVAL)) {
		return fault.New(fault.Conflict, "add route", s.words(), "no subnet that the network gave the interface holds its gateway %s, or it is the interface's own address: %w", s.gateway, err).
			WithHint("--route %s puts it on the link", netip.PrefixFrom(s.gateway, s.gateway.BitLen()))
	}
	return explain("add route", s.words(), err)
}

func (s addRoute) undo(_ context.Context, m *machine) error {
	return ignoreAbsent("delete route", s.words(), s.kernel(m).DelRoute(s.route(m)))
}

func (s addRoute) words() string {
	w := s.dst.String()
	if s.dst.Bits() == 0 {
		w = "default"
	}
	if s.gateway.IsValid() {
		w += " via " + s.gateway.String()
	}
	w += " dev " + s.inner
	if s.source.IsValid() {
		w += " src " + s.source.String()
	}
	if s.metric != 0 {
		w += " metric " + itoa(s.metric)
	}
	if s.table != 0 {
		w += " table " + itoa(s.table)
	}
	if s.protocol != 0 {
		w += " protocol " + itoa(int(s.protocol))
	}
	return w
}

func (addRoute) nature() nature { return undoable }

func (s addRoute) String() string {
	verb := "add "
	if s.prepend {
		verb = "prepend "
	}
	return s.enter + ipCommand(s.dst.Addr().Is6()) + "route " + verb + s.words()
}

// mark is the last step: it makes the attachment complete. It is on the host's
// end, or, where there is none, on the guest's link.
type mark struct {
	place
	inner string
	port  string // "" where the host has no end
	Mark
}

func (s mark) do(_ context.Context, m *machine) error {
	l, err := s.kernel(m).LinkByIndex(s.index(m, s.inner))
	if err != nil {
		return explain("find", s.inner, err)
	}
	if l.Name != s.inner || !l.Up {
		return fault.New(fault.Failed, "verify", s.inner, "somebody in the guest renamed it or set it down")
	}
	alias := rtnl.Change{Alias: s.Mark.String()}
	if s.port == "" {
		return explain("mark", s.inner, s.kernel(m).SetLink(l.Index, alias))
	}
	return explain("mark", s.port, m.sides[host].SetLink(m.index[end{host, s.port}], alias))
}

func (s mark) undo(context.Context, *machine) error { return nil }

func (mark) nature() nature { return undoable }

func (s mark) String() string {
	if s.port == "" {
		return s.enter + "ip link set dev " + s.inner + " alias " + shell.Quote(s.Mark.String())
	}
	return "ip link set dev " + s.port + " alias " + shell.Quote(s.Mark.String())
}

// half is what a step returns that failed in the middle and has cleaned up
// after itself: err, or if that failed too, what is left.
func half(err, cleaning error, s Step) error {
	if cleaning == nil {
		return err
	}
	return withResidue(err, cleaning, []Step{s})
}

// dropHalf deletes what was made in a guest but is not there under its name:
// the guest has renamed it in the instant since.
func dropHalf(m *machine, at side, kind string, parent int) error {
	links, err := m.sides[at].Links()
	if err != nil {
		return err
	}
	for _, l := range links {
		if isOurs(l) && l.Kind == kind && l.Alias == "" && (parent == 0 || l.Peer == parent) {
			if err := deleteLink(m.sides[at], l.Index); !absent(err) && err != nil {
				return err
			}
		}
	}
	return nil
}

func ignoreAbsent(op, object string, err error) error {
	if absent(err) || fault.CodeOf(err) == fault.Gone {
		return nil
	}
	return explain(op, object, err)
}
